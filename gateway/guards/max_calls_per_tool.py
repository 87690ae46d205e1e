"""Has the agent, over all its runs, a call of this tool left today?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.agents import seconds_of_day_left
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where the policy limits the agent's calls of this tool."""
    return plan.limits.max_calls is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Today is the UTC day. Where a pattern sets the limit, each of its tools has as many."""
    limit = plan.limits.max_calls
    if limit is None:
        return None
    used = counts.ledger.agents.today(call.agent, now).calls.of(call.tool)
    return None if used < limit else used_up(used, limit, call.tool, now)


def used_up(used: int, limit: int, tool: str, now: Moment) -> Denial:
    """The denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    wait = seconds_of_day_left(now) if limit else None
    when = "" if wait is None else f", or wait: the day ends in {ceil(wait)} seconds"
    return Denial(
        Reason.MAX_CALLS_PER_TOOL,
        f"This agent has used all {used} of the {limit} calls of {tool} it has in this UTC day, over all its runs"
        f" (max_calls_per_tool). Go on without this tool{when}.",
        retry_after=wait,
    )
