"""Who is in trouble, and what is said of it."""

from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import Reason
from gateway.model import Moment, Record
from gateway.observers.recent import Recent
from gateway.observers.trouble import FEWEST, MOST, SHARE, WINDOW, Trouble, agents_in_trouble, says, why
from tests.unit.observers.observer_records import record

NOW = Moment(1000.0, 50_000.0)


def made(
    agent: str, reason: Reason = Reason.OK, *, ago: float = 1.0, tool: str = "search.read", usd: float = 0
) -> Record:
    return record(
        at=Moment(NOW.mono - ago, NOW.wall - ago),
        agent_id=agent,
        tool=tool,
        reason=reason,
        detail=None if reason in (Reason.OK, Reason.TOOL_ERROR, Reason.CLIENT_GONE) else f"It is {reason}.",
        status=500 if reason is Reason.TOOL_ERROR else 200,
        cost_micro_usd=round(usd * 1_000_000),
    )


def troubled(*calls: Record, max_spend: int | None = None) -> list[Trouble]:
    return agents_in_trouble(calls, NOW, lambda _agent: max_spend)


def test_who_fails_most_comes_first_with_the_commonest_case() -> None:
    found = troubled(
        *repeat(made("fine"), 50),
        made("fine", Reason.RATE_LIMITED),
        *repeat(made("bad", Reason.TOOL_NOT_ALLOWED, tool="shell.run"), 3),
        *repeat(made("worse", Reason.TOOL_ERROR, tool="refunds.write"), 8),
        *repeat(made("worse", Reason.OUTCOME_UNKNOWN, tool="refunds.write"), 2),
        *repeat(made("worse"), 10),
    )
    assert [one.latest.agent_id for one in found] == ["worse", "bad"]
    assert says(found[0]) == "10 of its last 20 calls did not end ok, 8 of them refunds.write: tool_error."
    assert why(found[0].latest) == "The tool itself answered with status 500; its answer was passed on."
    assert says(found[1]) == "3 of its last 3 calls did not end ok, all of them shell.run: tool_not_allowed."
    assert why(found[1].latest) == "It is tool_not_allowed."


def test_the_latest_such_call_tells_why() -> None:
    calls = [made("a", Reason.MAX_CALLS, ago=ago) for ago in (1.0, 2.0, 3.0)]
    [one] = troubled(*calls)
    assert one.latest == calls[0]


def test_what_an_operator_stopped_and_what_is_over_does_not_count() -> None:
    stopped = (Reason.KILL_SWITCH, Reason.AGENT_DISABLED, Reason.DRAINING)
    assert troubled(*chain.from_iterable(repeat(made("a", reason), 9) for reason in stopped)) == []
    assert troubled(*repeat(made("a", Reason.TOOL_ERROR, ago=WINDOW + 1), 9)) == []


def test_so_many_are_named_and_no_more() -> None:
    calls = [made(f"agent-{number}", Reason.TOOL_ERROR) for number in range(MOST + 5) for _ in range(3 + number)]
    named = [one.latest.agent_id for one in troubled(*calls)]
    assert named == [f"agent-{number}" for number in range(MOST + 4, 4, -1)]


def test_who_left_is_no_riddle() -> None:
    assert why(made("a", Reason.CLIENT_GONE)) == "The agent left before its answer came."


def test_money_that_goes_fast_is_trouble_though_nothing_fails() -> None:
    calls = [*repeat(made("a", tool="vision.read", usd=0.25), 5), made("a", usd=0.1)]
    [one] = troubled(*calls, max_spend=5_000_000)
    assert one.spends
    assert says(one) == "spent $1.35 of its $5.00 a day within 5 minutes, most of it on vision.read."
    assert why(one.latest) is None
    assert troubled(*calls, max_spend=6_000_000) == []
    assert troubled(*calls) == []


def test_a_tool_that_costs_and_fails_at_times_is_named_by_what_it_costs() -> None:
    failed = made("a", Reason.TOOL_ERROR, tool="vision.read", usd=2)
    [one] = troubled(failed, failed, *repeat(made("a"), 50), max_spend=5_000_000)
    assert one.spends
    assert one.latest == failed


@given(st.integers(0, 60), st.integers(0, 60))
def test_an_agent_is_named_from_a_share_and_a_number_on(failed: int, fine: int) -> None:
    found = troubled(*repeat(made("a", Reason.TOOL_ERROR), failed), *repeat(made("a"), fine))
    assert bool(found) == (failed >= FEWEST and failed >= SHARE * (failed + fine))


@pytest.mark.parametrize("reason", [Reason.TOOL_ERROR, Reason.MAX_CALLS])
def test_names_that_look_like_secrets_are_hidden_as_in_the_log(reason: Reason) -> None:
    recent = Recent()
    for _ in range(3):
        recent.call_ended(made("a", reason, tool="sk-ant-api03-" + "a1B2" * 12))
    [told] = recent.in_trouble(NOW, lambda _agent: None)
    assert "a1B2" not in str(told)
    assert (told["kind"], told["agent_id"], told["not_ok"], told["calls"]) == ("fails", "a", 3, 3)
