"""Has the run, or the agent's anonymous window, a call of this tool left?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import is_window


def can_object(plan: Plan) -> bool:
    """Only where the policy limits the tool's calls in a run."""
    return plan.max_calls is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """No end of the run: it may have other tools to call."""
    limit = plan.max_calls
    run = counts.ledger.find(call.run, plan.budgets, now) if limit is not None else None
    if limit is None or run is None or run.calls_of(call.tool) < limit or counts.ledger.left_to_fleet(run):
        return None
    if not is_window(call.run):
        return used_up(run.calls_of(call.tool), limit, call.tool)
    left = max(0.0, plan.budgets.max_seconds - run.elapsed(now))
    return Denial(
        Reason.MAX_CALLS,
        f"Calls without a run id have used all {run.calls_of(call.tool)} of the {limit} calls of {call.tool}"
        f" that this agent has in {plan.budgets.max_seconds:g} seconds (max_calls)."
        f" Wait {ceil(left)} seconds before you call it again, or go on without it.",
        retry_after=left,
    )


def used_up(used: int, limit: int, tool: str) -> Denial:
    """A run's denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    return Denial(
        Reason.MAX_CALLS,
        f"This run has used all {used} of its {limit} calls of {tool} (max_calls)."
        " Go on without this tool, or finish with what you have.",
    )
