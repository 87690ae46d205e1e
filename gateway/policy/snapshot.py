"""What compile makes of the YAML: an immutable Snapshot and its Plans. A call reads one Snapshot once; a look-up is a few dict probes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.bounds import UNBOUNDED, UNPACED, USUAL_BREAKER, AgentBounds, BreakerBounds, Pace
from gateway.denial import Reason
from gateway.model import Budgets, Effect, KillSwitch, Target
from gateway.packable import Packable

CANDIDATE_SUFFIX = " (candidate)"
"""Where a candidate's upstream or pace differs from the live policy's, its breaker or queue has this behind its name: a breaker and a queue
of its own, so that calls under the live policy do not feel how the candidate fares.
"""


class Arguments(Protocol):
    """A compiled arguments schema."""

    def objection(self, arguments: object) -> str | None:
        """Where and which rule fails (`q: longer than 200 characters`), never a value; None where the arguments pass."""
        ...


@dataclass(frozen=True, slots=True)
class Tls(Packable):
    """Files for the connection to an upstream; None: the system's trust store, no client certificate."""

    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None


class IdempotencyPlan(NamedTuple):
    """How long and how many answers are kept for a replay."""

    ttl: float = 24 * 3600.0
    """Seconds."""
    max_bytes: int = 64 << 20


class McpPlan(NamedTuple):
    """What an upstream that speaks MCP has beside its connections."""

    trust_annotations: bool = False
    """Where the policy declares no effect, the server's word counts."""
    deny_methods: frozenset[str] = frozenset()
    """Names of methods, or of all below a name: `prompts/*`."""

    def denies(self, method: str) -> bool:
        """tools/call has its own rules."""
        if not self.deny_methods:
            return False
        above, parts = "", method.split("/")[:-1]
        prefixes = [above := f"{above}{part}/" for part in parts]
        return method in self.deny_methods or any(f"{prefix}*" in self.deny_methods for prefix in prefixes)


