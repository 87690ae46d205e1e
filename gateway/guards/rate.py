"""Will the call's turn at its tool come in time?"""

from math import ceil

from gateway.model import Denial, Moment, Reason, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.pacing import Pacer


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """A call whose turn is known to come too late is refused now rather than then."""
    pacer = counts.pacers.of(plan.tool, plan.pace)
    if pacer is None:
        return None
    left = plan.deadline
    run = counts.ledger.find(call.run, plan.budgets, now)
    if call.run.id and not plan.report:
        left = min(left, plan.budgets.max_seconds - (run.elapsed(now) if run else 0.0))
    return no_turn(pacer, plan, now.mono, left)


def no_turn(pacer: Pacer, plan: Plan, now: float, left: float) -> Denial | None:
    """`left`: seconds until the call must be done."""
    wait = pacer.turn(plan.pace, now)
    if wait is not None and wait >= left:
        return Denial(
            Reason.RATE_LIMITED,
            f"{plan.tool} takes no more calls just now: this one's turn would come in {ceil(wait)} seconds, after its deadline"
            " (rate, or a pause that its upstream asked for). Wait, then repeat the call, or go on without it.",
            retry_after=max(1.0, wait - left),
        )
    if pacer.waiting >= plan.pace.max_waiting and (wait is None or wait > 0):
        return Denial(
            Reason.OVERLOADED,
            f"{pacer.waiting} calls of {plan.tool} are waiting for their turn already (max_waiting)."
            " Wait a second, then repeat the call.",
            retry_after=1.0,
        )
    return None


def never_had_turn(plan: Plan) -> Denial:
    """Its time ran out in the queue."""
    return Denial(
        Reason.OVERLOADED,
        f"All {plan.pace.max_concurrency or 'its'} places of {plan.tool} were taken until this call's deadline (max_concurrency)."
        " It was not sent. Wait a second, then repeat the call.",
        retry_after=1.0,
    )
