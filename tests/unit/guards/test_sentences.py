"""Every sentence a guard can say, word for word: a model reads them, and has to know what to do next."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.bounds import UNBOUNDED, AgentBounds
from gateway.denial import Denial, Reason
from gateway.guards import judge
from gateway.guards.run_control import judge_step
from gateway.model import Budgets, Effect, RunKey, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.inflight import CUT_BY_SHUTDOWN
from gateway.state.ledger import Ledger
from tests.unit.made_up import BUDGETS, NOON, a_call, a_charge, a_plan, a_switch, later

RUN, WINDOW = RunKey("scout", "r1"), RunKey("scout", "")


class NoTwos:
    """A schema's word, without the schema."""

    def objection(self, arguments: object) -> str | None:
        return "n: greater than 1" if arguments == {"n": 2} else None


def with_switch(scope: str, reason: str = "data leak in billing.") -> Callable[[Counts], None]:
    return lambda counts: counts.switches.put(a_switch(scope, reason))


def used(calls: int, key: RunKey = RUN, spend: int = 0) -> Callable[[Counts], None]:
    def prepare(counts: Counts) -> None:
        for _ in range(calls):
            counts.ledger.reserve(a_charge(key, spend=spend, args_hash="same"), BUDGETS)

    return prepare


def ended(how: str, calls: int = 1) -> Callable[[Counts], None]:
    def prepare(counts: Counts) -> None:
        used(calls)(counts)
        if how == "finish":
            counts.ledger.finish(RUN, "done", NOON)
        elif how == "stop":
            counts.ledger.stop(RUN, NOON)
        else:
            counts.ledger.exhaust(RUN, Reason(how), NOON)

    return prepare


def draining(counts: Counts) -> None:
    counts.draining = True


def busy(counts: Counts) -> None:
    counts.in_flight.enter(a_call(), Effect.READ)
    counts.in_flight.enter(a_call(), Effect.READ)
    counts.max_in_flight = 2


def crowded(counts: Counts) -> None:
    counts.ledger = Ledger(max_live=2)
    used(1, RunKey("other", "r1"))(counts)
    used(1, RunKey("other", "r2"))(counts)


def nothing(counts: Counts) -> None:
    pass


