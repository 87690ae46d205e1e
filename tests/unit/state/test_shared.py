"""This process's part of the fleet's counts: what it tells a store that may have lost them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import RunKey
from gateway.state.shared import DAY, HOUR, RUN_KEPT, Ask, Own

NOON = 20_000 * DAY + DAY // 2
ASK = Ask(
    id="c1",
    run=RunKey("scout", "r1"),
    tool="search.read",
    spend=1000,
    step=0,
    per_hour=20,
    spend_per_day=10**6,
    tool_per_day=20,
    run_calls=12,
    run_spend=10**6,
    run_seconds=60,
    run_tool=5,
)


def test_what_was_asked_for_and_never_answered_is_told_as_nothing_rather_than_not_at_all() -> None:
    own = Own()
    own.asking(ASK, NOON)
    own.answered(ASK)
    own.leave_unsure(ASK, NOON)
    assert own.runs[ASK.run].used == {"n": 0, "s": 0, "c:search.read": 0}
    days = own.agents["scout"].days
    assert days == {day: {"s": 0, "c:search.read": 0} for day in (19_999, 20_000, 20_001)}


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_what_was_given_back_leaves_no_trace_in_the_numbers(calls: list[tuple[int, bool]]) -> None:
    own, kept = Own(), 0
    for number, (spend, back) in enumerate(calls):
        ask = ASK._replace(id=f"c{number}", spend=spend)
        own.add(ask, NOON + number)
        if back:
            own.take_back(ask, NOON + number)
    for spend, back in calls:
        kept += 0 if back else spend
    left = sum(not back for _, back in calls)
    if calls:
        assert own.runs[ASK.run].used == {"n": left, "s": kept, "c:search.read": left}
        assert own.agents["scout"].days[20_000] == {"s": kept, "c:search.read": left}
        assert sum(own.agents["scout"].hour.values()) == left


def test_a_call_that_goes_on_alone_is_remembered_as_long_as_its_run() -> None:
    own = Own()
    own.add(ASK, NOON)  # nobody could be asked before
    own.expire(NOON + RUN_KEPT)
    assert own.runs[ASK.run].used["n"] == 1
    own.expire(NOON + RUN_KEPT + 61_000)
    assert not own.runs


def test_a_run_with_calls_under_way_is_never_forgotten() -> None:
    own = Own()
    own.asking(ASK, NOON)
    own.expire(NOON + 10 * RUN_KEPT)
    assert own.runs[ASK.run].pending == 1
    own.answered(ASK)
    own.expire(NOON + 10 * RUN_KEPT)
    assert not own.runs


def test_hours_and_days_are_forgotten_when_they_count_no_more() -> None:
    own = Own()
    own.add(ASK, NOON)
    own.add(ASK._replace(id="c2"), NOON + HOUR)
    own.expire(NOON + HOUR + 3000)
    assert own.agents["scout"].hour == {(NOON + HOUR) // 1000: 1}
    own.take_back(ASK, NOON)
    assert own.agents["scout"].hour == {(NOON + HOUR) // 1000: 1}
    own.expire(NOON + DAY)
    assert 20_000 in own.agents["scout"].days
    own.expire(NOON + 2 * DAY)
    assert not own.agents


def test_limits_that_are_not_set_are_not_counted() -> None:
    own = Own()
    bare = ASK._replace(per_hour=None, spend_per_day=None, tool_per_day=None, run_tool=None)
    own.add(bare, NOON)
    assert not own.agents
    assert own.runs[ASK.run].used == {"n": 1, "s": 1000}
    own.add(bare._replace(run=RunKey("scout", ""), per_hour=5), NOON)
    assert own.agents["scout"].hour == {NOON // 1000: 1}
    assert len(own.runs) == 1
