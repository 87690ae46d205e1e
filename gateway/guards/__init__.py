"""May this call go on? The order of all guards, what report mode softens, and how they are asked. Each guard is a file beside this one."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import (
    allowlist,
    arguments,
    circuit,
    configured,
    draining,
    egress,
    hindrance,
    kill_switch,
    loop_detected,
    max_actions_per_hour,
    max_calls,
    max_calls_per_tool,
    max_spend_usd_per_day,
    max_usd,
    overloaded,
    rate,
    run,
    seconds,
    steps,
    too_many_runs,
    tool_calls,
)
from gateway.model import Moment, ToolCall
from gateway.policy.remembered import remembered
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run

Guard = Callable[[ToolCall, Plan, Counts, Moment], Denial | None]

GUARDS: tuple[Guard, ...] = (
    kill_switch.guard,
    draining.guard,
    overloaded.guard,
    loop_detected.guard,
    allowlist.guard,
    configured.guard,
    egress.guard,
    arguments.guard,
    run.guard,
    seconds.guard,
    steps.guard,
    tool_calls.guard,
    too_many_runs.guard,
    max_usd.guard,
    max_calls.guard,
    max_actions_per_hour.guard,
    max_spend_usd_per_day.guard,
    max_calls_per_tool.guard,
    circuit.guard,
    rate.guard,
)
"""The first objection wins. What an operator did comes first, then what policy says of any such call, then what this run and its agent
have used, then whether the tool can take the call now. The loop guard stands before policy's word, so that a run that hammers at what
is refused hears that it repeats itself.
"""

CAN_OBJECT: Mapping[Guard, Callable[[Plan], bool]] = {
    allowlist.guard: allowlist.can_object,
    configured.guard: configured.can_object,
    loop_detected.guard: loop_detected.can_object,
    arguments.guard: arguments.can_object,
    max_usd.guard: max_usd.can_object,
    max_calls.guard: max_calls.can_object,
    max_actions_per_hour.guard: max_actions_per_hour.can_object,
    max_spend_usd_per_day.guard: max_spend_usd_per_day.can_object,
    max_calls_per_tool.guard: max_calls_per_tool.can_object,
}
"""Under which plans these guards can object at all. A call asks only those that can: what a policy does not limit costs nothing."""

HINDRANCES = frozenset(
    {
        kill_switch.guard,
        draining.guard,
        overloaded.guard,
        egress.guard,
        run.guard,
        seconds.guard,
        steps.guard,
        tool_calls.guard,
        too_many_runs.guard,
        circuit.guard,
        rate.guard,
    }
)
"""What cannot object to a call that is `unhindered` (hindrance.py), as nearly all are."""

REPLAY_GUARDS: tuple[Guard, ...] = (
    kill_switch.guard,
    draining.guard,
    overloaded.replay_guard,
    allowlist.guard,
    configured.guard,
    egress.guard,
    arguments.guard,
    run.replay_guard,
)
"""For a call that only repeats an earlier one (Idempotency-Key): what an operator did and what policy says of any such call. It is
performed no second time and charged nothing, so it asks neither a budget nor whether the tool can take it.
"""

LIVE_GUARDS: tuple[Guard, ...] = (kill_switch.guard, run.live_guard)
"""What can change its mind about a call already admitted: asked again after every wait."""

REPORTABLE = frozenset(
    {
        Reason.TOOL_NOT_ALLOWED,
        Reason.ARGUMENTS_NOT_ALLOWED,
        Reason.EGRESS_NOT_ALLOWED,
        Reason.RUN_ID_REQUIRED,
        Reason.LOOP_DETECTED,
        Reason.MAX_STEPS,
        Reason.MAX_TOOL_CALLS,
        Reason.MAX_SECONDS,
        Reason.MAX_USD,
        Reason.MAX_CALLS,
        Reason.MAX_ACTIONS_PER_HOUR,
        Reason.MAX_SPEND_USD_PER_DAY,
        Reason.MAX_CALLS_PER_TOOL,
        Reason.RATE_LIMITED,
    }
)
"""What `mode: report` lets pass and only logs (SPEC 3), as far as the call could be performed at all."""


class Guards(NamedTuple):
    """The guards that can object under one plan."""

    unhindered: tuple[Guard, ...]
    """For a call that is."""
    any: tuple[Guard, ...]


class Verdict(NamedTuple):
    """What the guards say. In report mode a call may pass and still have a reason to be reported."""

    denial: Denial | None
    report_reason: Reason | None
    """The first rule that would have refused the call, had it been in force."""


PASSED: Final = Verdict(None, None)


@remembered
def guards_of(plan: Plan) -> Guards:
    """Those of GUARDS that can object under the plan."""
    can = tuple([guard for guard in GUARDS if guard not in CAN_OBJECT or CAN_OBJECT[guard](plan)])
    return Guards(tuple([guard for guard in can if guard not in HINDRANCES]), can)


def judge(call: ToolCall, plan: Plan, counts: Counts, now: Moment, known: Run | None = None) -> Verdict:
    """Asks the plan's guards, until one objects in earnest. `known` is what the ledger finds of the run, where it was asked already."""
    guards = guards_of(plan)
    run = counts.ledger.find(call.run, plan.budgets, now) if known is None else known
    if not hindrance.unhindered(call, plan, counts, run, now):
        return ask(guards.any, call, plan, counts, now)
    return ask(guards.unhindered, call, plan, counts, now) if guards.unhindered else PASSED


def ask(guards: tuple[Guard, ...], call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Verdict:
    """Asks these guards in their order, until one objects in earnest."""
    report_reason = None
    for guard in guards:
        denial = guard(call, plan, counts, now)
        if denial is None:
            continue
        if not (plan.report and denial.reason in REPORTABLE and _performable(plan)):
            return Verdict(denial, report_reason)
        report_reason = report_reason or denial.reason
    return Verdict(None, report_reason)


def judge_again(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """After a wait. Report mode softens none of these."""
    for guard in LIVE_GUARDS:
        denial = guard(call, plan, counts, now)
        if denial is not None:
            return denial
    return None


def _performable(plan: Plan) -> bool:
    return plan.builtin or plan.upstream is not None
