"""The shape of a policy file (SPEC 3): one frozen class a section, each key with its kind, its default and the words that editors show.

The classes of tools and of upstreams are in files of those names. What spans sections is judged in compile.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from gateway.policy.schema.fields import (
    NO_ENTRIES,
    Budget,
    ByteSize,
    Count,
    Identifier,
    Origin,
    RunScope,
    ServerName,
    Share,
    Text,
    Time,
    Token,
    ToolPattern,
    UpstreamName,
    Usd,
    integer,
    number,
)
from gateway.policy.schema.section import Section
from gateway.policy.schema.tools import Tools
from gateway.policy.schema.upstreams import Egress, McpServer, Upstream

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
