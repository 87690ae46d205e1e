"""Does the run make the very same call again and again? Asked before what policy says of the call, so that hammering at a locked door
is a loop, too: a refusal without Retry-After counts like a call that was made.
"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import is_window


def can_object(plan: Plan) -> bool:
    """Only where the policy limits identical calls."""
    return plan.max_identical_calls > 0


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Named runs only. A body that is still passing has no args_hash yet and passes. A run that ended otherwise hears of that."""
    limit = plan.max_identical_calls
    if not limit or not call.args_hash or is_window(call.run):
        return None
    if counts.ledger.repeats.of(call.run, call.args_hash) < limit:
        return None
    run = counts.ledger.find(call.run, plan.budgets, now)
    if run is not None and run.ended_by not in (None, Reason.LOOP_DETECTED):
        return None
    return Denial(
        Reason.LOOP_DETECTED,
        f"This run has made this very call of {call.tool} {limit} times, as often as it may (max_identical_calls)."
        " Its answer will not change: stop here and report what you have; further calls in this run will be refused.",
        Reason.LOOP_DETECTED.value,
    )
