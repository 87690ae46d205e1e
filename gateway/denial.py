"""All the ways a call can end, how each is put into HTTP, and the Denial that explains one. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import NamedTuple


class Reason(StrEnum):
    """The closed set of all ways a call can end. Stable API: clients and dashboards match on these words."""

    OK = "ok"
    DEDUP = "dedup"
    TOOL_ERROR = "tool_error"
    CLIENT_GONE = "client_gone"

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    TOOL_NOT_CONFIGURED = "tool_not_configured"
    ARGUMENTS_NOT_ALLOWED = "arguments_not_allowed"
    EGRESS_NOT_ALLOWED = "egress_not_allowed"
    RUN_ID_REQUIRED = "run_id_required"
    RUN_FINISHED = "run_finished"
    AGENT_DISABLED = "agent_disabled"
    KILL_SWITCH = "kill_switch"
    MAX_STEPS = "max_steps"
    MAX_TOOL_CALLS = "max_tool_calls"
    MAX_SECONDS = "max_seconds"
    MAX_USD = "max_usd"
    MAX_CALLS = "max_calls"
    LOOP_DETECTED = "loop_detected"
    MAX_ACTIONS_PER_HOUR = "max_actions_per_hour"
    MAX_SPEND_USD_PER_DAY = "max_spend_usd_per_day"
    MAX_CALLS_PER_TOOL = "max_calls_per_tool"
    TOO_MANY_RUNS = "too_many_runs"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    CIRCUIT_OPEN = "circuit_open"
    DRAINING = "draining"
    STATE_UNAVAILABLE = "state_unavailable"
    REQUEST_TOO_LARGE = "request_too_large"
    OUTCOME_UNKNOWN = "outcome_unknown"
    RESPONSE_TOO_LARGE = "response_too_large"
    UPSTREAM_FAILED = "upstream_failed"
    TOOL_TIMEOUT = "tool_timeout"
    INTERNAL_ERROR = "internal_error"


class Answer(NamedTuple):
    """How a denial of one Reason is put into HTTP by default."""

    status: int
    title: str


ANSWERS: Mapping[Reason, Answer] = {
    Reason.INVALID_REQUEST: Answer(400, "The request is malformed"),
    Reason.UNAUTHENTICATED: Answer(401, "The agent is not authenticated"),
    Reason.TOOL_NOT_ALLOWED: Answer(403, "The tool is not allowed"),
    Reason.TOOL_NOT_CONFIGURED: Answer(403, "The tool has no upstream"),
    Reason.ARGUMENTS_NOT_ALLOWED: Answer(403, "The arguments are not allowed"),
    Reason.EGRESS_NOT_ALLOWED: Answer(403, "The destination is not allowed"),
    Reason.RUN_ID_REQUIRED: Answer(403, "A run id is required"),
    Reason.RUN_FINISHED: Answer(403, "The run is finished"),
    Reason.AGENT_DISABLED: Answer(403, "The agent is disabled"),
    Reason.KILL_SWITCH: Answer(403, "A kill switch is on"),
    Reason.MAX_STEPS: Answer(403, "The run is out of steps"),
    Reason.MAX_TOOL_CALLS: Answer(403, "The run is out of tool calls"),
    Reason.MAX_SECONDS: Answer(403, "The run is out of time"),
    Reason.MAX_USD: Answer(403, "The run is out of money"),
    Reason.MAX_CALLS: Answer(403, "The run is out of calls of this tool"),
    Reason.LOOP_DETECTED: Answer(403, "The run repeats itself"),
    Reason.MAX_ACTIONS_PER_HOUR: Answer(429, "The agent is out of actions for this hour"),
    Reason.MAX_SPEND_USD_PER_DAY: Answer(429, "The agent is out of money for today"),
    Reason.MAX_CALLS_PER_TOOL: Answer(429, "The agent is out of calls of this tool for today"),
    Reason.TOO_MANY_RUNS: Answer(429, "The agent has started too many runs"),
    Reason.RATE_LIMITED: Answer(429, "The tool's rate is used up"),
    Reason.OVERLOADED: Answer(503, "The gateway is at its limit"),
    Reason.CIRCUIT_OPEN: Answer(503, "The upstream is failing"),
    Reason.DRAINING: Answer(503, "The gateway is shutting down"),
    Reason.STATE_UNAVAILABLE: Answer(503, "The gateway's state is out of reach"),
    Reason.REQUEST_TOO_LARGE: Answer(413, "The request is too large"),
    Reason.OUTCOME_UNKNOWN: Answer(424, "The tool may have run"),
    Reason.RESPONSE_TOO_LARGE: Answer(424, "The tool's answer is too large"),
    Reason.UPSTREAM_FAILED: Answer(502, "The upstream failed"),
    Reason.TOOL_TIMEOUT: Answer(504, "The tool did not answer in time"),
    Reason.INTERNAL_ERROR: Answer(500, "The gateway failed"),
}
"""Every Reason that a denial can carry. OK, DEDUP, TOOL_ERROR and CLIENT_GONE are no denials."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds. A longer wait is 403 without Retry-After, since common retry libraries sleep inside the agent's run."""


@dataclass(frozen=True, slots=True)
class Denial:
    """An objection as a value. `detail` is one sentence that names the one rule, what was used of what, and what to do next."""

    reason: Reason
    detail: str
    stop_reason: str | None = None
    """Set where the run should end; the word an agent loop reports."""
    retry_after: float | None = None
    """Seconds until a repeat can succeed; None: repeating cannot fix it."""
    status_override: int | None = None
    """Where HTTP has a closer status than the reason's own (405 for a method, 431 for a head, …)."""

    closes_connection: bool = False
    """The request's framing or pace cannot be trusted any further."""
    outlasts_run: bool = False
    """The caller's run ends before `retry_after` is over."""

    @property
    def status(self) -> int:
        """The HTTP status: 429 and 503 only where a wait of at most LONGEST_RETRY_AFTER helps, else 403 (SPEC 4)."""
        if self.status_override is not None:
            return self.status_override
        status = ANSWERS[self.reason].status
        if status == 429 or (self.retry_after is not None and status == 403):
            return 429 if self.waiting_helps else 403
        return 403 if status == 503 and not self.waiting_helps else status

    @property
    def waiting_helps(self) -> bool:
        """True where a Retry-After header is sent."""
        return self.retry_after is not None and self.whole_wait <= LONGEST_RETRY_AFTER and not self.outlasts_run

    @property
    def whole_wait(self) -> int:
        """`retry_after` as the header counts it: whole seconds, at least one; 0 where there is none."""
        return 0 if self.retry_after is None else max(1, ceil(self.retry_after))

    @property
    def retryable(self) -> bool:
        """What the body's `retryable` says."""
        return self.reason in (Reason.UPSTREAM_FAILED, Reason.TOOL_TIMEOUT) or self.status in (429, 503)
