"""Do the arguments keep to the tool's schema?"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where the tool has a schema."""
    return plan.arguments is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Arguments that cannot be read cannot be shown to keep to a schema. Names paths and rules, never a value."""
    if plan.arguments is None:
        return None
    if call.malformed is not None:
        what = call.malformed.rstrip(".")
        detail = f"The arguments of {call.tool} cannot be read: {what}. Correct that, then call again."
        return Denial(Reason.INVALID_REQUEST, detail)
    problem = plan.arguments.objection(call.arguments)
    if problem is None:
        return None
    return Denial(
        Reason.ARGUMENTS_NOT_ALLOWED,
        f"The arguments of {call.tool} break its schema: {problem.rstrip('.')}. Correct that, then call again.",
    )
