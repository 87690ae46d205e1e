"""The shape of a policy file (SPEC 3): one frozen class a section, each key with its kind, its default and the words that editors show.

A section of its own is described by its class. What spans sections is judged in compile.
"""

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
from gateway.policy.schema.kinds import JsonObject
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
    """Turns of the agent's loop; 25 where nothing says otherwise."""
    AGENT_MAX_TOOL_CALLS: Budget | None = None
    """Calls of tools; 12 where nothing says otherwise."""
    AGENT_MAX_SECONDS: Annotated[int, integer(1, 604_800)] | None = None
    """From the first call or step; 60 where nothing says otherwise."""


class Runtime(Section):
    """What the agent's process is started with: here, its budgets."""

    env: RunBudgets = RunBudgets()


class Runs(Section):
    """How runs are told apart and bounded."""

    anonymous: Literal["window", "deny"] = "window"
    """What becomes of calls without a run id: counted in windows, or refused."""
    identify_by_trace: bool = False
    """Calls without a run id belong to the run of their trace's id."""
    max_started_per_hour: Count = 6000
    """Of one agent's; 0 refuses all new runs."""
    max_identical_calls: Count = 0
    """Calls with the same tool and arguments in one run; 0 is any number."""
    max_usd: Usd | None = None
    """What the calls of one run may cost."""


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


class Tls(Section):
    """Files for the connection to an upstream."""

    ca_file: FilePath | None = None
    """Certificates to trust; else the system's."""
    client_cert_file: FilePath | None = None
    """The certificate to show."""
    client_key_file: FilePath | None = None
    """Its private key."""


class CircuitBreaker(Section):
    """When an upstream is left alone."""

    failures: Annotated[int, integer(1, 1000)] = 5
    """Attempts in a row that could not connect, broke off, timed out or were answered 502, 503 or 504."""
    open_ms: Milliseconds = 30_000
    """How long no attempt is made then."""


class Upstream(Section):
    """Where tools are performed."""

    url: Url | None = None
    """Its address, with a path that all of its tools are below."""
    headers: Mapping[HeaderName, HeaderValue] = NO_ENTRIES
    """Set on every attempt. ${env:NAME} and ${file:PATH} stand for secrets."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    max_connections: Annotated[int, integer(1, 10_000)] = 100
    """At once; attempts beyond them wait for one."""
    connect_timeout_ms: Milliseconds = 2000
    """For connecting, TLS included."""
    keepalive_ms: Annotated[int, integer(0, 3_600_000)] = 4000
    """How long an idle connection is kept."""
    max_connection_age_ms: Annotated[int, integer(1, 86_400_000)] = 300_000
    """How long a connection is used for new attempts."""
    tls: Tls = Tls()


class McpServer(Upstream):
    """An upstream that speaks MCP: `url` is its endpoint."""

    url: Endpoint | None = None
    """Its Streamable HTTP endpoint."""
    trust_annotations: bool = False
    """Where the policy declares no effect, the server's word counts."""
    deny_methods: tuple[McpMethod, ...] = ()
    """MCP methods that nobody may use."""


class Egress(Section):
    """Where calls may go that have no upstream."""

    allow_hosts: tuple[HostRule, ...] = ()
    """Names and addresses that http.* tools may go to."""
    ports: tuple[Annotated[int, integer(1, 65_535)], ...] = (443, 80)
    """Of those hosts."""
    allow_private: tuple[Block, ...] = ()
    """Blocks of addresses that are not public but may be gone to."""


class Agent(Section):
    """One caller and its limits."""

    token: Token | None = None
    """What shows that a call is from this agent."""
    allowlist: tuple[ToolPattern, ...] | None = None
    """In place of tools.allowlist."""
    denylist: tuple[ToolPattern, ...] = ()
    """Beside tools.denylist."""
    budgets: RunBudgets = RunBudgets()
    """Limits of its runs."""
    max_actions_per_hour: Count | None = None
    """Admitted calls, whatever the run."""
    max_spend_usd_per_day: Usd | None = None
    """What its calls may cost, in a day of UTC."""
    max_calls_per_tool: Mapping[ToolPattern, Count] = NO_ENTRIES
    """A day, by tool or pattern."""


