"""Is the gateway about to end?"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts

BACK_AFTER = 5.0
"""Seconds: what the last calls in flight have, and a restart takes little more."""


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Only its last seconds refuse; the lame duck before them serves."""
    return refusal(counts)


def refusal(counts: Counts) -> Denial | None:
    """Whatever is asked for."""
    if not counts.draining:
        return None
    return Denial(
        Reason.DRAINING,
        "The gateway is shutting down and takes no new calls. Repeat the call once it is back.",
        retry_after=BACK_AFTER,
    )
