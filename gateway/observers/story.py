"""A finished call's whole story for an operator: who decided it, each attempt with the wait before it, what was left to its run. Pure."""

from collections.abc import Mapping, Sequence

from gateway.denial import Reason
from gateway.model import Remaining, Try

DECIDED_BY: Mapping[Reason, str] = {
    Reason.OK: "upstream",
    Reason.TOOL_ERROR: "upstream",
    Reason.DEDUP: "idempotency",
    Reason.CLIENT_GONE: "caller",
    Reason.INVALID_REQUEST: "door",
    Reason.UNAUTHENTICATED: "door",
    Reason.REQUEST_TOO_LARGE: "door",
    Reason.TOOL_NOT_ALLOWED: "allowlist",
    Reason.TOOL_NOT_CONFIGURED: "configured",
    Reason.ARGUMENTS_NOT_ALLOWED: "arguments",
    Reason.EGRESS_NOT_ALLOWED: "egress",
    Reason.RUN_ID_REQUIRED: "run",
    Reason.RUN_FINISHED: "run",
    Reason.AGENT_DISABLED: "kill_switch",
    Reason.KILL_SWITCH: "kill_switch",
    Reason.MAX_STEPS: "steps",
    Reason.MAX_TOOL_CALLS: "tool_calls",
    Reason.MAX_SECONDS: "seconds",
    Reason.MAX_USD: "max_usd",
    Reason.MAX_CALLS: "max_calls",
    Reason.LOOP_DETECTED: "loop_detected",
    Reason.MAX_ACTIONS_PER_HOUR: "max_actions_per_hour",
    Reason.MAX_SPEND_USD_PER_DAY: "max_spend_usd_per_day",
    Reason.MAX_CALLS_PER_TOOL: "max_calls_per_tool",
    Reason.TOO_MANY_RUNS: "too_many_runs",
    Reason.RATE_LIMITED: "rate",
    Reason.OVERLOADED: "overloaded",
    Reason.CIRCUIT_OPEN: "circuit",
    Reason.DRAINING: "draining",
    Reason.STATE_UNAVAILABLE: "state",
    Reason.OUTCOME_UNKNOWN: "attempts",
    Reason.RESPONSE_TOO_LARGE: "attempts",
    Reason.UPSTREAM_FAILED: "attempts",
    Reason.TOOL_TIMEOUT: "attempts",
    Reason.INTERNAL_ERROR: "gateway",
}
"""The guard whose word each reason is, as `explain` names it; or what else ended the call."""


def tries_of(
    tries: Sequence[Try], attempts: int, errors: Sequence[str], end: str, waited_ms: float, duration_ms: float
) -> list[dict[str, object]]:
    """Each attempt: when it began, what was waited before, how long it took, and what came of it. `end` is what came of the last one
    unless it failed; a call that kept no `tries` had one attempt at most.
    """
    made = tries or ((Try(waited_ms, duration_ms - waited_ms),) if attempts else ())
    told, before = [], 0.0
    for number, one in enumerate(made, 1):
        told.append(
            {
                "attempt": number,
                "waited_ms": round(max(0.0, one.began_ms - before), 3),
                "began_ms": round(one.began_ms, 3),
                "took_ms": round(one.took_ms, 3),
                "result": errors[number - 1] if number <= len(errors) else end,
            }
        )
        before = one.began_ms + one.took_ms
    return told


def remaining_view(remaining: Remaining | None) -> dict[str, object] | None:
    """Of the run's budgets, when the call was answered."""
    return None if remaining is None else remaining._asdict()
