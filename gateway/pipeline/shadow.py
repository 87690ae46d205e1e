"""What the other of two policies would have said of a call, while a candidate is on trial. Charges nothing, keeps nothing."""

from dataclasses import replace
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import Verdict, judge
from gateway.model import ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts

CANARY, SAME, UNKNOWN, FAILED = "canary", "same", "unknown", "failed"
DENIED, WOULD_DENY, WOULD_ALLOW = "denied:", "would_deny:", "would_allow:"
"""What a call's record says of the candidate (docs/log.md); the last three go on with a Reason. A closed set, fit for a label."""


class Shadow(NamedTuple):
    """The other policy's view of a call, as far as its door knows: the plan, or why it refuses; neither where that failed."""

    canary: bool
    """The run lives under the candidate, so the other policy is the live one."""
    tool: str
    plan: Plan | None
    denial: Denial | None = None
    length: int | None = None
    """The announced Content-Length."""


def difference(shadow: Shadow, call: ToolCall, verdict: Verdict, counts: Counts, *, was_read: bool = True) -> str:
    """In which way the two policies differ on a call that is not charged yet. `was_read`: its body is there to be judged.

    Of a canary's calls only denials are held against the live policy: what the candidate alone refuses is what a rollback counts.
    """
    objection = _objection_of(verdict)
    if shadow.plan is None and shadow.denial is None:
        return CANARY if shadow.canary else FAILED
    if not shadow.canary:
        other = _other_objection(shadow, call, counts, was_read=was_read)
        if other == UNKNOWN:
            return UNKNOWN
        if (other is None) is (objection is None):
            return SAME
        return f"{WOULD_ALLOW}{objection}" if other is None else f"{WOULD_DENY}{other}"
    if verdict.denial is not None and _other_objection(shadow, call, counts, was_read=was_read) is None:
        return f"{DENIED}{objection}"
    return CANARY


def _objection_of(verdict: Verdict) -> Reason | None:
    """In report mode too: what would have been refused, had it been in force."""
    return verdict.denial.reason if verdict.denial is not None else verdict.report_reason


def _other_objection(shadow: Shadow, call: ToolCall, counts: Counts, *, was_read: bool) -> str | None:
    """A Reason, UNKNOWN, or None."""
    plan, body = shadow.plan, call.body
    if shadow.denial is not None or plan is None:
        return shadow.denial.reason if shadow.denial is not None else UNKNOWN
    length = len(body) if isinstance(body, bytes) and was_read else shadow.length
    if length is not None and length > plan.max_request_bytes:
        return Reason.REQUEST_TOO_LARGE
    if plan.arguments is not None and not was_read:
        plan = replace(plan, arguments=None)
    elif plan.arguments is not None and not isinstance(body, bytes):
        return UNKNOWN
    return _objection_of(judge(call._replace(tool=shadow.tool), plan, counts, call.started))
