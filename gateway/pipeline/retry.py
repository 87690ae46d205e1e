"""The whole retry policy in one pure function: given what an attempt came back with, how long until the next one, if any?"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from gateway.model import Reply
from gateway.policy.snapshot import Plan

TOO_MANY_REQUESTS = 429

FINAL_KINDS = frozenset(
    {"egress_not_allowed", "overloaded", "request_too_large", "request_timeout", "request_cut", "response_too_large"}
)
"""Kinds of UpstreamError that the next attempt would only meet again."""


class Failure(NamedTuple):
    """What came back instead of an answer that can be passed on: an error (`kind`), or a status that the policy retries."""

    sent: bool
    kind: str | None = None
    status: int | None = None
    retry_after: float | None = None
    """Seconds the upstream asked for."""


def worth_retrying(status: int, plan: Plan) -> bool:
    """Is a reply with this status a failure at all, for this plan? (A write's 503 may have run: only 429 says that it did not.)"""
    return status in plan.retries.on_status and (status == TOO_MANY_REQUESTS or plan.repeatable)


def next_wait(failure: Failure, number: int, plan: Plan, time_left: float, dice: float) -> float | None:
    """Seconds to wait before attempt `number` + 1, or None to give up (SPEC 5).

    `time_left` is what remains of the call's and the run's time, `dice` a uniform number in [0, 1). The jitter is "full": the
    whole wait is random, so that a fleet that failed together does not come back together; only 429 keeps half the wait, since the
    upstream has just said that now is too early.
    """
    if number > plan.retries.max or failure.kind in FINAL_KINDS:
        return None
    if failure.sent and failure.status != TOO_MANY_REQUESTS and not plan.repeatable:
        return None
    value = plan.retries.backoff[min(number, len(plan.retries.backoff)) - 1]
    if failure.retry_after is not None:
        wait = failure.retry_after + dice * value
    elif failure.status == TOO_MANY_REQUESTS:
        wait = value / 2 + dice * value / 2
    else:
        wait = dice * value
    return wait if wait < time_left else None


def retry_after(reply: Reply, wall: float) -> float | None:
    """Seconds the reply's Retry-After asks for: a number or a date (RFC 9110, 10.2.3), which is in UTC where it
    does not say so (5.6.7: asctime's); None where it is absent or garbage.
    """
    value = next((v for n, v in reply.headers if n.lower() == "retry-after"), "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall)
    except (ValueError, OverflowError, OSError):
        return None
