"""Is the upstream worth an attempt at all?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Refuses at once what would only fail once more."""
    if plan.upstream is None:  # a fetch: its targets are no upstreams
        return None
    seconds = counts.breakers.opens_in(plan.upstream.name, now.mono)
    return None if seconds is None else circuit_open(plan, seconds)


def circuit_open(plan: Plan, seconds: float) -> Denial:
    """Also for a call that was admitted and found the breaker open when its turn came."""
    wait = max(1, ceil(seconds))
    return Denial(
        Reason.CIRCUIT_OPEN,
        f"The upstream of {plan.tool} keeps failing and is left alone for now (circuit_breaker)."
        f" Go on without this tool, or try again in {wait} second{'s' if wait != 1 else ''}.",
        retry_after=float(wait),
    )
