"""All the ways a call can end, how each is put into HTTP, and the Denial that explains one. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import NamedTuple


class Reason(StrEnum):
    """The closed set of all ways a call can end. Stable API: clients and dashboards match on these words.

    What stands below each is what docs/denials.md says of it: what happened, and what helps.
    """

    OK = "ok"
    """The tool answered with a success."""
    DEDUP = "dedup"
    """The answer of an earlier call with the same Idempotency-Key, or of an identical governed call: the tool ran once."""
    TOOL_ERROR = "tool_error"
    """The tool answered, with an error of its own, which is relayed unchanged."""
    CLIENT_GONE = "client_gone"
    """The caller left before its answer was complete; in log and metrics alone."""

    INVALID_REQUEST = "invalid_request"
    """Malformed: run id, path, method, body, JSON or MCP message. Send it as the sentence says."""
    UNAUTHENTICATED = "unauthenticated"
    """The token is missing, unknown, or another agent's. Carry the agent's own token as `Agent-Token` or bearer."""
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    """No allowlist names the tool, or a denylist does; a tool that does not exist looks the same. Use another tool, or have the
    operator allow it in `tools.allowlist` or the agent's."""
    TOOL_NOT_CONFIGURED = "tool_not_configured"
    """Allowed, but no upstream serves it. The operator adds the key that the sentence names."""
    ARGUMENTS_NOT_ALLOWED = "arguments_not_allowed"
    """The tool's schema refuses the arguments at the path that the sentence names. Correct them there."""
    EGRESS_NOT_ALLOWED = "egress_not_allowed"
    """The host, the port or an address behind the name may not be reached. The operator lists it in `egress`."""
    RUN_ID_REQUIRED = "run_id_required"
    """`runs.anonymous: deny`, and the call names no run. Use the base URL with `/runs/{run_id}`, or the header `Agent-Run-Id`."""
    RUN_FINISHED = "run_finished"
    """The run was finished before this call. Begin another run for another task."""
    AGENT_DISABLED = "agent_disabled"
    """A kill switch of scope `agent:` holds. Ends the run; the operator restores it."""
    KILL_SWITCH = "kill_switch"
    """A kill switch holds; the sentence carries the operator's reason. Ends the run where its scope is `all` or the run."""
    MAX_STEPS = "max_steps"
    """The run has taken all its steps (`AGENT_MAX_STEPS`). Ends the run: answer with what there is."""
    MAX_TOOL_CALLS = "max_tool_calls"
    """The run has made all its tool calls (`AGENT_MAX_TOOL_CALLS`). Ends the run: answer with what there is."""
    MAX_SECONDS = "max_seconds"
    """The run's time is up (`AGENT_MAX_SECONDS`). Ends the run: answer with what there is."""
    MAX_USD = "max_usd"
    """The run has spent what it may (`runs.max_usd`), or this call would exceed it. Ends the run."""
    MAX_CALLS = "max_calls"
    """The run has called this tool as often as it may (`max_calls`). Go on with other tools."""
    LOOP_DETECTED = "loop_detected"
    """The run made the very same call too often (`max_identical_calls`). Ends the run: something else has to be tried."""
    MAX_ACTIONS_PER_HOUR = "max_actions_per_hour"
    """The agent has made its calls of this hour (`max_actions_per_hour`). Wait as long as the answer says, or raise the limit."""
    MAX_SPEND_USD_PER_DAY = "max_spend_usd_per_day"
    """The agent has spent its money of this day (`max_spend_usd_per_day`). Tomorrow, or with a higher limit."""
    MAX_CALLS_PER_TOOL = "max_calls_per_tool"
    """The agent has called this tool as often as it may in a day (`max_calls_per_tool`)."""
    TOO_MANY_RUNS = "too_many_runs"
    """The agent has begun too many runs within the hour (`runs.max_started_per_hour`). A new run a call is no way around a budget."""
    RATE_LIMITED = "rate_limited"
    """The tool's rate is used up and this call's turn would come after its deadline. Wait `Retry-After`."""
    OVERLOADED = "overloaded"
    """Too many calls wait or run, at this tool (`max_waiting`, `max_concurrency`) or in all (`GATEWAY_MAX_*`). Wait `Retry-After`."""
    CIRCUIT_OPEN = "circuit_open"
    """The upstream failed several times in a row and is left alone for a while (`circuit_breaker`). Wait `Retry-After`."""
    DRAINING = "draining"
    """The gateway is shutting down. Another instance, or this one after its restart, takes the call."""
    STATE_UNAVAILABLE = "state_unavailable"
    """Counts cannot be written or shared, and `state.on_unavailable` is `deny`. The operator frees the disk or brings the store back."""
    REQUEST_TOO_LARGE = "request_too_large"
    """The body is larger than the tool's `max_request_bytes`. Send less."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A write was sent and got no whole answer: it may have run. Look before repeating it."""
    RESPONSE_TOO_LARGE = "response_too_large"
    """The tool ran, and its answer is larger than `max_response_bytes`. Ask for less."""
    UPSTREAM_FAILED = "upstream_failed"
    """The upstream could not be reached or broke off, whatever was repeated. The call is safe to repeat later."""
    TOOL_TIMEOUT = "tool_timeout"
    """No answer in time; the sentence says which came first: the attempt's timer, the deadline or the run's end. Safe to repeat later."""
    INTERNAL_ERROR = "internal_error"
    """A fault of the gateway; its log has the place."""


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
