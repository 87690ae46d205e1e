"""The shape of a policy file (SPEC 3): one frozen class a section, each default in one place. What spans sections is judged in compile."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from gateway.policy.schema.fields import (
    Block,
    ByteSize,
    Endpoint,
    FilePath,
    HeaderName,
    HeaderValue,
    HostRule,
    Identifier,
    McpMethod,
    Milliseconds,
    Origin,
    Path,
    Route,
    RunScope,
    ServerName,
    Share,
    Text,
    Time,
    Token,
    ToolName,
    ToolPattern,
    UpstreamName,
    Url,
    Usd,
    integer,
    number,
)
from gateway.policy.schema.kinds import JsonObject, NotYet
from gateway.policy.schema.section import Section

NOT_IN_CANDIDATES = (
    "allowed_origins",
    "governed",
    "idempotency",
    "kill_switch",
    "mcp_servers",
    "mode",
    "observability",
    "rollout",
    "runtime",
    "state",
    "agents.*.token",
    "runs.identify_by_trace",
)
"""What candidate.yaml may not say: who calls, for which run, and what holds for the gateway as a whole is decided before or above it."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Budget = Annotated[int, integer(1, 1_000_000)]
Count = Annotated[int, integer(0, 1_000_000)]


NO_ENTRIES: Mapping[str, Any] = {}
USUAL_TIMEOUTS: Mapping[str, int] = {"default": 8000}


class RunBudgets(Section):
    """Limits of one run; absent ones come from the next weaker source."""

    AGENT_MAX_STEPS: Budget | None = None
    AGENT_MAX_TOOL_CALLS: Budget | None = None
    AGENT_MAX_SECONDS: Annotated[int, integer(1, 604_800)] | None = None


class Runtime(Section):
    """What the agent's process is started with: here, its budgets."""

    env: RunBudgets = RunBudgets()


class Runs(Section):
    """How runs are told apart and bounded."""

    anonymous: Literal["window", "deny"] = "window"
    identify_by_trace: bool = False
    max_started_per_hour: Count = 6000
    max_identical_calls: Count = 0
    max_usd: Usd | None = None


class ToolRetries(Section):
    """A tool's own word on retries; absent keys come from tools.retries."""

    max: Annotated[int, integer(0, 10)] | None = None
    backoff_ms: tuple[Annotated[int, integer(0, 60_000)], ...] | None = None
    on_status: tuple[Annotated[int, integer(400, 599)], ...] | None = None


class Retries(Section):
    """When an attempt is repeated."""

    max: Annotated[int, integer(0, 10)] = 2
    backoff_ms: tuple[Annotated[int, integer(0, 60_000)], ...] = (200, 800)
    on_status: tuple[Annotated[int, integer(400, 599)], ...] = (429, 502, 503, 504)
    budget_percent: Annotated[int, integer(0, 100)] = 20


class Rate(Section):
    """A tool's calls in time."""

    per_second: Annotated[float, number(0.001, 1_000_000)]
    burst: Annotated[int, integer(1, 1_000_000)] = 1


class Definition(Section):
    """How one tool is performed, and within which limits."""

    upstream: UpstreamName | None = None
    route: Route | None = None
    path: Path | None = None
    methods: tuple[Method, ...] | None = None
    effect: Literal["read", "write"] | None = None
    idempotent: bool = False
    idempotency_key: bool = False
    stream: bool = False
    stream_idle_ms: Annotated[int, integer(1, 86_400_000)] = 300_000
    timeout_ms: Milliseconds | None = None
    deadline_ms: Milliseconds | None = None
    retries: ToolRetries = ToolRetries()
    rate: Rate | None = None
    max_concurrency: Annotated[int, integer(1, 100_000)] | None = None
    max_waiting: Count = 100
    max_calls: Budget | None = None
    max_identical_calls: Count | None = None
    cost_usd: Usd | None = None
    arguments: Annotated[dict[str, Any], JsonObject()] | None = None
    max_request_bytes: ByteSize = 1 << 20
    max_response_bytes: ByteSize = 10 << 20
    forward_authorization: bool = False


class Tools(Section):
    """Which tools exist and who may not use them."""

    allowlist: tuple[ToolPattern, ...] = ()
    denylist: tuple[ToolPattern, ...] = ()
    timeouts_ms: Mapping[ToolPattern, Milliseconds] = USUAL_TIMEOUTS
    retries: Retries = Retries()
    definitions: Mapping[ToolName, Definition] = NO_ENTRIES


