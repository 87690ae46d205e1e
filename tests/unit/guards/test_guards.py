"""Who is asked first, what report mode lets pass, what is asked again, and that N means N."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from gateway.bounds import UNBOUNDED, AgentBounds
from gateway.denial import Reason
from gateway.guards import CAN_OBJECT, GUARDS, LIVE_GUARDS, Guard, guards_of, judge, judge_again
from gateway.guards.interruption import interrupt_killed, interrupt_run
from gateway.guards.run_control import judge_step
from gateway.model import Attempt, Budgets, Effect, RunKey, Source, Target, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.inflight import Wait
from gateway.state.ledger import Ledger
from tests.unit.made_up import BUDGETS, NOON, a_call, a_charge, a_plan, a_switch, later

RUN = RunKey("scout", "r1")
ELSEWHERE = Target("http", "elsewhere.example", 80, "/")


class Nothing:
    """A schema that nothing keeps to."""

    def objection(self, arguments: object) -> str | None:
        return "q: missing"


def reason(call: ToolCall, plan: Plan, counts: Counts, seconds: float = 0) -> Reason | None:
    denial = judge(call, plan, counts, later(seconds)).denial
    return None if denial is None else denial.reason


def test_the_order_is_the_one_that_is_written() -> None:
    assert names_of(GUARDS) == [
        "kill_switch",
        "draining",
        "overloaded",
        "loop_detected",
        "allowlist",
        "configured",
        "egress",
        "arguments",
        "run",
        "seconds",
        "steps",
        "tool_calls",
        "too_many_runs",
        "max_usd",
        "max_calls",
        "max_actions_per_hour",
        "max_spend_usd_per_day",
        "max_calls_per_tool",
        "circuit",
        "rate",
    ]
    assert names_of(LIVE_GUARDS) == ["kill_switch", "run"]


LIMITED: dict[str, dict[str, Any]] = {
    "loop_detected": {"max_identical_calls": 1},
    "allowlist": {"allowed": False},
    "configured": {"upstream": None},
    "arguments": {"arguments": Nothing()},
    "max_usd": {"budgets": Budgets(25, 12, 60, max_spend=0), "cost": 1},
    "max_calls": {"max_calls": 1},
    "max_actions_per_hour": {"limits": AgentBounds(max_actions_per_hour=1)},
    "max_spend_usd_per_day": {"limits": AgentBounds(max_spend=0), "cost": 1},
    "max_calls_per_tool": {"limits": AgentBounds(max_calls=1)},
}
"""What makes a plan one that the guard can object under, and does, to the second call of a run."""


def names_of(guards: Iterable[Guard]) -> list[str]:
    return [guard.__module__.removeprefix("gateway.guards.") for guard in guards]


def a_second_call() -> tuple[ToolCall, Counts]:
    call, counts = a_call(args_hash="same"), Counts(1000)
    counts.ledger.reserve(a_charge(RUN, args_hash="same"), BUDGETS)
    return call, counts


def test_every_guard_that_may_be_left_out_is_tried_here() -> None:
    assert {*names_of(CAN_OBJECT)} == {*LIMITED}


@pytest.mark.parametrize("name", LIMITED)
def test_a_guard_is_asked_where_the_policy_limits_what_it_guards(name: str) -> None:
    call, counts = a_second_call()
    plan = a_plan(**LIMITED[name])
    asked = dict(zip(names_of(guards_of(plan).any), guards_of(plan).any, strict=True))
    assert asked[name](call, plan, counts, NOON) is not None


@pytest.mark.parametrize("name", LIMITED)
def test_guards_that_are_not_asked_would_not_object(name: str) -> None:
    call, counts = a_second_call()
    plan = a_plan(**LIMITED[name])
    left_out = [guard for guard in GUARDS if guard not in guards_of(plan).any]
    assert len(left_out) == len(LIMITED) - 1
    assert [guard(call, plan, counts, NOON) for guard in left_out] == [None] * len(left_out)


def test_the_plan_of_a_reload_is_looked_at_anew() -> None:
    plan = a_plan()
    assert names_of(guards_of(plan).any) == [name for name in names_of(GUARDS) if name not in LIMITED]
    assert "max_calls" in names_of(guards_of(replace(plan, max_calls=1)).any)


def test_a_call_that_breaks_every_rule_hears_of_one_after_the_other() -> None:
    """Each objection is taken away in turn, and the next guard in the order speaks."""
    counts = Counts(0)
    counts.ledger = Ledger(max_live=0)
    counts.switches.put(a_switch("all"))
    counts.draining = True
    broken: dict[str, Any] = {"allowed": False, "upstream": None, "arguments": Nothing(), "budgets": Budgets(0, 0, 0)}
    call = a_call(step=1, destination=ELSEWHERE)
    heard = []

    def hear() -> None:
        heard.append(reason(call, a_plan(**broken), counts))

    hear()
    counts.switches.lift(a_switch("all").scope)
    hear()
    counts.draining = False
    hear()
    counts.max_in_flight = 1
    hear()
    counts.ledger.max_live = 1
    hear()
    del broken["allowed"]
    hear()
    del broken["upstream"]
    hear()
    call = a_call(step=1)
    hear()
    del broken["arguments"]
    counts.ledger.add_step(RUN, BUDGETS, NOON)
    counts.ledger.finish(RUN, "finish", NOON)
    hear()
    counts.ledger = Ledger()
    hear()
    broken["budgets"] = Budgets(0, 0, 60)
    hear()
    broken["budgets"] = Budgets(1, 0, 60)
    hear()
    broken["budgets"] = Budgets(1, 1, 60)
    hear()
    assert heard == [
        Reason.KILL_SWITCH,
        Reason.DRAINING,
        Reason.OVERLOADED,
        Reason.OVERLOADED,
        Reason.TOOL_NOT_ALLOWED,
        Reason.TOOL_NOT_CONFIGURED,
        Reason.EGRESS_NOT_ALLOWED,
        Reason.ARGUMENTS_NOT_ALLOWED,
        Reason.RUN_FINISHED,
        Reason.MAX_SECONDS,
        Reason.MAX_STEPS,
        Reason.MAX_TOOL_CALLS,
        None,
    ]


async def test_of_a_thousand_interleaved_calls_exactly_twelve_are_admitted() -> None:
    counts, dice, admitted, refused = Counts(1000), random.Random(7), [], []

    async def one(number: int) -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        denial = judge(a_call(), a_plan(), counts, NOON).denial
        if denial is not None:
            refused.append(denial)
            counts.ledger.exhaust(RUN, denial.reason, NOON)
            return
        counts.ledger.reserve(a_charge(RUN), BUDGETS)
        wait = counts.in_flight.enter(a_call(), Effect.READ)
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        admitted.append(number)
        counts.in_flight.leave(wait, asyncio.get_running_loop().time())

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert len(admitted) == 12
    assert len({denial.detail for denial in refused}) == 1, "all hear the same"
    assert refused[0].reason is Reason.MAX_TOOL_CALLS


def test_exactly_the_limit_of_steps_and_seconds_is_allowed() -> None:
    counts = Counts(1000)
    counts.ledger.reserve(a_charge(RUN, step=25), BUDGETS)
    assert reason(a_call(step=25), a_plan(), counts) is None
    assert reason(a_call(step=26), a_plan(), counts) is Reason.MAX_STEPS
    assert reason(a_call(), a_plan(), counts, 59.999) is None
    assert reason(a_call(), a_plan(), counts, 60) is Reason.MAX_SECONDS


def test_a_raised_budget_lets_an_unfinished_run_go_on() -> None:
    counts = Counts(1000)
    for _ in range(12):
        counts.ledger.reserve(a_charge(RUN), BUDGETS)
    more = a_plan(budgets=Budgets(25, 40, 60))
    assert reason(a_call(), a_plan(), counts) is Reason.MAX_TOOL_CALLS
    assert reason(a_call(), more, counts) is None
    counts.ledger.exhaust(RUN, Reason.MAX_TOOL_CALLS, NOON)
    assert reason(a_call(), more, counts) is Reason.MAX_TOOL_CALLS, "once it was refused, it has ended"


def test_a_window_has_no_seconds_and_a_new_one_has_all_its_calls() -> None:
    counts, window = Counts(1000), RunKey("scout", "")
    for _ in range(12):
        counts.ledger.reserve(a_charge(window), BUDGETS)
    assert reason(a_call(run=""), a_plan(), counts, 59) is Reason.MAX_TOOL_CALLS
    assert reason(a_call(run=""), a_plan(), counts, 60) is None


def test_a_live_run_has_its_place_when_no_new_one_fits() -> None:
    counts = Counts(1000)
    counts.ledger = Ledger(max_live=1)
    counts.ledger.reserve(a_charge(RUN), BUDGETS)
    assert reason(a_call(), a_plan(), counts) is None
    assert reason(a_call(run="r2"), a_plan(), counts) is Reason.OVERLOADED


def test_a_tool_the_gateway_performs_itself_needs_no_upstream() -> None:
    assert reason(a_call(), a_plan(upstream=None, builtin=True), Counts(1000)) is None


def finished(counts: Counts) -> None:
    counts.ledger.reserve(a_charge(RUN), BUDGETS)
    counts.ledger.finish(RUN, "finish", NOON)


def spent(counts: Counts) -> None:
    for _ in range(12):
        counts.ledger.reserve(a_charge(RUN), BUDGETS)


@pytest.mark.parametrize(
    ("call", "plan", "seconds", "reported"),
    [
        (a_call(), a_plan(allowed=False), 0, Reason.TOOL_NOT_ALLOWED),
        (a_call(), a_plan(arguments=Nothing()), 0, Reason.ARGUMENTS_NOT_ALLOWED),
        (a_call(destination=ELSEWHERE), a_plan(builtin=True), 0, Reason.EGRESS_NOT_ALLOWED),
        (a_call(run=""), a_plan(anonymous="deny"), 0, Reason.RUN_ID_REQUIRED),
        (a_call(step=26), a_plan(), 0, Reason.MAX_STEPS),
        (a_call(), a_plan(), 60, Reason.MAX_SECONDS),
        (a_call(), a_plan(), 0, Reason.MAX_TOOL_CALLS),
    ],
)
def test_report_mode_lets_pass_and_names_what_would_have_refused(
    call: ToolCall, plan: Plan, seconds: float, reported: Reason
) -> None:
    counts = Counts(1000)
    spent(counts)
    softened = a_plan(
        report=True, allowed=plan.allowed, arguments=plan.arguments, builtin=plan.builtin, anonymous=plan.anonymous
    )
    assert reason(call, plan, counts, seconds) is reported
    assert judge(call, softened, counts, later(seconds)) == (None, reported)


@pytest.mark.parametrize("report", [False, True])
def test_report_mode_softens_nothing_else(report: bool) -> None:
    counts = Counts(1000)
    finished(counts)
    assert reason(a_call(), a_plan(report=report), counts) is Reason.RUN_FINISHED
    assert reason(a_call(), a_plan(report=report, upstream=None, missing="x"), counts) is Reason.TOOL_NOT_CONFIGURED
    counts.draining = True
    assert reason(a_call(), a_plan(report=report), counts) is Reason.DRAINING
    counts.switches.put(a_switch("agent:scout"))
    assert reason(a_call(), a_plan(report=report), counts) is Reason.AGENT_DISABLED


def test_report_mode_cannot_let_pass_what_nobody_could_perform() -> None:
    verdict = judge(a_call(), a_plan(report=True, allowed=False, upstream=None), Counts(1000), NOON)
    assert verdict.denial is not None
    assert (verdict.denial.reason, verdict.report_reason) == (Reason.TOOL_NOT_ALLOWED, None)


def test_a_refusal_in_report_mode_still_names_what_was_reported_before_it() -> None:
    counts = Counts(1000)
    finished(counts)
    verdict = judge(a_call(), a_plan(report=True, allowed=False), counts, NOON)
    assert verdict.denial is not None
    assert (verdict.denial.reason, verdict.report_reason) == (Reason.RUN_FINISHED, Reason.TOOL_NOT_ALLOWED)


def test_after_a_wait_only_an_operator_or_the_runs_own_end_objects() -> None:
    counts = Counts(1000)
    spent(counts)
    assert judge_again(a_call(), a_plan(allowed=False), counts, later(99)) is None
    counts.ledger.exhaust(RUN, Reason.MAX_TOOL_CALLS, NOON)
    assert judge_again(a_call(), a_plan(), counts, NOON) is None, "the thirteenth call's refusal is not the twelfth's"
    assert judge_again(a_call(run=""), a_plan(), counts, NOON) is None


@pytest.mark.parametrize(("end", "heard"), [("finish", Reason.RUN_FINISHED), ("stop", Reason.KILL_SWITCH)])
def test_after_a_wait_a_run_that_was_ended_makes_no_more_attempts(end: str, heard: Reason) -> None:
    counts = Counts(1000)
    counts.ledger.reserve(a_charge(RUN), BUDGETS)
    if end == "finish":
        counts.ledger.finish(RUN, "finish", NOON)
    else:
        counts.ledger.stop(RUN, NOON)
    denial = judge_again(a_call(), a_plan(), counts, NOON)
    assert denial is not None
    assert denial.reason is heard


def test_after_a_wait_the_kill_switch_is_asked_even_in_report_mode() -> None:
    counts = Counts(1000)
    counts.switches.put(a_switch("writes", source=Source.FILE))
    assert judge_again(a_call(), a_plan(report=True), counts, NOON) is None
    assert judge_again(a_call(), a_plan(report=True, effect=Effect.WRITE), counts, NOON) is not None


def test_a_step_hears_of_a_stop_like_a_call() -> None:
    counts = Counts(1000)
    counts.switches.put(a_switch("writes"))
    counts.switches.put(a_switch("tool:*"))
    assert judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=True) is None, (
        "a step writes nothing and uses no tool"
    )
    counts.switches.put(a_switch("run:r1"))
    denial = judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=True)
    assert denial is not None
    assert denial.stop_reason == "kill_switch"


@pytest.mark.parametrize("report", [False, True])
def test_a_step_of_a_finished_run_is_refused_even_in_report_mode(report: bool) -> None:
    counts = Counts(1000)
    finished(counts)
    denial = judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=report)
    assert denial is not None
    assert denial.reason is Reason.RUN_FINISHED


def test_a_spent_budget_refuses_a_step_unless_it_is_only_reported() -> None:
    counts = Counts(1000)
    counts.ledger.reserve(a_charge(RUN, step=25), BUDGETS)
    for seconds, spent_budget in ((0, Reason.MAX_STEPS), (60, Reason.MAX_SECONDS)):
        denial = judge_step(RUN, BUDGETS, UNBOUNDED, counts, later(seconds), report=False)
        assert denial is not None
        assert denial.reason is spent_budget
        assert judge_step(RUN, BUDGETS, UNBOUNDED, counts, later(seconds), report=True) is None


def test_a_step_starts_no_run_where_none_fits() -> None:
    counts = Counts(1000)
    counts.ledger = Ledger(max_live=0)
    denial = judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=True)
    assert denial is not None
    assert denial.reason is Reason.OVERLOADED


def at_work(counts: Counts, effect: Effect = Effect.READ, run: str = "r1") -> Wait:
    wait = counts.in_flight.enter(a_call(run=run), effect)
    wait.attempting(Attempt(1, "POST", "", [], b"", sent=True), None)
    return wait


def test_a_switch_stops_what_waits_and_with_cancel_in_flight_what_is_at_work() -> None:
    counts = Counts(1000)
    waiting, working = counts.in_flight.enter(a_call(), Effect.WRITE), at_work(counts, Effect.WRITE)
    reading = at_work(counts, Effect.READ)
    gentle, hard = a_switch("writes", "leak"), a_switch("writes", "leak", cancel_in_flight=True)
    counts.switches.put(gentle)
    interrupt_killed(counts, [gentle], NOON)
    stopped = [waiting.stopped, working.stopped]
    counts.switches.put(hard)
    interrupt_killed(counts, [hard], NOON)
    killed = waiting.stopped
    assert killed is not None
    assert "leak" in killed.detail
    assert stopped == [killed, None]
    assert [working.stopped, reading.stopped] == [killed, None]


def test_a_hard_switch_does_not_cut_what_only_a_gentle_one_stops() -> None:
    counts = Counts(1000)
    working = at_work(counts)
    counts.switches.put(a_switch("all"))
    hard = a_switch("tool:other.*", cancel_in_flight=True)
    counts.switches.put(hard)
    interrupt_killed(counts, [hard], NOON)
    assert working.stopped is None


@pytest.mark.parametrize("cancel_in_flight", [False, True])
def test_a_stopped_run_takes_its_waiting_calls_along_and_no_others(cancel_in_flight: bool) -> None:
    counts = Counts(1000)
    waiting, working = counts.in_flight.enter(a_call(), Effect.READ), at_work(counts)
    other, namesake = (
        counts.in_flight.enter(a_call(run="r2"), Effect.READ),
        counts.in_flight.enter(a_call(agent="other"), Effect.READ),
    )
    interrupt_run(counts, RUN, cancel_in_flight=cancel_in_flight)
    assert waiting.stopped is not None
    assert waiting.stopped.stop_reason == "kill_switch"
    assert (working.stopped is not None) == cancel_in_flight
    assert other.stopped is namesake.stopped is None
