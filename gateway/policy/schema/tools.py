"""The shape of `tools` in a policy file: which tools there are, and what is to say of each."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from gateway.policy.schema.fields import (
    NO_ENTRIES,
    Budget,
    ByteSize,
    Count,
    Milliseconds,
    Path,
    Route,
    ToolName,
    ToolPattern,
    UpstreamName,
    Usd,
    integer,
    number,
)
from gateway.policy.schema.kinds import JsonObject
from gateway.policy.schema.section import Section

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
USUAL_TIMEOUTS: Mapping[str, int] = {"default": 8000}


class ToolRetries(Section):
    """A tool's own word on retries; absent keys come from tools.retries."""

    max: Annotated[int, integer(0, 10)] | None = None
    """Repeats after the first attempt."""
    backoff_ms: tuple[Annotated[int, integer(0, 60_000)], ...] | None = None
    """Waits before the repeats; the last one stands for all that follow."""
    on_status: tuple[Annotated[int, integer(400, 599)], ...] | None = None
    """Statuses of an upstream's answer that are worth a repeat."""


class Retries(Section):
    """When an attempt is repeated."""

    max: Annotated[int, integer(0, 10)] = 2
    """Repeats after the first attempt."""
    backoff_ms: tuple[Annotated[int, integer(0, 60_000)], ...] = (200, 800)
    """Waits before the repeats; the last one stands for all that follow."""
    on_status: tuple[Annotated[int, integer(400, 599)], ...] = (429, 502, 503, 504)
    """Statuses of an upstream's answer that are worth a repeat."""
    budget_percent: Annotated[int, integer(0, 100)] = 20
    """Repeats at one upstream, as a share of the first attempts of the last 10 seconds."""


class Rate(Section):
    """A tool's calls in time."""

    per_second: Annotated[float, number(0.001, 1_000_000)]
    """Attempts, in the long run."""
    burst: Annotated[int, integer(1, 1_000_000)] = 1
    """Attempts at once after a rest."""


class Definition(Section):
    """How one tool is performed, and within which limits."""

    upstream: UpstreamName | None = None
    """A key of upstreams; else upstreams.default."""
    route: Route | None = None
    """Method and path at the native door. {rest*} matches a tail."""
    path: Path | None = None
    """What follows the upstream's URL at the tool path door."""
    methods: tuple[Method, ...] | None = None
    """HTTP methods that the tool takes; else its route's."""
    effect: Literal["read", "write"] | None = None
    """What it does to the world; undeclared is a write."""
    idempotent: bool = False
    """A write that is safe to repeat."""
    idempotency_key: bool = False
    """The upstream honours Idempotency-Key."""
    stream: bool = False
    """Its replies go on for as long as something comes."""
    stream_idle_ms: Annotated[int, integer(1, 86_400_000)] = 300_000
    """Silence that ends a stream."""
    timeout_ms: Milliseconds | None = None
    """The longest duration of one attempt; else of tools.timeouts_ms."""
    deadline_ms: Milliseconds | None = None
    """The longest duration of the whole call: waiting, attempts and backoff."""
    retries: ToolRetries = ToolRetries()
    """Where it differs from tools.retries."""
    rate: Rate | None = None
    """Attempts in time; calls wait in line for their turn."""
    max_concurrency: Annotated[int, integer(1, 100_000)] | None = None
    """Attempts at once; calls wait in line for a place."""
    max_waiting: Count = 100
    """Calls in line."""
    max_calls: Budget | None = None
    """In one run."""
    max_identical_calls: Count | None = None
    """In one run, with the same arguments; else runs.max_identical_calls. 0 is any number."""
    cost_usd: Usd | None = None
    """What one call is charged."""
    arguments: Annotated[dict[str, Any], JsonObject()] | None = None
    """JSON Schema (draft 2020-12) that the arguments must satisfy."""
    max_request_bytes: ByteSize = 1 << 20
    """The longest body that is taken."""
    max_response_bytes: ByteSize = 10 << 20
    """The longest reply that is passed on."""
    forward_authorization: bool = False
    """The caller's Authorization goes to the upstream."""


class Tools(Section):
    """Which tools exist and who may not use them."""

    allowlist: tuple[ToolPattern, ...] = ()
    """Tools that agents without a list of their own may call."""
    denylist: tuple[ToolPattern, ...] = ()
    """Tools that nobody may call, however specific the allow."""
    timeouts_ms: Mapping[ToolPattern, Milliseconds] = USUAL_TIMEOUTS
    """The longest duration of one attempt, by tool or pattern."""
    retries: Retries = Retries()
    definitions: Mapping[ToolName, Definition] = NO_ENTRIES
    """What is to say of single tools."""