class Tls(Section):
    """Files for the connection to an upstream."""

    ca_file: FilePath | None = None
    client_cert_file: FilePath | None = None
    client_key_file: FilePath | None = None


class CircuitBreaker(Section):
    """When an upstream is left alone."""

    failures: Annotated[int, integer(1, 1000)] = 5
    open_ms: Milliseconds = 30_000


class Upstream(Section):
    """Where tools are performed."""

    url: Url | None = None
    headers: Mapping[HeaderName, HeaderValue] = NO_ENTRIES
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    max_connections: Annotated[int, integer(1, 10_000)] = 100
    connect_timeout_ms: Milliseconds = 2000
    keepalive_ms: Annotated[int, integer(0, 3_600_000)] = 4000
    max_connection_age_ms: Annotated[int, integer(1, 86_400_000)] = 300_000
    tls: Tls = Tls()


class McpServer(Upstream):
    """An upstream that speaks MCP: `url` is its endpoint."""

    url: Endpoint | None = None
    trust_annotations: bool = False
    deny_methods: tuple[McpMethod, ...] = ()


class Egress(Section):
    """Where calls may go that have no upstream."""

    allow_hosts: tuple[HostRule, ...] = ()
    ports: tuple[Annotated[int, integer(1, 65_535)], ...] = (443, 80)
    allow_private: tuple[Block, ...] = ()


class Agent(Section):
    """One caller and its limits."""

    token: Token | None = None
    allowlist: tuple[ToolPattern, ...] | None = None
    denylist: tuple[ToolPattern, ...] = ()
    budgets: RunBudgets = RunBudgets()
    max_actions_per_hour: Count | None = None
    max_spend_usd_per_day: Usd | None = None
    max_calls_per_tool: Mapping[ToolPattern, Count] = NO_ENTRIES


class Governed(Section):
    """The OnceOnly-compatible door."""

    enabled: bool = False
    api_key: Token | None = None
    admin_key: Token | None = None
    open: bool = False


class State(Section):
    """What holds while counts are out of reach."""

    on_unavailable: Literal["deny", "allow"] = "deny"


class Idempotency(Section):
    """How long answers are kept for a replay."""

    ttl_hours: Annotated[int, integer(1, 720)] = 24
    max_bytes: ByteSize = 64 << 20


class KillSwitches(Section):
    """The operator's stop: the policy's section of this name, and the file kill_switch.yaml."""

    disable_all: bool = False
    disable_writes: bool = False
    disable_tools: tuple[ToolPattern, ...] = ()
    disable_agents: tuple[Identifier, ...] = ()
    disable_runs: tuple[RunScope, ...] = ()
    reason: Text = ""
    until: Time | None = None
    cancel_in_flight: bool = False


class Redaction(Section):
    """What is hidden beside the built-in keys and shapes."""

    enabled: bool = True
    keys: tuple[Text, ...] = ()
    patterns: Mapping[Identifier, Text] = NO_ENTRIES
    allow: tuple[Text, ...] = ()


class Observability(Section):
    """What the log keeps of payloads."""

    sampled_tool_results: bool = True
    result_sample_rate: Share = 0.01
    max_logged_bytes: Annotated[int, integer(0, 8192)] = 2048
    max_log_bytes_per_second: Annotated[int, integer(0, 1 << 30)] = 262_144
    redaction: Redaction = Redaction()


class Rollout(Section):
    """How a candidate policy is tried; rests without one."""

    canary_percent: Annotated[float, number(0, 100)] = 10
    rollback_on_error_rate: Share = 0.05
    min_calls: Count = 50
    count_denials: bool = True


class Policy(Section):
    """A whole policy.yaml."""

    mode: Literal["enforce", "report"] = "enforce"
    allowed_origins: tuple[Origin, ...] = ()
    runtime: Runtime = Runtime()
    runs: Runs = Runs()
    tools: Tools = Tools()
    upstreams: Mapping[UpstreamName, Upstream] = NO_ENTRIES
    mcp_servers: Mapping[ServerName, McpServer] = NO_ENTRIES
    egress: Egress = Egress()
    agents: Mapping[Identifier, Agent] = NO_ENTRIES
    governed: Annotated[Governed, NotYet()] = Governed()
    state: State = State()
    idempotency: Idempotency = Idempotency()
    kill_switch: KillSwitches = KillSwitches()
    observability: Observability = Observability()
    rollout: Rollout | None = None
