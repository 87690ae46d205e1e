"""What falls due is taken in its second or later, each thing once."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.state.due import DueList


def test_things_are_taken_in_their_second_and_the_oldest_first() -> None:
    due: DueList[str] = DueList()
    for thing, instant in (("c", 7.2), ("a", 5.9), ("b", 6.0)):
        due.add(thing, instant)
    assert due.take(4.9, 10) == []
    assert due.take(5.0, 10) == ["a"], "the whole present second"
    assert due.take(7.0, 1) == ["b"]
    assert (due.take(7.0, 1), len(due)) == (["c"], 0)


def test_what_is_put_back_into_the_present_second_waits_for_the_next_look() -> None:
    due: DueList[str] = DueList()
    due.add("a", 5.9)
    for thing in due.take(5.1, 10):
        due.add(thing, 5.9)
    assert due.take(5.2, 10) == ["a"]


@given(st.lists(st.floats(-1e6, 1e6)), st.lists(st.floats(-1e6, 1e6)), st.integers(1, 5))
def test_nothing_is_taken_early_and_nothing_is_lost(instants: list[float], looks: list[float], most: int) -> None:
    due: DueList[float] = DueList()
    for instant in instants:
        due.add(instant, instant)
    due.keep(lambda instant: instant < 5e5)
    taken = []
    for now in looks:
        found = due.take(now, most)
        assert len(found) <= most
        assert all(instant // 1 <= now for instant in found)
        taken += found
    while found := due.take(1e6, most):
        taken += found
    assert sorted(taken) == sorted(instant for instant in instants if instant < 5e5)
    assert not len(due)
