"""START HERE. The words the whole gateway speaks: ToolCall in, Denial or Reply out, Record after.

Standard library only, no IO, no clock: every other module may import this one, it imports denial.py and packable.py alone.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.denial import Denial, Reason
from gateway.packable import Packable


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


class RunKey(NamedTuple):
    """Runs are keyed by agent and id, so no agent can spend or see another's. `id` is "" for the agent's anonymous window."""

    agent: str
    id: str


class Target(NamedTuple):
    """Where a fetch, a proxied request or a tunnel goes, normalised once: the same form is judged, dialled and logged."""

    scheme: str
    """`http` or `https`; `connect` for a tunnel."""
    host: str
    """A-label host name in lower case without a final dot, or a canonical IP literal without brackets."""
    port: int
    path: str
    """Path and query as the caller wrote them, unchanged; at least `/`, but "" for a tunnel."""


# -- a call, and one try at it


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
    """What follows the tool's own path, as the caller wrote it (still encoded), with its leading slash; "" for none.
    Of a call with a `destination`: its URL (or host and port) up to the query."""
    query: str
    """The query string as the caller wrote it, without the question mark."""
    target: str
    """What is asked of the upstream: path and query below its base path, as they go on the wire."""
    headers: tuple[tuple[str, str], ...]
    """End-to-end headers to pass on: hop-by-hop, framing, Agent-*, Tool-Gateway-* and credentials are gone."""
    body: bytes | BodyStream
    started: Moment
    arguments: object | None = None
    """The parsed arguments where the plan has a schema or the door needs them; else None."""
    malformed: str | None = None
    """Why the arguments cannot be judged (not UTF-8 JSON, a duplicate key, …) where the plan has a schema."""
    args_hash: str = ""
    """SHA-256 hex over tool, method, rest, query and canonical arguments; "" while a BodyStream is still passing."""
    step: int | None = None
    """The step the agent announced (header Agent-Step)."""
    trace_id: str | None = None
    destination: Target | None = None
    """Where a call of a built-in tool goes; None for tools with an upstream."""
    idempotency_key: str | None = None
    """The caller's Idempotency-Key."""
    spend: int = 0
    """Micro-USD the caller says that this call costs; the higher of this and the policy's word is charged."""
    shown: bytes | None = None
    """The first bytes of what the log may show as arguments, where that is not the body."""
    lingers: bool = False
    """It is performed to its end even when its caller leaves, and a repeat of it within the next seconds is told how it ended: its clients
    send a request again without saying so, and that must not perform it again.
    """
    once: bool = False
    """An attempt that was sent is not repeated, not even for a read: on MCP's handshake wire a JSON-RPC id stands for one request."""
    traceparent: str | None = None
    """As the caller wrote it; well-formed where there is a `trace_id`."""


class Attempt:
    """One try, as an Upstream is asked to make it."""

    __slots__ = ("body", "headers", "method", "number", "sent", "target")

    def __init__(
        self,
        number: int,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes | BodyStream,
        sent: bool = False,
    ) -> None:
        self.number = number
        self.method = method
        self.target = target
        """Path and query below the upstream's base path, as they go on the wire ("" or starting with "/" or "?")."""
        self.headers = headers
        """End-to-end headers; the upstream adds Host, framing and its injected credentials."""
        self.body = body
        self.sent = sent
        """Set by the upstream just before the first byte is written: from then on it may have been seen."""


# -- what comes back


