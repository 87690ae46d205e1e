"""START HERE. The words the whole gateway speaks: ToolCall in, Denial or Reply out, Record after.

Standard library only, no IO, no clock: every other module may import this one, it imports none of them.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import NamedTuple, Protocol


class Moment(NamedTuple):
    """One reading of both clocks, in seconds. Deciding code never reads a clock: it is handed a Moment."""

    mono: float
    """Monotonic: for elapsed time and deadlines within this process."""
    wall: float
    """Unix time: for what outlives the process (expiries, log lines)."""


class Effect(StrEnum):
    """What a tool does to the world. Said by policy, never by the caller; undeclared is a write."""

    READ = "read"
    WRITE = "write"


class Door(StrEnum):
    """The protocol codec a call came through, as the log names it."""

    TOOL_PATH = "tool_path"
    NATIVE = "native"
    MCP = "mcp"
    EGRESS = "egress"
    FETCH = "fetch"
    GOVERNED = "governed"


class Decision(StrEnum):
    """What the guards said: let pass, refuse, or would have refused (mode: report)."""

    ALLOW = "allow"
    DENY = "deny"
    REPORT = "report"


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


class RunKey(NamedTuple):
    """Runs are keyed by agent and id, so no agent can spend or see another's. `id` is "" for the agent's anonymous window."""

    agent: str
    id: str


class Target(NamedTuple):
    """Where a fetch goes, normalised once: the same form is judged, dialled and logged."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A-label host name in lower case without a final dot, or a canonical IP literal without brackets."""
    port: int
    path: str
    """Path and query as the caller wrote them, unchanged; at least `/`."""


HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to one connection (RFC 9110, 7.6.1), and those that common proxies treat so."""


class BodyStream(Protocol):
    """A request body too large to hold: passed on piece by piece, hashed on the way."""

    started: bool
    """True once a piece was taken: from then on no attempt can send it whole again."""
    size: int
    """Bytes taken so far."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def hexdigest(self) -> str:
        """SHA-256 over what has passed so far."""
        ...


class ToolCall(NamedTuple):
    """One logical request to use a tool, whatever door it came through and however many attempts it takes."""

    id: str
    door: Door
    agent: str
    run: RunKey
    tool: str
    method: str
    rest: str
    """What follows the tool's own path, as the caller wrote it (still encoded), with its leading slash; "" for none."""
    query: str
    """The query string as the caller wrote it, without the question mark."""
    target: str
    """What is asked of the upstream: path and query below its base path, as they go on the wire."""
    headers: tuple[tuple[str, str], ...]
    """End-to-end headers to pass on: hop-by-hop, framing, Agent-*, Tool-Gateway-* and credentials are gone."""
    body: bytes | BodyStream
    started: Moment
    arguments: object = None
    """The parsed arguments where the plan has a schema or the door needs them; else None."""
    malformed: str | None = None
    """Why the arguments cannot be judged (not UTF-8 JSON, a duplicate key, …) where the plan has a schema."""
    args_hash: str = ""
    """SHA-256 hex over tool, method, rest, query and canonical arguments; "" while a BodyStream is still passing."""
    step: int | None = None
    """The step the agent announced (header Agent-Step)."""
    trace_id: str | None = None
    destination: Target | None = None
    """Where a fetch goes; None for tools with an upstream."""
    idempotency_key: str | None = None
    """The caller's Idempotency-Key."""
    spend: int = 0
    """Micro-USD the caller says that this call costs; the higher of this and the policy's word is charged."""
    shown: bytes | None = None
    """The first bytes of what the log may show as arguments, where that is not the body."""
    once: bool = False
    """What was sent must not be sent again, whatever the tool: a JSON-RPC id of MCP's handshake wire stands for one request."""


@dataclass(slots=True)
class Attempt:
    """One try, as an Upstream is asked to make it."""

    number: int
    method: str
    target: str
    """Path and query below the upstream's base path, as they go on the wire ("" or starting with "/" or "?")."""
    headers: list[tuple[str, str]]
    """End-to-end headers; the upstream adds Host, framing and its injected credentials."""
    body: bytes | BodyStream
    sent: bool = False
    """Set by the upstream just before the first byte is written: from then on it may have been seen."""


