"""Has the agent, over all its runs, a call left in this hour?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where the policy limits the agent's calls."""
    return plan.limits.max_actions_per_hour is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """In any hour: the window slides, so that no two full hours meet at a stroke of the clock."""
    limit = plan.limits.max_actions_per_hour
    if limit is None:
        return None
    actions = counts.ledger.agents.actions(call.agent, now)
    if actions.used < limit:
        return None
    return used_up(actions.used, limit, counts.ledger.agents.wait(actions, limit, now))


def used_up(used: int, limit: int, wait: float | None) -> Denial:
    """The denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    when = "" if wait is None else f", or wait: it may call again in {ceil(wait)} seconds"
    return Denial(
        Reason.MAX_ACTIONS_PER_HOUR,
        f"This agent has used all {used} of the {limit} tool calls it has in an hour, over all its runs"
        f" (max_actions_per_hour). Finish with what you have{when}.",
        retry_after=wait,
    )