class Governed(Section):
    """The OnceOnly-compatible door, under /v1."""

    enabled: bool = False
    """Whether /v1 is this door; else it is a path like any other."""
    api_key: Token | None = None
    """What its callers show; without it the door is closed."""
    admin_key: Token | None = None
    """What it takes, in place of the api_key, to register tools and to raise limits."""
    open: bool = False
    """Whether its policies may go beyond this one, and whoever has the api_key may do what takes the admin_key."""


class State(Section):
    """What holds while counts are out of reach."""

    on_unavailable: Literal["deny", "allow"] = "deny"
    """What becomes of calls that cannot be counted."""


class Idempotency(Section):
    """How long answers are kept for a replay."""

    ttl_hours: Annotated[int, integer(1, 720)] = 24
    """After the answer."""
    max_bytes: ByteSize = 64 << 20
    """Of all kept answers together."""


class KillSwitches(Section):
    """The operator's stop: the policy's section of this name, and the file kill_switch.yaml."""

    disable_all: bool = False
    """Every call."""
    disable_writes: bool = False
    """Calls of tools whose effect is not read."""
    disable_tools: tuple[ToolPattern, ...] = ()
    """These, by name or pattern."""
    disable_agents: tuple[Identifier, ...] = ()
    """All calls of these."""
    disable_runs: tuple[RunScope, ...] = ()
    """All calls of these: a run id of any agent's, or AGENT/ID."""
    reason: Text = ""
    """What denials and the log say."""
    until: Time | None = None
    """When the stops end by themselves; else when they are removed."""
    cancel_in_flight: bool = False
    """Calls at work are cut, too."""


class Redaction(Section):
    """What is hidden beside the built-in keys and shapes."""

    enabled: bool = True
    """Without it payloads are logged as they are: for machines that hold nothing real."""
    keys: tuple[Text, ...] = ()
    """Names whose values are hidden."""
    patterns: Mapping[Identifier, Text] = NO_ENTRIES
    """RE2 regular expressions of what is hidden, by the name that takes its place."""
    allow: tuple[Text, ...] = ()
    """Names and kinds that are not hidden, although built in."""


class Observability(Section):
    """What the log keeps of payloads."""

    sampled_tool_results: bool = True
    """Without it no payload is logged at all."""
    result_sample_rate: Share = 0.01
    """Share of the runs whose calls are logged with payloads."""
    max_logged_bytes: Annotated[int, integer(0, 8192)] = 2048
    """Of arguments and of a result, each."""
    max_log_bytes_per_second: Annotated[int, integer(0, 1 << 30)] = 262_144
    """Of arguments and results; beyond them lines go without."""
    redaction: Redaction = Redaction()


class Rollout(Section):
    """How a candidate policy is tried; rests without one."""

    canary_percent: Annotated[float, number(0, 100)] = 10
    """Share of the runs that live under the candidate."""
    rollback_on_error_rate: Share = 0.05
    """By how much its share of errors may exceed the live policy's: 0.05 is five errors more in a hundred calls."""
    min_calls: Count = 50
    """Of both sides, before they are compared."""
    count_denials: bool = True
    """A denial that only the candidate makes is an error of its."""


class Policy(Section):
    """A whole policy.yaml."""

    mode: Literal["enforce", "report"] = "enforce"
    """Whether calls against the rules are refused, or only reported."""
    allowed_origins: tuple[Origin, ...] = ()
    """Web pages whose scripts may call."""
    runtime: Runtime = Runtime()
    runs: Runs = Runs()
    tools: Tools = Tools()
    upstreams: Mapping[UpstreamName, Upstream] = NO_ENTRIES
    mcp_servers: Mapping[ServerName, McpServer] = NO_ENTRIES
    egress: Egress = Egress()
    agents: Mapping[Identifier, Agent] = NO_ENTRIES
    governed: Governed = Governed()
    state: State = State()
    idempotency: Idempotency = Idempotency()
    kill_switch: KillSwitches = KillSwitches()
    observability: Observability = Observability()
    rollout: Rollout | None = None