FINISH = "Finish the task with what you have; further calls in this run will be refused."
STOP = "Stop here and report that the task was stopped."
CASES: dict[str, tuple[Callable[[Counts], None], ToolCall, Plan, float, Denial]] = {
    "kill all": (
        with_switch("all"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.KILL_SWITCH,
            f"An operator has stopped all calls (kill switch all): data leak in billing. {STOP}",
            "kill_switch",
        ),
    ),
    "kill all without a reason": (
        with_switch("all", ""),
        a_call(),
        a_plan(),
        0,
        Denial(Reason.KILL_SWITCH, f"An operator has stopped all calls (kill switch all). {STOP}", "kill_switch"),
    ),
    "kill writes": (
        with_switch("writes"),
        a_call(),
        a_plan(effect=Effect.WRITE),
        0,
        Denial(
            Reason.KILL_SWITCH,
            "An operator has stopped all tools that write (kill switch writes): data leak in billing."
            " Go on with tools that only read, or finish with what you have.",
        ),
    ),
    "kill tool": (
        with_switch("tool:search.*"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.KILL_SWITCH,
            "An operator has stopped this tool (kill switch tool:search.*): data leak in billing."
            " Go on without this tool, or finish with what you have.",
        ),
    ),
    "kill agent": (
        with_switch("agent:scout"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.AGENT_DISABLED,
            f"An operator has disabled this agent (kill switch agent:scout): data leak in billing. {STOP}",
            "agent_disabled",
        ),
    ),
    "kill run": (
        with_switch("run:scout/r1"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.KILL_SWITCH,
            f"An operator has stopped this run (kill switch run:scout/r1): data leak in billing. {STOP}",
            "kill_switch",
        ),
    ),
    "draining": (
        draining,
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.DRAINING,
            "The gateway is shutting down and takes no new calls. Repeat the call once it is back.",
            retry_after=5.0,
        ),
    ),
    "too many calls in flight": (
        busy,
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.OVERLOADED,
            "All 2 places for calls in flight are taken (GATEWAY_MAX_IN_FLIGHT). Wait a second, then repeat the call.",
            retry_after=1.0,
        ),
    ),
    "too many live runs": (
        crowded,
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.OVERLOADED,
            "The gateway has no room for one more run: at most 2 may be live, and 250,000 remembered for 24 hours."
            " Wait a second, then repeat the call, or go on in a run that you have.",
            retry_after=1.0,
        ),
    ),
    "not allowed": (
        nothing,
        a_call(),
        a_plan(allowed=False, rule='tools.denylist: "search.*"'),
        0,
        Denial(
            Reason.TOOL_NOT_ALLOWED,
            'This agent may not use the tool search.read (tools.denylist: "search.*").'
            " Go on without it; repeating the call will not help.",
        ),
    ),
    "not configured": (
        nothing,
        a_call(),
        a_plan(upstream=None, missing="tools.definitions.search.read.upstream"),
        0,
        Denial(
            Reason.TOOL_NOT_CONFIGURED,
            "The tool search.read is allowed but has no upstream: the policy lacks tools.definitions.search.read.upstream."
            " Go on without it; an operator has to configure it.",
        ),
    ),
    "arguments against the schema": (
        nothing,
        a_call(arguments={"n": 2}),
        a_plan(arguments=NoTwos()),
        0,
        Denial(
            Reason.ARGUMENTS_NOT_ALLOWED,
            "The arguments of search.read break its schema: n: greater than 1. Correct that, then call again.",
        ),
    ),
    "arguments that cannot be read": (
        nothing,
        a_call(malformed="the body is not JSON."),
        a_plan(arguments=NoTwos()),
        0,
        Denial(
            Reason.INVALID_REQUEST,
            "The arguments of search.read cannot be read: the body is not JSON. Correct that, then call again.",
        ),
    ),
    "no run id": (
        nothing,
        a_call(run=""),
        a_plan(anonymous="deny"),
        0,
        Denial(
            Reason.RUN_ID_REQUIRED,
            "This call names no run, and the policy counts every call to one (runs.anonymous: deny)."
            " Send a run id in the header Agent-Run-Id, call below /runs/{run_id}/, or name it as the user of the proxy URL.",
        ),
    ),
    "after the agent's own end": (
        ended("finish"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.RUN_FINISHED,
            "This run was finished, and a finished run takes no more calls. Start a new run for a new task.",
            "run_finished",
        ),
    ),
    "stopped by an operator": (
        ended("stop"),
        a_call(),
        a_plan(),
        0,
        Denial(Reason.KILL_SWITCH, f"An operator has stopped this run. {STOP}", "kill_switch"),
    ),
    "out of tool calls": (
        used(12),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.MAX_TOOL_CALLS,
            f"This run has used all 12 of its 12 tool calls (AGENT_MAX_TOOL_CALLS). {FINISH}",
            "max_tool_calls",
        ),
    ),
    "out of tool calls, and ended so": (
        ended("max_tool_calls", 12),
        a_call(),
        a_plan(),
        99,
        Denial(
            Reason.MAX_TOOL_CALLS,
            f"This run has used all 12 of its 12 tool calls (AGENT_MAX_TOOL_CALLS). {FINISH}",
            "max_tool_calls",
        ),
    ),
    "ended out of tool calls, before a reload gave more": (
        ended("max_tool_calls", 12),
        a_call(),
        a_plan(budgets=Budgets(25, 40, 60)),
        0,
        Denial(
            Reason.MAX_TOOL_CALLS,
            f"This run ended when it was out of tool calls (AGENT_MAX_TOOL_CALLS), and an ended run stays ended. {FINISH}",
            "max_tool_calls",
        ),
    ),
    "out of time": (
        used(1),
        a_call(),
        a_plan(),
        60,
        Denial(
            Reason.MAX_SECONDS, f"This run has used all of its 60 seconds (AGENT_MAX_SECONDS). {FINISH}", "max_seconds"
        ),
    ),
    "ended out of time, before a reload gave more": (
        ended("max_seconds"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.MAX_SECONDS,
            f"This run ended when it was out of time (AGENT_MAX_SECONDS), and an ended run stays ended. {FINISH}",
            "max_seconds",
        ),
    ),
    "a step too many": (
        nothing,
        a_call(step=26),
        a_plan(),
        0,
        Denial(
            Reason.MAX_STEPS,
            "This run may take 25 steps, and this call announces a later one (AGENT_MAX_STEPS, header Agent-Step)."
            f" {FINISH}",
            "max_steps",
        ),
    ),
    "a step too many without a run": (
        nothing,
        a_call(run="", step=26),
        a_plan(),
        0,
        Denial(
            Reason.MAX_STEPS,
            "A task may take 25 steps, and this call announces a later one (AGENT_MAX_STEPS, header Agent-Step)."
            " Finish the task with what you have.",
        ),
    ),
    "a call after the step too many": (
        ended("max_steps"),
        a_call(),
        a_plan(),
        0,
        Denial(
            Reason.MAX_STEPS,
            f"This run ended when it was out of steps (AGENT_MAX_STEPS), and an ended run stays ended. {FINISH}",
            "max_steps",
        ),
    ),
    "the same call too often": (
        used(5),
        a_call(args_hash="same"),
        a_plan(max_identical_calls=5),
        0,
        Denial(
            Reason.LOOP_DETECTED,
            "This run has made this very call of search.read 5 times, as often as it may (max_identical_calls)."
            " Its answer will not change: stop here and report what you have; further calls in this run will be refused.",
            "loop_detected",
        ),
    ),
    "another call after the same one too often": (
        ended("loop_detected"),
        a_call(args_hash="other"),
        a_plan(max_identical_calls=5),
        0,
        Denial(
            Reason.LOOP_DETECTED,
            "This run ended when it made the same call too often (max_identical_calls), and an ended run stays ended."
            " Stop here and report what you have; further calls in this run will be refused.",
            "loop_detected",
        ),
    ),
    "too many runs": (
        used(1),
        a_call(run="r2"),
        a_plan(limits=AgentBounds(max_runs_started_per_hour=1)),
        3599,
        Denial(
            Reason.TOO_MANY_RUNS,
            "This agent has started 1 of the 1 runs it may start in an hour (runs.max_started_per_hour)."
            " Go on in a run that you have; the next can start in 2 seconds.",
            retry_after=2.0,
        ),
    ),
    "no runs at all": (
        nothing,
        a_call(),
        a_plan(limits=AgentBounds(max_runs_started_per_hour=0)),
        0,
        Denial(
            Reason.TOO_MANY_RUNS,
            "This agent has started 0 of the 0 runs it may start in an hour (runs.max_started_per_hour)."
            " Go on in a run that you have.",
        ),
    ),
    "out of money": (
        used(2, spend=1_500),
        a_call(),
        a_plan(cost=1_000, budgets=replace(BUDGETS, max_spend=3_999)),
        0,
        Denial(
            Reason.MAX_USD,
            f"This run has spent $0.003 of its $0.003999 (runs.max_usd), and this call costs $0.001. {FINISH}",
            "max_usd",
        ),
    ),
    "a call after the money was out": (
        ended("max_usd"),
        a_call(),
        a_plan(budgets=replace(BUDGETS, max_spend=2_000_000)),
        0,
        Denial(
            Reason.MAX_USD,
            f"This run ended when it was out of money (runs.max_usd), and an ended run stays ended. {FINISH}",
            "max_usd",
        ),
    ),
    "an anonymous window out of money": (
        used(1, WINDOW, spend=1_000_000),
        a_call(run=""),
        a_plan(cost=500_000, budgets=replace(BUDGETS, max_spend=1_250_000)),
        18.5,
        Denial(
            Reason.MAX_USD,
            "Calls without a run id have spent $1.00 of the $1.25 that this agent has in 60 seconds (runs.max_usd),"
            " and this call costs $0.50. Wait 42 seconds before you call again, or finish with what you have.",
            retry_after=41.5,
        ),
    ),
    "dearer than any window": (
        nothing,
        a_call(run=""),
        a_plan(cost=500_000, budgets=replace(BUDGETS, max_spend=250_000)),
        0,
        Denial(
            Reason.MAX_USD,
            "Calls without a run id have spent $0.00 of the $0.25 that this agent has in 60 seconds (runs.max_usd),"
            " and this call costs $0.50. Finish with what you have.",
        ),
    ),
    "out of calls of a tool": (
        used(5),
        a_call(),
        a_plan(max_calls=5),
        0,
        Denial(
            Reason.MAX_CALLS,
            "This run has used all 5 of its 5 calls of search.read (max_calls)."
            " Go on without this tool, or finish with what you have.",
        ),
    ),
    "an anonymous window out of calls of a tool": (
        used(5, WINDOW),
        a_call(run=""),
        a_plan(max_calls=5),
        18.5,
        Denial(
            Reason.MAX_CALLS,
            "Calls without a run id have used all 5 of the 5 calls of search.read that this agent has in 60 seconds"
            " (max_calls). Wait 42 seconds before you call it again, or go on without it.",
            retry_after=41.5,
        ),
    ),
    "out of actions": (
        used(5, RunKey("scout", "r0")),
        a_call(),
        a_plan(limits=AgentBounds(max_actions_per_hour=5)),
        1800,
        Denial(
            Reason.MAX_ACTIONS_PER_HOUR,
            "This agent has used all 5 of the 5 tool calls it has in an hour, over all its runs (max_actions_per_hour)."
            " Finish with what you have, or wait: it may call again in 1801 seconds.",
            retry_after=1801.0,
        ),
    ),
    "out of the day's money": (
        used(1, RunKey("scout", "r0"), spend=9_990_000),
        a_call(spend=20_000),
        a_plan(limits=AgentBounds(max_spend=10_000_000)),
        0,
        Denial(
            Reason.MAX_SPEND_USD_PER_DAY,
            "This agent has spent $9.99 of its $10.00 for this UTC day (max_spend_usd_per_day), and this call costs $0.02."
            " Finish with what you have, or wait: the day ends in 6400 seconds.",
            retry_after=6400.0,
        ),
    ),
    "dearer than a day": (
        nothing,
        a_call(spend=20_000_000),
        a_plan(limits=AgentBounds(max_spend=10_000_000)),
        0,
        Denial(
            Reason.MAX_SPEND_USD_PER_DAY,
            "This agent has spent $0.00 of its $10.00 for this UTC day (max_spend_usd_per_day), and this call costs $20.00."
            " Finish with what you have.",
        ),
    ),
    "out of the day's calls of a tool": (
        used(5, RunKey("scout", "r0")),
        a_call(),
        a_plan(limits=AgentBounds(max_calls=5)),
        0,
        Denial(
            Reason.MAX_CALLS_PER_TOOL,
            "This agent has used all 5 of the 5 calls of search.read it has in this UTC day, over all its runs"
            " (max_calls_per_tool). Go on without this tool, or wait: the day ends in 6400 seconds.",
            retry_after=6400.0,
        ),
    ),
    "an anonymous window used up": (
        used(12, WINDOW),
        a_call(run=""),
        a_plan(),
        18.5,
        Denial(
            Reason.MAX_TOOL_CALLS,
            "Calls without a run id have used all 12 of the 12 tool calls that this agent has in 60 seconds"
            " (AGENT_MAX_TOOL_CALLS). Wait 42 seconds before you call again, or finish with what you have.",
            retry_after=41.5,
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_what_and_why_and_what_next(case: str) -> None:
    prepare, call, plan, seconds, expected = CASES[case]
    counts = Counts(1000)
    prepare(counts)
    assert judge(call, plan, counts, later(seconds)) == (expected, None)


@pytest.mark.parametrize("case", CASES)
def test_no_sentence_runs_over_a_line_or_repeats_the_callers_words(case: str) -> None:
    detail = CASES[case][-1].detail
    assert "\n" not in detail
    assert detail.endswith((".", "/."))
    assert len(detail) < 250


def test_a_step_is_refused_in_the_same_words_as_a_call() -> None:
    counts = Counts(1000)
    for _ in range(25):
        assert judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=False) is None
        counts.ledger.add_step(RUN, BUDGETS, NOON)
    assert judge_step(RUN, BUDGETS, UNBOUNDED, counts, NOON, report=False) == Denial(
        Reason.MAX_STEPS, f"This run has used all 25 of its 25 steps (AGENT_MAX_STEPS). {FINISH}", "max_steps"
    )
    assert judge(a_call(step=25), a_plan(), counts, NOON).denial is None, "the last step's calls pass"


def test_a_call_cut_by_the_shutdown_hears_when_it_may_come_back() -> None:
    said = "The gateway was shut down while this call was at work; it takes calls again once it is back."
    assert CUT_BY_SHUTDOWN.detail == said


@pytest.mark.parametrize(("window", "status"), [(60, 429), (59, 429), (61, 403), (3600, 403)])
def test_a_window_is_answered_with_a_wait_only_where_the_wait_is_short(window: int, status: int) -> None:
    counts = Counts(1000)
    used(12, WINDOW)(counts)
    plan = a_plan(budgets=replace(BUDGETS, max_seconds=window))
    denial = judge(a_call(run=""), plan, counts, NOON).denial
    assert denial is not None
    assert (denial.status, denial.retry_after, denial.stop_reason) == (status, window, None)
