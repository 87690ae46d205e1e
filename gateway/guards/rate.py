"""Will the call's turn at its tool come in time?"""

from math import ceil, inf

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.pacing import GRAIN, Pacer
from gateway.state.run import is_window

SOON = 1.0
"""Seconds: when to come back where nobody knows when a place is free."""


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """A call whose turn is known to come too late is refused now rather than then."""
    pacer = counts.pacers.find(plan.queue)
    if pacer is None:
        return None
    run_left = inf
    if not is_window(call.run) and not plan.report:
        run = counts.ledger.find(call.run, plan.budgets, now)
        run_left = plan.budgets.max_seconds - (run.elapsed(now) if run else 0.0)
    return no_turn(pacer, plan, now.mono, plan.deadline, run_left)


def no_turn(pacer: Pacer, plan: Plan, now: float, left: float, run_left: float) -> Denial | None:
    """The seconds until the call, and its run, must be done. Asked before the call joins the queue: it does not count itself."""
    wait = pacer.turn(now)
    if 0 < wait >= min(left, run_left):
        return _too_late(pacer, plan, now, run_left)
    if pacer.waiting >= plan.pace.max_waiting and not pacer.is_open(now):
        back = max(SOON, pacer.moves_in(now))
        return Denial(
            Reason.OVERLOADED,
            f"The queue of {plan.tool} is full: {pacer.waiting} of {plan.pace.max_waiting} calls wait for their turn (max_waiting)."
            f" Repeat the call in {_seconds(back)}, or go on without this tool.",
            retry_after=back,
        )
    return None


def never_had_turn(pacer: Pacer, plan: Plan, now: float, run_left: float, *, sent: bool) -> Denial:
    """Its time ran out in the queue, or will before its turn comes. `sent`: an earlier attempt of the call was."""
    unsent = "" if sent else " It was not sent."
    if run_left <= GRAIN:
        return Denial(
            Reason.TOOL_TIMEOUT,
            f"The run's time of {plan.budgets.max_seconds:g} s (AGENT_MAX_SECONDS) ended while this call waited for its turn at"
            f" {plan.tool}.{unsent} Finish the task with what you have.",
            Reason.MAX_SECONDS.value,
        )
    if not pacer.full and pacer.turn(now) > 0:
        return _too_late(pacer, plan, now, run_left)
    places = "" if pacer.pace.max_concurrency is None else f" (max_concurrency: {pacer.pace.max_concurrency})"
    why = f"No place of {plan.tool} was free before this call's deadline{places}."
    return Denial(Reason.OVERLOADED, f"{why}{unsent} Wait a second, then repeat the call.", retry_after=SOON)


def _too_late(pacer: Pacer, plan: Plan, now: float, run_left: float) -> Denial:
    """The upstream's pause is named where there is one, else the rate. Whoever comes back at its turn has all of a deadline for it."""
    wait, rate = pacer.turn(now), pacer.pace.rate
    if pacer.paused(now) or rate is None:
        why = f"The upstream of {plan.tool} has asked for a pause (Retry-After)"
    else:
        waiting = f"{pacer.waiting} waiting" if pacer.waiting else "none to spare"
        why = f"{plan.tool} takes {rate.per_second:g} calls a second (rate) and has {waiting}"
    if wait >= run_left:
        detail = f"{why}: this call's turn would come in {_seconds(wait)}, after the end of its run. Go on without this tool."
        return Denial(Reason.RATE_LIMITED, detail, retry_after=wait, outlasts_run=True)
    return Denial(
        Reason.RATE_LIMITED,
        f"{why}: this call's turn would come in {_seconds(wait)}, after its deadline."
        f" Repeat it in {_seconds(wait)}, or go on without this tool.",
        retry_after=max(SOON, wait),
    )


def _seconds(seconds: float) -> str:
    whole = max(1, ceil(seconds))
    return f"{whole} second{'s' if whole != 1 else ''}"
