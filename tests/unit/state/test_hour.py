"""The sliding hour against a list of everything that happened."""

import hypothesis.strategies as st
from hypothesis import given

from gateway.state.hour import HOUR, SlidingHour

SECONDS = st.integers(0, 2 * HOUR)


def test_what_happened_within_a_second_counts_until_an_hour_after_it() -> None:
    hour = SlidingHour()
    hour.add(100)
    for now, used in ((100, 1), (100 + HOUR, 1), (101 + HOUR, 0)):
        hour.leave(now)
        assert hour.used == used
    assert not hour


def test_it_is_known_when_a_place_frees() -> None:
    hour = SlidingHour()
    for second in (10, 10, 11, 500):
        hour.add(second)
    assert hour.frees(5) is not None, "asked although there is room: at once would be right, the next to leave is safe"
    assert [hour.frees(limit) for limit in (4, 3, 2, 1)] == [11 + HOUR, 11 + HOUR, 12 + HOUR, 501 + HOUR]
    assert hour.frees(0) is None


@given(st.lists(st.tuples(SECONDS, st.sampled_from(["add", "take"])), max_size=60), SECONDS, st.integers(1, 20))
def test_it_counts_as_a_list_would(happened: list[tuple[int, str]], now: int, limit: int) -> None:
    hour, brute = SlidingHour(), []
    for second, what in happened:
        if what == "add":
            hour.add(second)
            brute.append(second)
        elif second in brute:
            hour.take_back(second)
            brute.remove(second)
    hour.leave(now)
    kept = sorted(second for second in brute if second + HOUR >= now)
    assert hour.used == len(kept)
    if hour.used >= limit:
        frees = hour.frees(limit)
        assert frees is not None
        hour.leave(frees - 1)
        assert hour.used >= limit
        hour.leave(frees)
        assert hour.used < limit


def test_a_refund_finds_its_second_also_where_a_restart_moved_it_by_one() -> None:
    hour = SlidingHour()
    hour.add(100)
    hour.take_back(102)
    assert hour.used == 1
    hour.take_back(101)
    assert hour.used == 0
    hour.take_back(101)
    assert hour.used == 0


def test_it_says_which_seconds_are_not_saved_yet_and_what_left() -> None:
    hour = SlidingHour()
    hour.add(1)
    hour.add(2)
    hour.changed.clear()
    hour.add(2)
    hour.leave(HOUR + 2)
    assert {second: hour.of(second) for second in hour.changed} == {1: 0, 2: 2}