class ReplyHead:
    """Status and end-to-end headers: the same object each time an upstream answers with the very same head."""

    __slots__ = ("headers", "second", "status", "written")

    def __init__(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status
        self.headers = headers
        self.written: bytes | None = None
        """The header lines that a door has made of it, kept to be written again."""
        self.second: int | None = None
        """The Unix time of the Date that a door put into `written`, where the upstream sends none: later the lines are made anew."""


class Tunnel(Protocol):
    """The open connection to the target of a CONNECT: bytes both ways, which the gateway counts and does not read."""

    @property
    def heard(self) -> float:
        """Loop time of the last byte, either way, or of one side's end."""
        ...

    @property
    def bytes_in(self) -> int:
        """From the caller to the target."""
        ...

    @property
    def bytes_out(self) -> int: ...

    async def half_closed(self) -> None:
        """Waits until one side sends no more. May be cancelled, and asked again."""
        ...

    async def gone(self) -> None:
        """Waits until both of its connections are. May be cancelled, and asked again."""
        ...

    def close(self) -> None:
        """Cuts it, both ways. Safe to call twice."""
        ...


class Reply:
    """The upstream's answer: status, end-to-end headers and a body that is whole (`body`) or still arriving (`chunks`)."""

    __slots__ = (
        "_close", "answered", "asks", "body", "chunks", "failed", "head", "headers", "length", "private", "status", "tunnel",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...],
        body: bytes | None,
        chunks: AsyncIterator[bytes] | None = None,
        length: int | None = None,
        close: Callable[[], None] | None = None,
        head: ReplyHead | None = None,
        tunnel: Tunnel | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.chunks = chunks
        """Pieces of the body where `body` is None. Raises UpstreamError when the body breaks off."""
        self.length = length
        """The announced Content-Length, None where the body is chunked or ends with the connection."""
        self._close = close
        self.asks = False
        """The last message in it asks the caller for something (MCP: sampling, elicitation): no timer counts the silence that follows."""
        self.answered = False
        """The caller has been sent what it asked for, whatever may follow (MCP: the event with the result): leaving now is no
        `client_gone`."""
        self.private = False
        """Its body must not be logged, not even a sample of it."""
        self.head = head
        """Status and headers once more, where the upstream may well send the very same again (upstreams/known.py)."""
        self.tunnel = tunnel
        """Set for a CONNECT alone: the open connection, in place of a body."""
        self.failed = False
        """Its body says that the tool failed, whatever its status (MCP: isError)."""

    def close(self) -> None:
        """Gives the connection back, or cuts it where the body was not read to its end. Safe to call twice."""
        if self._close is not None:
            self._close()

    @property
    def event_stream(self) -> bool:
        """Server-sent events: bounded by the run and by silence, not by the call's deadline."""
        return any(n.lower() == "content-type" and v.lower().startswith("text/event-stream") for n, v in self.headers)


class UpstreamError(Exception):
    """A failed attempt. `sent` is the one fact a retry hangs on: could the upstream have seen a byte of this attempt?

    `kind` is a closed word for log and metrics (`refused`, `dns`, `connect_timeout`, `tls`, `reset`, `cut`, `bad_response`,
    `response_too_large`, `request_too_large`, `overloaded`, `egress_not_allowed`, `sni_mismatch`, `host_mismatch`,
    `unknown_protocol`, `timeout`); `detail` is a sentence part that repeats no value of the call.
    """

    def __init__(self, kind: str, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.sent = sent


# -- how it ended, for the door


@dataclass(frozen=True, slots=True)
class Budgets(Packable):
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


class Outcome:
    """How a ToolCall stands when the door may answer: a Reply to pass on, or a Denial to explain. Exactly one is set."""

    __slots__ = ("attempts", "denial", "policy", "reason", "remaining", "reply", "report")

    def __init__(
        self,
        reason: Reason,
        policy: str,
        attempts: int,
        reply: Reply | None = None,
        denial: Denial | None = None,
        remaining: Remaining | None = None,
        report: bool = False,
    ) -> None:
        self.reason = reason
        self.policy = policy
        self.attempts = attempts
        self.reply = reply
        self.denial = denial
        self.remaining = remaining
        self.report = report
        """The policy is in report mode (header Tool-Gateway-Mode)."""


# -- what observers are told


class Try(NamedTuple):
    """One attempt within its call, in milliseconds. What lies between the end of the one before (or the call's start) and `began_ms` was
    waited: queue, pause, backoff.
    """

    began_ms: float
    """Since the call's start."""
    took_ms: float
    """To its failure or, the last one's, to the end of the call."""


class Record(NamedTuple):
    """All that observers learn of a call, once, after it ended. `args` and `result` are raw windows: only the log's redactor reads them.

    The order is for the observers (observers/lines.py): first what differs from call to call, then what many calls have in common, the
    payloads last.
    """

    at: Moment
    call_id: str
    run_id: str | None
    trace_id: str | None
    args_hash: str
    duration_ms: float
    waited_ms: float
    """Queue, pause and backoff, without the attempts."""
    bytes_in: int
    bytes_out: int
    cost_micro_usd: int
    agent_id: str
    door: Door
    tool: str
    effect: Effect | None
    decision: Decision
    reason: Reason
    stop_reason: str | None
    status: int | None
    attempts: int
    errors: tuple[str, ...]
    """The kind of each failed attempt, in order."""
    policy: str
    candidate: str | None = None
    """How the two policies differ on the call while a candidate is on trial (pipeline/shadow.py); None: they were not compared."""
    report_reason: Reason | None = None
    """In report mode: the first rule that would have refused."""
    upstream: str | None = None
    detail: str | None = None
    """The denial's sentence."""
    rule: str | None = None
    """What the allowlists say of the tool (Plan.rule); None where no plan was found."""
    remaining: Remaining | None = None
    """Of the run's budgets, when the call was answered."""
    tries: tuple[Try, ...] = ()
    """Each attempt, where one was followed by something: a repeat, or its refusal. () of a call with one attempt, whose times
    are `waited_ms` and the rest of `duration_ms`.
    """
    args: bytes = b""
    target: str = ""
    """Rest and query as the caller wrote them."""
    result: bytes = b""
    """The reply's first bytes."""


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


# -- an operator's stop


class Source(StrEnum):
    """Who holds a switch. Sources are OR-ed; each is replaced as a whole by its owner."""

    POLICY = "policy"
    FILE = "kill_switch.yaml"
    RUNTIME = "runtime"
    GOVERNED = "governed"
    """Callers of the governed door: agents alone."""


class Scope(NamedTuple):
    """`all`, `writes`, `tool:PATTERN`, `agent:ID`, `run:ID` or `run:AGENT/ID`, taken apart."""

    kind: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


@dataclass(frozen=True, slots=True)
class KillSwitch(Packable):
    """One stop: what it reaches, why, by whom, since when and until when (Unix seconds; None: until lifted)."""

    scope: Scope
    reason: str
    who: str
    since: float
    until: float | None = None
    cancel_in_flight: bool = False
    source: Source = Source.RUNTIME
