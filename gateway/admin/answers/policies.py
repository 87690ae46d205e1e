"""What a policy says: its tools and upstreams, what becomes of a call under it, and how a candidate fares."""

from typing import Literal, NotRequired, TypedDict

from gateway.admin.answers.history import Run
from gateway.admin.answers.standing import AgentUse, Breaker, Mode, Problem
from gateway.denial import Reason
from gateway.model import Decision, Effect

TrialState = Literal["none", "refused", "shadow", "canary", "rolled_back"]


class BreakerRule(TypedDict):
    """When a breaker opens, and for how long at first."""

    failures: int
    open_ms: int


class Upstream(TypedDict):
    """Without its headers' values: they hold credentials."""

    name: str
    url: str
    max_connections: int
    connect_timeout_ms: int
    keepalive_ms: int
    circuit_breaker: BreakerRule
    injected_headers: list[str]


class UpstreamInUse(Upstream):
    """With its breaker and, once it was called, its connections; `apart`: those of MCP streams."""

    breaker: Breaker
    connections: NotRequired[int]
    idle: NotRequired[int]
    waiting: NotRequired[int]
    apart: NotRequired[int]


class Upstreams(TypedDict):
    """Those that the policy or a candidate on trial names."""

    upstreams: list[UpstreamInUse]


class Policy(TypedDict):
    """The policy in force, and what is wrong with the one on disk."""

    version: str
    mode: Mode
    warnings: list[str]
    overrides: list[str]
    rejected: list[str]
    tools: list[str]
    agents: list[str]
    upstreams: list[Upstream]


class CheckedPolicy(TypedDict):
    """Would this policy be taken? `version` null: it would not."""

    ok: bool
    version: str | None
    problems: list[str]
    warnings: list[str]
    overrides: list[str]


class Reloaded(TypedDict):
    """The policy in force after the folder was read."""

    ok: bool
    version: str
    changed: bool
    problems: list[str]


class ReloadRefused(Problem):
    """What is on disk is refused; the policy in force stays."""

    ok: bool
    version: str
    changed: bool
    problems: list[str]


class Retries(TypedDict):
    """`after_it_was_sent`: also where the upstream may have seen an attempt."""

    max: int
    backoff_ms: list[int]
    on_status: list[int]
    after_it_was_sent: bool
    budget_percent: int


class PlanBudgets(TypedDict):
    """Of a run; null: no limit."""

    max_steps: int
    max_tool_calls: int
    max_seconds: float
    max_usd: float | None
    max_calls: int | None
    max_identical_calls: int | None


class AgentLimits(TypedDict):
    """Over all runs of an agent; null: no limit."""

    max_actions_per_hour: int | None
    max_spend_usd_per_day: float | None
    max_calls_per_tool: int | None
    max_started_per_hour: int | None


class Pacing(TypedDict):
    """How the tool's attempts line up; all null where they need not."""

    per_second: float | None
    burst: int | None
    max_concurrency: int | None
    max_waiting: int | None


class Plan(TypedDict):
    """How a call of this tool by this agent is made."""

    agent: str
    tool: str
    allowed: bool
    rule: str
    effect: Effect
    mode: Mode
    upstream: Upstream | None
    builtin: bool
    missing: str | None
    methods: list[str] | None
    path: str
    timeout_ms: int
    deadline_ms: int
    retries: Retries
    budgets: PlanBudgets
    agent_limits: AgentLimits
    cost_usd: float
    pace: Pacing
    max_request_bytes: int
    max_response_bytes: int
    arguments_schema: bool


class Judged(TypedDict):
    """What one guard thinks of the call."""

    guard: str
    objects: bool
    detail: str | None
    reason: Reason | None
    rule: str | None
    unasked: str | None


class UsedSoFar(TypedDict):
    """What counts for the call already: of its run (null: it has not begun) and of its agent."""

    run: Run | None
    agent: AgentUse


class Explained(TypedDict):
    """What would become of such a call, and which guard decides it."""

    decision: Decision
    reason: Reason | None
    detail: str | None
    status: int | None
    stop_reason: str | None
    decided_by: str | None
    rule: str | None
    key: list[str]
    guards: list[Judged]
    used: UsedSoFar | None
    plan: Plan
    destination: str | None
    policy: str
    counts_known: bool


class SideFigures(TypedDict):
    """How one side fared within the window."""

    calls: int
    errors: int
    error_share: float


class LiveSide(SideFigures):
    """The policy in force."""

    version: str


class CandidateSide(SideFigures):
    """The candidate on trial."""

    version: str
    since: str | None
    changes: list[str]
    warnings: list[str]


class RollBack(TypedDict):
    """Why a candidate is ignored, and the figures that decided it."""

    version: str
    at: str
    reason: str
    who: str
    candidate: SideFigures
    live: SideFigures


class Trial(TypedDict):
    """Of candidate.yaml: `shadow` where no run lives under it."""

    state: TrialState
    canary_percent: float
    rollback_on_error_rate: float
    min_calls: int
    count_denials: bool
    window_seconds: float
    live: LiveSide
    candidate: CandidateSide | None
    differences: dict[str, int]
    rolled_back: RollBack | None
    problems: list[str]


class RolledBack(Trial):
    """With what of it outlives a restart."""

    reach: str