@dataclass(slots=True)
class Reply:
    """The upstream's answer: status, end-to-end headers and a body that is whole (`body`) or still arriving (`chunks`)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    chunks: AsyncIterator[bytes] | None = None
    """Pieces of the body where `body` is None. Raises UpstreamError when the body breaks off."""
    length: int | None = None
    """The announced Content-Length, None where the body is chunked or ends with the connection."""
    close: Callable[[], None] = lambda: None
    """Gives the connection back, or cuts it where the body was not read to its end. Safe to call twice."""
    asks: bool = False
    """What came of it last asks the caller for something (MCP: sampling, elicitation): the silence that follows is not the upstream's."""
    private: bool = False
    """It holds what no log may show."""
    failed: bool = False
    """It says inside that the tool failed, whatever its status (MCP: isError)."""

    @property
    def event_stream(self) -> bool:
        """Server-sent events: bounded by the run and by silence, not by the call's deadline."""
        return any(n.lower() == "content-type" and v.lower().startswith("text/event-stream") for n, v in self.headers)


class Source(StrEnum):
    """Who holds a switch. Sources are OR-ed; each is replaced as a whole by its owner."""

    POLICY = "policy"
    FILE = "kill_switch.yaml"
    RUNTIME = "runtime"


class Scope(NamedTuple):
    """`all`, `writes`, `tool:PATTERN`, `agent:ID`, `run:ID` or `run:AGENT/ID`, taken apart."""

    kind: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """One stop: what it reaches, why, by whom, since when and until when (Unix seconds; None: until lifted)."""

    scope: Scope
    reason: str
    who: str
    since: float
    until: float | None = None
    cancel_in_flight: bool = False
    source: Source = Source.RUNTIME


class UpstreamError(Exception):
    """A failed attempt. `sent` is the one fact a retry hangs on: could the upstream have seen a byte of this attempt?

    `kind` is a closed word for log and metrics (`refused`, `dns`, `connect_timeout`, `tls`, `reset`, `cut`, `bad_response`,
    `response_too_large`, `request_too_large`, `overloaded`, `egress_not_allowed`, `timeout`); `detail` is a sentence part
    that repeats no value of the call.
    """

    def __init__(self, kind: str, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Budgets:
    """A run's limits, after built-in < runtime.env < environment < agents.X.budgets."""

    max_steps: int
    max_tool_calls: int
    max_seconds: float
    max_spend: int | None = None
    """Micro-USD (runs.max_usd); None: no limit."""


class Remaining(NamedTuple):
    """What a run has left, for Tool-Gateway-Remaining and run control."""

    tool_calls: int
    steps: int
    seconds: int | None
    """None for an anonymous window, which bounds counts only."""


class Outcome(NamedTuple):
    """How a ToolCall stands when the door may answer: a Reply to pass on, or a Denial to explain. Exactly one is set."""

    reason: Reason
    policy: str
    attempts: int
    reply: Reply | None = None
    denial: Denial | None = None
    remaining: Remaining | None = None
    report: bool = False
    """The policy is in report mode (header Tool-Gateway-Mode)."""


class Record(NamedTuple):
    """All that observers learn of a call, once, after it ended. `args` and `result` are raw windows: only the log's redactor reads them."""

    at: Moment
    call_id: str
    run_id: str | None
    agent_id: str
    trace_id: str | None
    door: Door
    tool: str
    effect: Effect | None
    args_hash: str
    decision: Decision
    reason: Reason
    stop_reason: str | None
    status: int | None
    attempts: int
    errors: tuple[str, ...]
    """The kind of each failed attempt, in order."""
    duration_ms: float
    waited_ms: float
    """Queue, pause and backoff, without the attempts."""
    bytes_in: int
    bytes_out: int
    cost_micro_usd: int
    policy: str
    upstream: str | None = None
    report_reason: Reason | None = None
    """In report mode: the first rule that would have refused."""
    detail: str | None = None
    """The denial's sentence."""
    args: bytes = b""
    target: str = ""
    """Rest and query as the caller wrote them."""
    result: bytes = b""
    """The reply's first bytes."""
    candidate: str | None = None
    """How the two policies differ on the call while a candidate is on trial (pipeline/shadow.py); None: they were not compared."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the gateway did or noticed that is not a call: policy_loaded, kill_switch, run_finished, …"""

    name: str
    at: Moment
    fields: Mapping[str, object] = field(default_factory=dict)


class Family(NamedTuple):
    """One metric with its samples, before it is put into a text format."""

    name: str
    """Without `tool_gateway_` and, for a counter, without `_total`."""
    kind: str
    """`counter`, `gauge` or `histogram`, whose samples are cumulative and labelled with their upper bound."""
    help: str
    labels: tuple[str, ...]
    samples: list[tuple[tuple[str, ...], float]]
    total: float = 0.0
    """A histogram's sum of all values."""


class Observer(Protocol):
    """Sees frozen facts after the fact. Sync and bounded: it cannot delay, change or fail a call."""

    def call_ended(self, record: Record) -> None: ...

    def happened(self, event: Event) -> None: ...
