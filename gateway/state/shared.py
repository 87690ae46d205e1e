"""What a charge asks of the fleet, what the fleet answers, and what this process has had charged there. Pure: no connection, no clock.

The fleet's counts are sums of what each gateway says it has used. So a gateway can say it again, whenever the store may have lost or
doubled something: absolute numbers, said twice, count once. Times are milliseconds of the store's own clock.
"""

from itertools import islice, takewhile
from typing import NamedTuple, Protocol

from gateway.model import RunKey

HOUR = 3_600_000
DAY = 86_400_000
LOOKED_AT_AT_ONCE = 5000
"""Runs, by one `expire`: no call waits for a look at all."""
RUN_KEPT = DAY
"""A run is remembered so long after its last change and its last second."""


class Ask(NamedTuple):
    """One call, and the limits it is held to. None: no limit, or not counted."""

    id: str
    """The call's: the same charge asked for twice counts once."""
    run: RunKey
    """`id` is "" where the run is not shared: an anonymous window is this process's own."""
    tool: str
    spend: int
    """Micro-USD."""
    step: int
    """Announced; 0: none."""
    per_hour: int | None = None
    """The agent's calls in any hour."""
    spend_per_day: int | None = None
    """Micro-USD of the agent in a UTC day."""
    tool_per_day: int | None = None
    """The agent's calls of this tool in a UTC day."""
    run_calls: int = 0
    run_spend: int | None = None
    run_seconds: float = 0.0
    run_tool: int | None = None
    """Calls of this tool in the run."""
    forced: bool = False
    """Report mode: charged whatever the limits say, unless the run has ended."""
    goes_on_alone: bool = False
    """state.on_unavailable: allow. With the fleet out of reach it is held to this process's counts, and told to the fleet later."""

    @property
    def of_agent(self) -> bool:
        """A limit over all the agent's runs is asked for."""
        return self.per_hour is not None or self.spend_per_day is not None or self.tool_per_day is not None


class RunSeen(NamedTuple):
    """A run as the fleet counts it."""

    calls: int = 0
    steps: int = 0
    spend: int = 0
    tool_calls: int = 0
    """Of the tool that was asked for, where its limit was."""
    elapsed: float = 0.0
    """Seconds."""
    ended_by: str | None = None
    stop_reason: str | None = None


class Answer(NamedTuple):
    """What the fleet said. `word`: ok, or the limit that objects."""

    word: str
    charged: bool
    at: int
    """The store's clock."""
    hour_used: int
    hour_wait: float | None
    """Seconds until one of the hour's calls leaves it; None: no wait helps."""
    day_spend: int
    day_tool: int
    run: RunSeen


class Reach(Protocol):
    """Whether the fleet can be asked."""

    @property
    def up(self) -> bool: ...


class RunShare:
    """This process's part of one run."""

    __slots__ = ("began", "ended", "epoch", "pending", "pending_spend", "steps", "until", "used")

    def __init__(self) -> None:
        self.epoch = 0
        """The connection under which the fleet last heard of it; 0: never."""
        self.used: dict[str, int] = {}
        """`n`: calls, `s`: micro-USD, `c:TOOL`: calls of it. A name stands here from the first time it was asked for."""
        self.began = 0
        self.steps = 0
        """The highest number the fleet or this process knows."""
        self.ended: tuple[str, str] | None = None
        self.until = 0
        """When it may be forgotten."""
        self.pending = 0
        """Calls that were asked for and not answered yet."""
        self.pending_spend = 0


class AgentShare:
    """This process's part of what one agent uses over all its runs."""

    __slots__ = ("days", "epoch", "hour")

    def __init__(self) -> None:
        self.epoch = 0
        self.hour: dict[int, int] = {}
        """Calls by the second (Unix)."""
        self.days: dict[int, dict[str, int]] = {}
        """`s` and `c:TOOL` by number of the day."""


class Own:
    """Every part of this process, live or remembered."""

    def __init__(self) -> None:
        self.runs: dict[RunKey, RunShare] = {}
        self.agents: dict[str, AgentShare] = {}

    def asking(self, ask: Ask, at: int) -> None:
        """Before it is sent: whatever becomes of it, a later word of absolute numbers includes its names."""
        if ask.run.id:
            run = self.run(ask.run, at + int(ask.run_seconds * 1000))
            for name in _run_names(ask):
                run.used.setdefault(name, 0)
            run.pending += 1
            run.pending_spend += ask.spend
        if ask.of_agent:
            self._day(ask, at // DAY)

    def answered(self, ask: Ask) -> None:
        """Or never to be."""
        run = self.runs.get(ask.run)
        if run is not None:
            run.pending -= 1
            run.pending_spend -= ask.spend

    def add(self, ask: Ask, at: int) -> None:
        """It goes on, and is charged."""
        self._count(ask, at, 1)

    def take_back(self, ask: Ask, at: int) -> None:
        """It was added at `at`, and nothing of it was sent."""
        self._count(ask, at, -1)

    def leave_unsure(self, ask: Ask, at: int) -> None:
        """It does not go on, and nobody knows whether it stands in the store."""
        if ask.of_agent:
            for day in (at // DAY - 1, at // DAY, at // DAY + 1):
                self._day(ask, day)

    def run(self, key: RunKey, until: int) -> RunShare:
        """The part, a new one where there is none. `until`: at least so long its seconds last."""
        share = self.runs.get(key)
        if share is None:
            share = self.runs[key] = RunShare()
        share.until = max(share.until, until + RUN_KEPT)
        return share

    def expire(self, at: int) -> None:
        """Forgets what counts no more, of some runs at a time."""
        for key in [*islice(self.runs, LOOKED_AT_AT_ONCE)]:
            run = self.runs.pop(key)
            if run.until >= at or run.pending:
                self.runs[key] = run  # behind the others: the next time it is theirs
        for agent, share in [*self.agents.items()]:
            for second in [*takewhile(lambda second: second * 1000 + HOUR + 2000 < at, share.hour)]:
                del share.hour[second]
            for day in [day for day in share.days if day < at // DAY - 1]:
                del share.days[day]
            if not (share.hour or share.days):
                del self.agents[agent]

    def _count(self, ask: Ask, at: int, one: int) -> None:
        if ask.run.id:
            run = self.run(ask.run, at + int(ask.run_seconds * 1000))
            run.began = run.began or at
            run.steps = max(run.steps, ask.step)
            for name in _run_names(ask):
                run.used[name] = run.used.get(name, 0) + (one * ask.spend if name == "s" else one)
        if not ask.of_agent:
            return
        day = self._day(ask, at // DAY)
        for name in _day_names(ask):
            day[name] += one * ask.spend if name == "s" else one
        if ask.per_hour is not None:
            hour, second = self.agents[ask.run.agent].hour, at // 1000
            if one > 0 or second in hour:
                hour[second] = hour.get(second, 0) + one

    def _day(self, ask: Ask, number: int) -> dict[str, int]:
        share = self.agents.get(ask.run.agent)
        if share is None:
            share = self.agents[ask.run.agent] = AgentShare()
        day = share.days.setdefault(number, {})
        for name in _day_names(ask):
            day.setdefault(name, 0)
        return day


def _run_names(ask: Ask) -> tuple[str, ...]:
    return ("n", "s") if ask.run_tool is None else ("n", "s", f"c:{ask.tool}")


def _day_names(ask: Ask) -> tuple[str, ...]:
    spend = () if ask.spend_per_day is None else ("s",)
    return spend if ask.tool_per_day is None else (*spend, f"c:{ask.tool}")
