"""Is there room for one more call, and for one more run?"""

from gateway.denial import Denial, Reason
from gateway.model import Moment, RunKey, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts

RETRY_AFTER = 1.0
"""Seconds. Calls last about as long; the refusal is instant and cheap, so asking again soon does no harm."""


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Refuses at once where a queue would only make everybody late."""
    return no_place(counts) or no_room_for_run(call.run, counts)


def replay_guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """For a repeat, too, which starts no run but may wait like any other call."""
    return no_place(counts)


def no_place(counts: Counts) -> Denial | None:
    """Whatever is to be in flight."""
    if len(counts.in_flight) < counts.max_in_flight:
        return None
    return Denial(
        Reason.OVERLOADED,
        f"All {counts.max_in_flight} places for calls in flight are taken (GATEWAY_MAX_IN_FLIGHT)."
        " Wait a second, then repeat the call.",
        retry_after=RETRY_AFTER,
    )


def no_room_for_run(key: RunKey, counts: Counts) -> Denial | None:
    """A run that is live already always has its room."""
    if not counts.ledger.is_full(key):
        return None
    return Denial(
        Reason.OVERLOADED,
        f"The gateway has no room for one more run: at most {counts.ledger.max_live:,} may be live, and {counts.ledger.most_kept:,}"
        " remembered for 24 hours. Wait a second, then repeat the call, or go on in a run that you have.",
        retry_after=RETRY_AFTER,
    )
