"""Exactly N of every kind, the next refused, and room again exactly when the refusal said so."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.bounds import AgentBounds
from gateway.denial import Denial, Reason
from gateway.guards import judge
from gateway.guards.run_control import judge_step
from gateway.model import Moment, RunKey, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.agents import seconds_of_day_left
from gateway.state.counts import Counts
from gateway.state.journal import Charge
from tests.unit.made_up import BUDGETS, NOON, a_call, a_plan, later

HOUR = 3600
PLENTY = replace(BUDGETS, max_tool_calls=1_000_000)


def plan(**changes: Any) -> Plan:
    """Without the budgets that are not meant."""
    limits = AgentBounds(**changes.pop("limits", {}))
    budgets = replace(PLENTY, **changes.pop("budgets", {}))
    return a_plan(limits=limits, budgets=budgets, **changes)


def ask(counts: Counts, plan: Plan, call: ToolCall, now: Moment = NOON) -> Denial | None:
    """As the pipeline does: judged, then charged or counted as refused, and a spent budget ends the run."""
    denial = judge(call, plan, counts, now).denial
    if denial is None:
        price = plan.price(call.spend)
        counts.ledger.reserve(Charge(call.run, call.tool, price, call.step, now, call.args_hash), plan.budgets)
        return None
    counts.ledger.refused(call.run, call.args_hash, denial)
    counts.ledger.exhaust(call.run, denial.reason, now)
    return denial


def admitted(counts: Counts, plan: Plan, call: ToolCall, now: Moment = NOON, tries: int = 50) -> int:
    """How many of so many are let pass."""
    return sum(ask(counts, plan, call, now) is None for _ in range(tries))


def each_run_its_own(number: int) -> ToolCall:
    return a_call(run=f"r{number}")


def one_run(number: int) -> ToolCall:
    return a_call()


Calls = Callable[[int], ToolCall]
LIMITS: dict[Reason, tuple[Plan, Calls]] = {
    Reason.LOOP_DETECTED: (plan(max_identical_calls=7), lambda number: a_call(args_hash="same")),
    Reason.TOO_MANY_RUNS: (plan(limits={"max_runs_started_per_hour": 7}), each_run_its_own),
    Reason.MAX_USD: (plan(cost=1000, budgets={"max_spend": 7999}), one_run),
    Reason.MAX_CALLS: (plan(max_calls=7), one_run),
    Reason.MAX_ACTIONS_PER_HOUR: (plan(limits={"max_actions_per_hour": 7}), each_run_its_own),
    Reason.MAX_SPEND_USD_PER_DAY: (plan(cost=1000, limits={"max_spend": 7999}), each_run_its_own),
    Reason.MAX_CALLS_PER_TOOL: (plan(limits={"max_calls": 7}), each_run_its_own),
}


@pytest.mark.parametrize("reason", LIMITS)
async def test_of_a_thousand_interleaved_calls_exactly_as_many_as_allowed_are_admitted(reason: Reason) -> None:
    limit, call = LIMITS[reason]
    counts, dice, refused = Counts(1000), random.Random(7), list[Denial]()

    async def one(number: int) -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        denial = ask(counts, limit, call(number))
        refused.extend([denial] if denial else [])

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert len(refused) == 993
    assert {denial.reason for denial in refused} == {reason}


@pytest.mark.parametrize("reason", [reason for reason in LIMITS if reason is not Reason.TOO_MANY_RUNS])
def test_report_mode_lets_pass_and_names_the_limit(reason: Reason) -> None:
    limit, call = LIMITS[reason]
    counts = Counts(1000)
    for number in range(7):
        assert ask(counts, limit, call(number)) is None
    assert judge(call(8), replace(limit, report=True), counts, NOON) == (None, reason)


def test_report_mode_does_not_let_runs_be_started_without_end() -> None:
    limit, call = LIMITS[Reason.TOO_MANY_RUNS]
    counts = Counts(1000)
    assert sum(ask(counts, replace(limit, report=True), call(number)) is None for number in range(50)) == 7


def test_a_run_that_is_started_already_is_no_new_one() -> None:
    counts, limit = Counts(1000), plan(limits={"max_runs_started_per_hour": 1})
    assert admitted(counts, limit, a_call()) == 50
    assert admitted(counts, limit, a_call(run="")) == 50, "a window is no run"
    assert admitted(counts, limit, a_call(run="r2")) == 0


def test_a_step_that_would_start_a_run_too_many_is_refused_like_a_call() -> None:
    counts, limits = Counts(1000), AgentBounds(max_runs_started_per_hour=2)
    for number in range(2):
        key = RunKey("scout", f"r{number}")
        assert judge_step(key, BUDGETS, limits, counts, NOON, report=False) is None
        counts.ledger.add_step(key, BUDGETS, NOON)
    for report in (False, True):
        denial = judge_step(RunKey("scout", "r2"), BUDGETS, limits, counts, NOON, report=report)
        assert denial is not None
        assert denial.reason is Reason.TOO_MANY_RUNS
    assert judge_step(RunKey("scout", "r1"), BUDGETS, limits, counts, NOON, report=False) is None
    assert judge_step(RunKey("other", "r2"), BUDGETS, limits, counts, NOON, report=False) is None


@pytest.mark.parametrize("key", ["max_actions_per_hour", "max_runs_started_per_hour"])
def test_the_hour_slides_and_a_place_frees_when_the_refusal_says(key: str) -> None:
    counts, limit = Counts(1000), plan(limits={key: 3})
    for number, seconds in enumerate((0.0, 0.5, 1800.0)):
        assert ask(counts, limit, each_run_its_own(number), later(seconds)) is None
    denial = ask(counts, limit, a_call(run="late"), later(1800))
    assert denial is not None
    assert denial.retry_after is not None
    assert (denial.status, denial.stop_reason) == (403, None), "half an hour is no wait for a client's retries"
    assert 0 <= 1800 + denial.retry_after - HOUR <= 1
    assert ask(counts, limit, a_call(run="early"), later(1800 + denial.retry_after - 0.001)) is not None
    free = later(1800 + denial.retry_after)
    assert [ask(counts, limit, a_call(run=run), free) is None for run in ("a", "b", "c")] == [True, True, False]


def test_a_wait_of_at_most_a_minute_is_429() -> None:
    counts, limit = Counts(1000), plan(limits={"max_actions_per_hour": 1})
    ask(counts, limit, a_call())
    for seconds, status in ((HOUR - 60, 403), (HOUR - 59, 429), (HOUR, 429)):
        denial = ask(counts, limit, a_call(run="r2"), later(seconds))
        assert denial is not None
        assert denial.status == status


@pytest.mark.parametrize("reason", [Reason.MAX_SPEND_USD_PER_DAY, Reason.MAX_CALLS_PER_TOOL])
def test_a_day_ends_at_midnight_utc(reason: Reason) -> None:
    limit, call = LIMITS[reason]
    counts, left = Counts(1000), seconds_of_day_left(NOON)
    for number in range(7):
        assert ask(counts, limit, call(number)) is None
    for seconds, status in ((0.0, 403), (left - 60.0, 429)):
        denial = ask(counts, limit, a_call(run="x"), later(seconds))
        assert denial is not None
        assert (denial.retry_after, denial.status) == (left - seconds, status)
    assert ask(counts, limit, a_call(run="y"), later(left)) is None


@pytest.mark.parametrize("name", ["max_actions_per_hour", "max_calls", "max_runs_started_per_hour"])
def test_where_nothing_is_allowed_no_wait_is_promised(name: str) -> None:
    denial = ask(Counts(1000), plan(limits={name: 0}), a_call())
    assert denial is not None
    assert (denial.status, denial.retry_after) == (403, None)


def test_a_price_beyond_the_whole_limit_is_refused_for_good() -> None:
    for limited in (plan(cost=11, limits={"max_spend": 10}), plan(cost=11, budgets={"max_spend": 10})):
        for run in ("r1", ""):
            denial = ask(Counts(1000), limited, a_call(run=run))
            assert denial is not None
            assert (denial.status, denial.retry_after) == (403, None)


def test_the_higher_of_the_policys_and_the_callers_price_is_charged() -> None:
    counts, limit = Counts(1000), plan(cost=300, budgets={"max_spend": 1000}, limits={"max_spend": 5000})
    assert ask(counts, limit, a_call(spend=100)) is None
    assert ask(counts, limit, a_call(spend=600)) is None
    run = counts.ledger.find(RunKey("scout", "r1"), PLENTY, NOON)
    assert run is not None
    assert run.spend == counts.ledger.agents.today("scout", NOON).spend == 900
    assert ask(counts, replace(limit, cost=0), a_call(spend=100)) is None, "to the last millionth"
    assert ask(counts, replace(limit, cost=0), a_call()) is None, "what costs nothing passes"
    assert ask(counts, replace(limit, cost=0), a_call(spend=1)) is not None


def test_money_out_ends_a_run_and_a_spent_tool_does_not() -> None:
    counts = Counts(1000)
    assert admitted(counts, plan(max_calls=2), a_call()) == 2
    assert ask(counts, plan(tool="notes.write"), a_call(tool="notes.write")) is None
    denial = ask(counts, plan(cost=5, budgets={"max_spend": 4}), a_call())
    assert denial is not None
    assert denial.stop_reason == "max_usd"
    denial = ask(counts, plan(), a_call())
    assert denial is not None
    assert (denial.reason, denial.stop_reason) == (Reason.MAX_USD, "max_usd")


@pytest.mark.parametrize("limited", [plan(max_calls=2), plan(cost=5, budgets={"max_spend": 10})])
def test_a_windows_next_one_helps(limited: Plan) -> None:
    counts = Counts(1000)
    assert admitted(counts, limited, a_call(run="")) == 2
    denial = ask(counts, limited, a_call(run=""), later(20))
    assert denial is not None
    assert (denial.status, denial.retry_after, denial.stop_reason) == (429, 40, None)
    assert admitted(counts, limited, a_call(run=""), later(60)) == 2


def test_other_agents_and_other_tools_are_not_held_up() -> None:
    counts, limit = Counts(1000), plan(limits={"max_actions_per_hour": 2, "max_calls": 2})
    assert admitted(counts, limit, a_call()) == 2
    assert admitted(counts, limit, a_call(agent="other")) == 2
    counts, limit = Counts(1000), plan(limits={"max_calls": 2})
    assert admitted(counts, limit, a_call()) == 2
    assert admitted(counts, replace(limit, tool="notes.write"), a_call(tool="notes.write")) == 2


def test_a_limit_lowered_by_a_reload_frees_when_enough_have_left() -> None:
    counts = Counts(1000)
    for second in range(10):
        ask(counts, plan(limits={"max_actions_per_hour": 10}), a_call(), later(second))
    denial = ask(counts, plan(limits={"max_actions_per_hour": 3}), a_call(), later(10))
    assert denial is not None
    assert denial.retry_after == HOUR + 1 + 7 - 10, "the eighth of ten has to leave"


class TestLoop:
    """Identical calls of a named run."""

    limit = plan(max_identical_calls=5)

    def test_other_arguments_and_other_runs_are_other_calls(self) -> None:
        counts = Counts(1000)
        assert admitted(counts, self.limit, a_call(args_hash="a"), tries=5) == 5
        assert admitted(counts, self.limit, a_call(args_hash="b"), tries=5) == 5
        assert admitted(counts, self.limit, a_call(run="r2", args_hash="a"), tries=5) == 5

    def test_a_loop_ends_the_run(self) -> None:
        counts = Counts(1000)
        assert admitted(counts, self.limit, a_call(args_hash="a")) == 5
        denial = ask(counts, self.limit, a_call(args_hash="b"))
        assert denial is not None
        assert (denial.reason, denial.stop_reason, denial.status) == (Reason.LOOP_DETECTED, "loop_detected", 403)

    @pytest.mark.parametrize("run", ["", "r1"])
    def test_windows_and_bodies_that_are_still_passing_are_not_guarded(self, run: str) -> None:
        assert admitted(Counts(1000), self.limit, a_call(run=run, args_hash="" if run else "a")) == 50

    def test_off_by_default(self) -> None:
        assert admitted(Counts(1000), plan(), a_call(args_hash="a")) == 50

    def test_a_run_that_hammers_at_a_locked_door_repeats_itself(self) -> None:
        """Also where it was never let in, so that there is no run yet."""
        counts, locked = Counts(1000), replace(self.limit, allowed=False)
        heard = [ask(counts, locked, a_call(args_hash="a")) for _ in range(8)]
        reasons = [denial.reason for denial in heard if denial]
        assert reasons == [Reason.TOOL_NOT_ALLOWED] * 5 + [Reason.LOOP_DETECTED] * 3
        assert ask(counts, self.limit, a_call(args_hash="b")) is None, "a run that never began has not ended"

    def test_refusals_and_calls_count_together(self) -> None:
        counts = Counts(1000)
        assert admitted(counts, self.limit, a_call(args_hash="a"), tries=3) == 3
        assert admitted(counts, replace(self.limit, max_calls=3), a_call(args_hash="a"), tries=2) == 0
        denial = ask(counts, self.limit, a_call(args_hash="a"))
        assert denial is not None
        assert denial.reason is Reason.LOOP_DETECTED

    def test_a_refusal_that_asks_for_a_repeat_does_not_count(self) -> None:
        counts = Counts(1000)
        counts.draining = True
        assert admitted(counts, self.limit, a_call(args_hash="a")) == 0
        counts.draining = False
        assert admitted(counts, self.limit, a_call(args_hash="a")) == 5

    @pytest.mark.parametrize(
        ("end", "left"),
        [(None, 0), (Denial(Reason.CIRCUIT_OPEN, "x", retry_after=1), 1), (Denial(Reason.UPSTREAM_FAILED, "x"), 0)],
    )
    def test_a_call_that_was_never_sent_counts_unless_its_refusal_asks_for_a_repeat(
        self, end: Denial | None, left: int
    ) -> None:
        counts = Counts(1000)
        assert admitted(counts, self.limit, a_call(args_hash="a"), tries=4) == 4
        charge = Charge(RunKey("scout", "r1"), "search.read", 0, None, NOON, "a")
        counts.ledger.refund(counts.ledger.reserve(charge, PLENTY), end)
        assert admitted(counts, self.limit, a_call(args_hash="a")) == left

    def test_a_run_that_ended_otherwise_hears_of_that(self) -> None:
        counts = Counts(1000)
        assert admitted(counts, self.limit, a_call(args_hash="a"), tries=5) == 5
        counts.ledger.finish(RunKey("scout", "r1"), "finish", NOON)
        denials = [ask(counts, self.limit, a_call(args_hash="a")) for _ in range(10)]
        assert {denial.reason for denial in denials if denial} == {Reason.RUN_FINISHED}
        assert len(counts.ledger.repeats) == 0, "nothing is kept for a run that is over"
