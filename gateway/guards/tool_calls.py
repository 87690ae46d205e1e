"""Has the run, or the agent's anonymous window, a tool call left?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Exactly the limit is admitted: nothing is awaited between this guard and the charge."""
    run = counts.ledger.find(call.run, plan.budgets, now)
    if run is not None and run.window:
        return window_used_up(run, plan.budgets, now)
    if counts.ledger.left_to_fleet(run):
        return None
    return out_of_calls(run, plan.budgets, now)


def out_of_calls(run: Run | None, budgets: Budgets, now: Moment) -> Denial | None:
    """Objects where a run has used all its calls; waiting cannot help it."""
    used, limit = (run.tool_calls if run else 0), budgets.max_tool_calls
    return None if used < limit else used_up(used, limit)


def used_up(used: int, limit: int) -> Denial:
    """The denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    return Denial(
        Reason.MAX_TOOL_CALLS,
        f"This run has used all {used} of its {limit} tool calls (AGENT_MAX_TOOL_CALLS)."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_TOOL_CALLS.value,
    )


def window_used_up(window: Run, budgets: Budgets, now: Moment) -> Denial | None:
    """Objects where an anonymous window has used all its calls; the next window helps."""
    if window.tool_calls < budgets.max_tool_calls:
        return None
    left = max(0.0, budgets.max_seconds - window.elapsed(now))
    return Denial(
        Reason.MAX_TOOL_CALLS,
        f"Calls without a run id have used all {window.tool_calls} of the {budgets.max_tool_calls} tool calls"
        f" that this agent has in {budgets.max_seconds:g} seconds (AGENT_MAX_TOOL_CALLS)."
        f" Wait {ceil(left)} seconds before you call again, or finish with what you have.",
        retry_after=left,
    )
