"""Does the policy say what performs this tool?"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where nothing performs the tool."""
    return not plan.builtin and plan.upstream is None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Names the key an operator has to write."""
    if plan.builtin or plan.upstream is not None:
        return None
    return Denial(
        Reason.TOOL_NOT_CONFIGURED,
        f"The tool {call.tool} is allowed but has no upstream: the policy lacks {plan.missing}."
        " Go on without it; an operator has to configure it.",
    )
