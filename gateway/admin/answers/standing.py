"""What stands: probes, kill switches, breakers, queues and what agents have used. Every error, too."""

from typing import Literal, NotRequired, TypedDict

from gateway.model import Source
from gateway.state.breaker import BreakerState
from gateway.version import Code

Mode = Literal["enforce", "report"]


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


TroubleKind = Literal["fails", "spends"]


class Trouble(TypedDict):
    """An agent whose calls went wrong in the last five minutes, as far as calls are kept; refusals by kill switches do not count.

    It `fails`: `tool` and `reason` are the commonest case of the `not_ok`. Or it `spends` its day's money too fast: `tool` took
    most of it. `says` and `why` are for people; `call_id` and `last` are the latest such call. `stopped`: a kill switch of the
    scope agent:ID is on.
    """

    agent_id: str
    kind: TroubleKind
    calls: int
    not_ok: int
    tool: str
    reason: str
    spent_usd: float
    says: str
    why: str | None
    call_id: str
    last: str
    stopped: bool


class Status(TypedDict):
    """The whole picture, small enough to read."""

    version: str
    code: Code
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
    in_trouble: list[Trouble]
    log_dropped: dict[str, int]
    problems: list[str]
    listen: str
    admin_listen: str
    agent_id: str | None
