"""May this agent use this tool at all?"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where the policy says no."""
    return not plan.allowed


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """A tool that does not exist looks the same as one that nobody allowed."""
    if plan.allowed:
        return None
    return Denial(
        Reason.TOOL_NOT_ALLOWED,
        f"This agent may not use the tool {call.tool} ({plan.rule}). Go on without it; repeating the call will not help.",
    )