@dataclass(frozen=True, slots=True)
class UpstreamPlan(Packable):
    """Where a tool is performed and how the gateway connects to it. Seconds, not milliseconds."""

    name: str
    key: str
    """Differs exactly when anything here differs: pools are kept by it over reloads."""
    scheme: str
    host: str
    """Without brackets, IDNA-encoded, lower case."""
    port: int
    base_path: str
    """The URL's path without a trailing slash; "" for none."""
    headers: tuple[tuple[str, str], ...]
    """Injected on every attempt, secrets expanded. Never logged, never in repr."""
    max_connections: int
    connect_timeout: float
    keepalive: float
    max_connection_age: float
    tls: Tls
    breaker: BreakerBounds = USUAL_BREAKER
    """Not part of `key`: connections do not depend on it."""
    mcp: McpPlan | None = None
    """It is one of mcp_servers, reached through the MCP door alone. Then `base_path` is its whole path. Not part of `key` either."""

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" if self.port == usual else f"{self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"UpstreamPlan({self.name} at {self.origin}{self.base_path})"


class RegisteredTool(NamedTuple):
    """A tool that was registered through the governed door. Seconds, not milliseconds."""

    name: str
    scope: str
    """`global`, or `agent:ID`."""
    url: str
    """As it was given."""
    target: Target
    enabled: bool
    timeout: float
    timeout_written: bool
    """It was given: then it is the deadline, too."""
    max_retries: int
    description: str
    secret: str | None
    """Signs what is sent to it."""
    secret_id: str | None


@dataclass(frozen=True, slots=True)
class Retries(Packable):
    """How often and after which waits an attempt is repeated."""

    max: int
    backoff: tuple[float, ...]
    """Seconds; the last one repeats. Never empty."""
    on_status: frozenset[int]
    budget_percent: int = 20
    """Retries of an upstream, at most, as a share of the first attempts of the last 10 seconds."""


@dataclass(frozen=True, slots=True)
class Egress(Packable):
    """Where the fetch tool may go."""

    hosts: frozenset[str]
    """Exact names and canonical IP literals."""
    suffixes: frozenset[str]
    """From `*.example.com`: `example.com`, matched by any name below it but not by itself."""
    any_host: bool
    ports: frozenset[int]
    allow_private: tuple[str, ...]
    """CIDR blocks, canonical."""


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """All the policy says about one (agent, tool). `allowed` and `rule` tell the allowlist's word; the rest is how the call is made.

    Told apart by identity: what was found out about one is remembered by it (remembered.py).
    """

    agent: str
    tool: str
    allowed: bool
    rule: str
    """What decided, as `explain` and the denial print it: `tools.allowlist: "search.*"`, `agents.x.denylist: "shell.*"`,
    `no allowlist entry`."""
    effect: Effect
    builtin: bool
    """Performed by the gateway itself (the fetch tool), under the egress rules."""
    upstream: UpstreamPlan | None
    missing: str | None
    """Where there is no upstream and no builtin: the policy key that would give one (`tools.definitions.x.upstream`)."""
    methods: frozenset[str] | None
    """Upper case; None: any. GET implies HEAD and is listed so."""
    path: str
    """Tool path door: what follows the upstream's base path, without `{rest*}` (`/query`, `/search.read`, "")."""
    takes_rest: bool
    timeout: float
    deadline: float
    retries: Retries
    idempotent: bool
    """Safe to repeat although a write."""
    stream: bool
    stream_idle: float
    arguments: Arguments | None
    max_request_bytes: int
    max_response_bytes: int
    forward_authorization: bool
    budgets: Budgets
    egress: Egress
    report: bool
    """mode: report."""
    anonymous: str
    """runs.anonymous: `window` or `deny`."""
    pace: Pace = UNPACED
    differs_from_live: bool = False
    """It is a candidate's plan, with another pace or upstream than the live policy's: its attempts have a queue of their own."""
    max_calls: int | None = None
    """Of this tool in one run."""
    max_identical_calls: int = 0
    """In one named run; 0: any number."""
    cost: int = 0
    """Micro-USD a call."""
    idempotency_key: bool = False
    """The upstream honours Idempotency-Key, so that every attempt of a call carries the same."""
    limits: AgentBounds = UNBOUNDED
    allow_without_state: bool = False
    """state.on_unavailable: allow. A charge that cannot be written down does not refuse the call."""
    method: str = "POST"
    """With which a governed call goes to the tool's path."""
    deadline_written: bool = False
    """The policy sets `deadline_ms`, so that no door has a word of its own."""
    registered: RegisteredTool | None = None
    """Known through the governed door alone, and performed through it: no other way leads there."""
    heeds_annotations: bool = False
    """A tool of an MCP server whose effect the policy leaves to that server's word (trust_annotations)."""
    queue: str = field(init=False)
    """The name of the queue in which the tool's attempts line up (state/pacing.py)."""
    repeatable: bool = field(init=False)
    """May an attempt that was sent be repeated?"""

    def __post_init__(self) -> None:
        repeatable = self.effect is Effect.READ or self.idempotent or self.idempotency_key
        object.__setattr__(self, "queue", self.tool + CANDIDATE_SUFFIX if self.differs_from_live else self.tool)
        object.__setattr__(self, "repeatable", repeatable)

    def price(self, said: int) -> int:
        """Micro-USD a call is charged: the policy's word or the caller's, whichever is higher."""
        return max(self.cost, said)


class Rule(NamedTuple):
    """What an operator would change to have an objection gone."""

    text: str
    """`tools.definitions.search.read.max_calls`, `tools.denylist: "shell.*"`, or in words; "" where nothing of the policy decides."""
    key: tuple[str, ...] = ()
    """Its path in policy.yaml, which may leave it out and have the default."""


class RouteMatch(NamedTuple):
    """A native path that belongs to a tool."""

    tool: str
    methods: frozenset[str] | None
    """Methods the tool takes at this path; a request with another one is 405."""


@dataclass(frozen=True, slots=True)
class Redaction(Packable):
    """What is hidden beside the built-in keys and shapes, and what is not."""

    enabled: bool = True
    keys: tuple[str, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observability(Packable):
    """What the log keeps of payloads."""

    sampled_tool_results: bool = True
    result_sample_rate: float = 0.01
    max_logged_bytes: int = 2048
    max_log_bytes_per_second: int = 262144
    redaction: Redaction = Redaction()


class GovernedPlan(NamedTuple):
    """The door under /v1."""

    enabled: bool = False
    api_key: bytes | None = None
    """The SHA-256 of what callers show: a comparison tells nothing of the key. None: the door is closed."""
    admin_key: bytes | None = None
    open: bool = False
    """API policies may go beyond the file's, and the api_key does what else takes the admin_key."""


class RolloutPlan(NamedTuple):
    """How a candidate is tried."""

    canary_percent: float = 10.0
    """Share of the runs that live under it; 0: it is judged in shadow only."""
    rollback_on_error_rate: float = 0.05
    """By how much its share of errors may exceed the live policy's (0.05: five errors more in a hundred calls)."""
    min_calls: int = 50
    """Of both sides, before they are compared."""
    count_denials: bool = True
    """A denial that only the candidate makes is an error of its."""


class Snapshot(Protocol):
    """The compiled policy. (policy/compile.py builds the one implementation.)"""

    version: str
    """First 12 hex digits of SHA-256 over the compiled policy: same content, same version."""
    report: bool
    warnings: tuple[str, ...]
    """What `check`, the start and /v1/policy warn of, a sentence each."""
    overrides: tuple[str, ...]
    """Policy values that the environment overrides, both values named."""
    upstreams: Mapping[str, UpstreamPlan]
    """mcp_servers too: no two have one name."""
    allowed_origins: frozenset[str]
    identify_by_trace: bool
    observability: Observability
    idempotency: IdempotencyPlan
    governed: GovernedPlan
    rollout: RolloutPlan
    switches: tuple[KillSwitch, ...]
    """From policy.yaml's kill_switch section (kill_switch.yaml is read apart)."""
    agents_with_token: frozenset[str]

    def plan(self, agent: str, tool: str) -> Plan:
        """Any agent, any tool name, known or not: what is not named gets the default agent's rules and a plan that is not allowed."""
        ...

    def pace(self, tool: str) -> Pace:
        """How the tool's attempts line up, whoever calls: the `pace` of each of its plans."""
        ...

    def budgets(self, agent: str) -> Budgets:
        """The run budgets of an agent, known or not."""
        ...

    def limits(self, agent: str) -> AgentBounds:
        """What an agent, known or not, may use over all its runs; without max_calls, which depends on the tool."""
        ...

    def rule(self, reason: Reason, plan: Plan) -> Rule:
        """Which of its rules an objection to a call of this plan stands for."""
        ...

    def arguments_schema(self, tool: str) -> object:
        """The JSON Schema of the tool's arguments as it is written; None: there is none."""
        ...

    def knows_agent(self, agent: str) -> bool: ...

    def agent_of_token(self, token: str) -> str | None: ...

    def route(self, method: str, path: str) -> RouteMatch | None:
        """Which tool serves this (decoded) native path? With another method than the tool takes, the match's `methods` lacks it."""
        ...

    def tools(self) -> tuple[str, ...]:
        """Every tool name the policy spells out, sorted."""
        ...

    def agents(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """candidate.yaml, compiled on top of the policy in force."""

    snapshot: Snapshot
    content: str
    """SHA-256 hex of the file: what a rollback is remembered by."""
    changes: tuple[str, ...]
    """The keys in which it differs from the policy in force, at most 20, then how many more."""
    warnings: tuple[str, ...]
    """Of the candidate alone."""
