"""What the admin plane answers with, member by member: what views make, mypy checks and /openapi.json describes. Nothing is done here."""

from typing import Literal, NotRequired, TypedDict

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect, Source
from gateway.state.breaker import BreakerState

Mode = Literal["enforce", "report"]
TrialState = Literal["none", "refused", "shadow", "canary", "rolled_back"]


class Problem(TypedDict):
    """Every error (RFC 9457): `detail` is one sentence with the remedy."""

    type: str
    title: str
    status: int
    detail: str


class Health(TypedDict):
    """The process can answer."""

    ok: bool
    version: str
    uptime_seconds: float


class Readiness(TypedDict):
    """`degraded` says what an operator should look at, worst first; `why` the gateway takes no calls."""

    ready: bool
    degraded: list[str]
    mode: Mode
    why: NotRequired[str]


class Switch(TypedDict):
    """A kill switch that is on. `until` null: until it is lifted."""

    scope: str
    reason: str
    who: str
    since: str
    until: str | None
    cancel_in_flight: bool
    source: Source


class Switches(TypedDict):
    """All that are on, from every source, and how far one that is set here reaches."""

    kill_switches: list[Switch]
    reach: str


class Killed(TypedDict):
    """The switch as it is now on, what it stops, and what of it outlives a restart."""

    kill_switch: Switch
    says: str
    reach: str


class Restored(TypedDict):
    """The scope that was lifted, and all that is still on."""

    lifted: str
    still_on: list[Switch]
    reach: str


class StillHeld(Problem):
    """Another source holds the scope."""

    held_by: list[Switch]


class BlastRadius(TypedDict):
    """What a switch would stop just now."""

    scope: str
    says: str
    runs_in_progress: int
    calls_in_flight: int
    calls_that_end_now: int


class CanaryShare(TypedDict):
    """The candidate on trial, and how many of the runs live under it."""

    version: str
    canary_percent: float


class PolicyInForce(TypedDict):
    """`rejected`: the problems of what is on disk and not in force."""

    version: str
    path: str
    warnings: list[str]
    overrides: list[str]
    rejected: list[str]


class Breaker(TypedDict):
    """`next_attempt_in_ms` null: it lets attempts pass."""

    state: BreakerState
    next_attempt_in_ms: int | None


class FailingBreaker(Breaker):
    """One that is not closed."""

    upstream: str


class Queue(TypedDict):
    """Calls that wait for their turn at a tool."""

    tool: str
    waiting: int
    paused_seconds: float


class Used(TypedDict):
    """`limit` null: there is none."""

    used: int
    limit: int | None


class UsedUsd(TypedDict):
    """`limit` null: there is none."""

    used: float
    limit: float | None


class AgentUse(TypedDict):
    """What an agent has used over all its runs."""

    agent_id: str
    actions_this_hour: Used
    runs_started_this_hour: Used
    usd_today: UsedUsd
    calls_today: dict[str, Used]


class Status(TypedDict):
    """The whole picture, small enough to read."""

    version: str
    started: str
    uptime_seconds: float
    ready: bool
    why: str | None
    degraded: list[str]
    mode: Mode
    policy: PolicyInForce
    candidate: CanaryShare | None
    kill_switches: list[Switch]
    reach: str
    breakers: list[FailingBreaker]
    calls_in_flight: int
    queues: list[Queue]
    max_in_flight: int
    runs_live: int
    agents: list[AgentUse]
    log_dropped: dict[str, int]
    problems: list[str]
    listen: str
    admin_listen: str
    agent_id: str | None


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


class RunUsed(TypedDict):
    """By a run so far; `steps` null: none was seen."""

    tool_calls: int
    steps: int | None
    seconds: float
    usd: float


class RunLimits(TypedDict):
    """Of a run; `usd` where the policy bounds it."""

    tool_calls: int
    steps: int
    seconds: float
    usd: NotRequired[float]


class RunRemaining(TypedDict):
    """`seconds` null: an anonymous window, which bounds counts alone."""

    tool_calls: int
    steps: int
    seconds: int | None
    usd: NotRequired[float]


class Run(TypedDict):
    """One run or, `run_id` null, an agent's anonymous window."""

    agent_id: str
    run_id: str | None
    started: str
    live: bool
    stop_reason: str | None
    used: RunUsed
    limits: RunLimits
    remaining: RunRemaining


class Runs(TypedDict):
    """The latest started first; `live`: how many have not ended."""

    runs: list[Run]
    live: int


class StoppedRun(Run):
    """`stopped_now` false: it had ended before."""

    stopped_now: bool


class Call(TypedDict):
    """A call as the log tells it (docs/log.md), without payloads."""

    ts: str
    event: Literal["tool_call"]
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
    errors: list[str]
    duration_ms: float
    waited_ms: float
    bytes_in: int
    bytes_out: int
    cost_usd: float
    policy: str
    candidate: str | None
    report_reason: NotRequired[Reason]
    upstream: str | None
    detail: str | None


class Try(TypedDict):
    """One attempt: when it began, what was waited before, how long it took, and what came of it."""

    attempt: int
    waited_ms: float
    began_ms: float
    took_ms: float
    result: str


class LeftToRun(TypedDict):
    """Of a run's budgets, when a call was answered."""

    tool_calls: int
    steps: int
    seconds: int | None


class CallStory(Call):
    """With what decided it, and each attempt."""

    decided_by: str
    rule: str | None
    tries: list[Try]
    remaining: LeftToRun | None


class Calls(TypedDict):
    """The latest ended first."""

    calls: list[Call]


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
