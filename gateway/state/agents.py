"""What each agent has used over all its runs: actions and runs started in the last hour, spend and calls by tool of the UTC day.

Agents are those that a policy names, and `default`: nobody's header adds one. Two clocks count here:

- The hour goes by the *count clock*: Unix time as this store first saw it, moved on by the monotonic clock alone. No one who sets the
  wall clock shortens or lengthens an hour. Over a restart it takes the wall clock's word for how long the process was down (a clock set
  forward meanwhile looks like time that passed), and never runs backwards: at worst an hour lasts longer by the time of the outage.
- A day is the wall clock's UTC day. The counts of a day stay for two days after its last use, so that a clock set forward and back
  finds them again, and a clock set to some far year locks nobody out once it is put right.
"""

from collections.abc import Iterable, Iterator
from math import floor
from typing import Final, NamedTuple

from gateway.model import Moment
from gateway.state.hour import SlidingHour
from gateway.state.journal import Charge
from gateway.state.tally import Tally

DAY: Final = 86_400
KEPT = 2 * DAY
"""Seconds a day's counts outlive its last use."""
SWEPT_EVERY = 60
"""Seconds: idle agents need no look more often than that, busy ones are looked at by every call."""
_CLOCK = ("", "clock", 0)
"""The row that says how many seconds the wall clock has gone ahead of the count clock. No agent has this name."""
_CALLS = "calls:"


class SavedCount(NamedTuple):
    """One count of one agent as stores keep it: an absolute value, which replaces what was saved under the same three names."""

    agent: str
    name: str
    """`actions`, `runs`, `spend`, `touched` or `calls:TOOL`. Stores do not need to know what it means."""
    period: int
    """The second or the UTC day (since 1970) that it counts."""
    value: int
    """0: to be deleted."""


class Day:
    """One agent's UTC day."""

    __slots__ = ("calls", "changed", "spend", "touched")

    def __init__(self, touched: int) -> None:
        self.spend = 0
        """Micro-USD."""
        self.calls = Tally()
        self.changed: set[str] = set()
        """Names of the rows that are not saved yet."""
        self.touched = touched
        """By the count clock."""

    def row(self, name: str) -> int:
        """The value of the row of this name."""
        return self.spend if name == "spend" else self.calls.of(name.removeprefix(_CALLS))

    def rows(self) -> Iterator[str]:
        """The names of all."""
        yield from ("spend", "touched")
        yield from (_CALLS + tool for tool, _ in self.calls.made())


class AgentUse:
    """All counts of one agent. Calls of the second at hand are gathered, and counted together when it is over or somebody asks."""

    __slots__ = ("actions", "at_hand", "day", "days", "runs", "second", "spend")

    def __init__(self) -> None:
        self.actions = SlidingHour()
        self.runs = SlidingHour()
        self.days: dict[int, Day] = {}
        self.at_hand: dict[str, int] = {}
        """Calls by tool, not counted yet: of this second and day."""
        self.spend = 0
        """Theirs, in micro-USD."""
        self.second = 0
        self.day = 0

    def count(self) -> "AgentUse":
        """Adds what is at hand to the hour and the day, so that both are complete."""
        if self.at_hand:
            self.actions.add(self.second, sum(self.at_hand.values()))
            day = self.days.get(self.day)
            if day is None:
                day = self.days[self.day] = Day(self.second)
            day.touched = self.second
            day.changed.update([_CALLS + day.calls.add(tool, calls) for tool, calls in self.at_hand.items()])
            if self.spend:
                day.spend += self.spend
                day.changed.add("spend")
            self.at_hand.clear()
            self.spend = 0
        return self


class Agents:
    """Every agent that has used anything lately. Part of the Ledger, which alone writes it."""

    def __init__(self) -> None:
        self._uses: dict[str, AgentUse] = {}
        self._changed: set[str] = set()
        self._dropped: list[SavedCount] = []
        self._offset: float | None = None
        """Count clock less monotonic clock; None until there is something to count."""
        self._ahead = 0
        """The clock row as it is saved."""
        self._swept = 0

    def charge(self, charge: Charge) -> None:
        """One call, under the second and the day it arrived in."""
        agent, tool, at = charge.key.agent, charge.tool, charge.at
        use = self._uses.get(agent) or self._new(agent)
        second, day = self._second(at), int(at.wall // DAY)
        if not use.at_hand or second != use.second or day != use.day:
            use.count()
            use.second, use.day = second, day
            self._changed.add(agent)
        use.at_hand[tool] = use.at_hand.get(tool, 0) + 1
        use.spend += charge.spend

    def give_back(self, charge: Charge) -> None:
        """Takes one call back, from the second and the day it was charged to."""
        agent = charge.key.agent
        use = self._uses.get(agent)
        if use is None:
            return
        self._changed.add(agent)
        use.count().actions.take_back(self._second(charge.at))
        day = use.days.get(_day(charge.at))
        if day is not None:
            day.changed.add(_CALLS + day.calls.take_back(charge.tool))
            day.spend = max(0, day.spend - charge.spend)
            day.changed.add("spend")

    def run_started(self, agent: str, at: Moment) -> None:
        """One run that the agent named."""
        use = self._uses.get(agent) or self._new(agent)
        use.runs.add(self._second(at))
        self._changed.add(agent)

    def actions(self, agent: str, now: Moment) -> SlidingHour:
        """Calls in the hour before `now`."""
        use = self._uses.get(agent)
        return SlidingHour() if use is None else self._at(agent, use.count().actions, now)

    def runs(self, agent: str, now: Moment) -> SlidingHour:
        """Runs started in the hour before `now`."""
        use = self._uses.get(agent)
        return SlidingHour() if use is None else self._at(agent, use.runs, now)

    def today(self, agent: str, now: Moment) -> Day:
        """The UTC day. Not to be written to."""
        use = self._uses.get(agent)
        return (None if use is None else use.count().days.get(_day(now))) or Day(0)

    def wait(self, hour: SlidingHour, limit: int, now: Moment) -> float | None:
        """Seconds until there is room for one more under `limit`; None: never."""
        second = hour.frees(limit)
        return None if second is None else max(0.0, second - self._clock(now))

    def names(self) -> list[str]:
        """The agents that have used anything lately, sorted."""
        return sorted(self._uses)

    def expire(self, now: Moment) -> None:
        """Forgets what counts no more, of idle agents too."""
        second = self._second(now)
        if second - self._swept < SWEPT_EVERY:
            return
        self._swept = second
        for agent, use in [*self._uses.items()]:
            use.count().actions.leave(second)
            use.runs.leave(second)
            for number, day in [*use.days.items()]:
                if second - day.touched > KEPT:
                    del use.days[number]
                    self._dropped += (SavedCount(agent, name, number, 0) for name in day.changed.union(day.rows()))
            if use.actions.changed or use.runs.changed:
                self._changed.add(agent)
            elif not (use.actions or use.runs or use.days):
                del self._uses[agent]

    def changed(self, now: Moment) -> list[SavedCount]:
        """The rows that a store has to write: what changed since this was last asked."""
        rows, self._dropped = self._dropped, []
        for agent in self._changed:
            use = self._uses.get(agent)
            if use is None:
                continue
            for name, hour in (("actions", use.count().actions), ("runs", use.runs)):
                rows += (SavedCount(agent, name, second, hour.of(second)) for second in hour.changed)
                hour.changed.clear()
            for number, day in use.days.items():
                rows += (SavedCount(agent, name, number, day.row(name)) for name in day.changed)
                if day.changed:
                    rows.append(SavedCount(agent, "touched", number, day.touched))
                day.changed.clear()
        self._changed.clear()
        ahead = now.wall - self._clock(now)
        if abs(ahead - self._ahead) >= 1:
            self._ahead = round(ahead)
            rows.append(SavedCount(*_CLOCK, self._ahead))
        return rows

    def restore(self, saved: Iterable[SavedCount], now: Moment) -> None:
        """Takes up what an earlier process left. What this version does not know is not counted."""
        rows = [*saved]
        self._ahead = next((row.value for row in rows if row[:3] == _CLOCK), 0)
        latest = max((row.period for row in rows if row.name in ("actions", "runs")), default=0)
        self._offset = max(now.wall - self._ahead, latest) - now.mono
        for agent, name, period, value in rows:
            if agent and value > 0:
                self._restore(self._uses.setdefault(agent, AgentUse()), name, period, value, now)
        for use in self._uses.values():
            use.actions.changed.clear()
            use.runs.changed.clear()

    def _restore(self, use: AgentUse, name: str, period: int, value: int, now: Moment) -> None:
        if name in ("actions", "runs"):
            (use.actions if name == "actions" else use.runs).add(period, value)
            return
        day = use.days.setdefault(period, Day(self._second(now)))
        if name == "spend":
            day.spend = value
        elif name == "touched":
            day.touched = value
        elif name.startswith(_CALLS):
            day.calls[name.removeprefix(_CALLS)] = value

    def _new(self, agent: str) -> AgentUse:
        use = self._uses[agent] = AgentUse()
        return use

    def _at(self, agent: str, hour: SlidingHour, now: Moment) -> SlidingHour:
        hour.leave(self._second(now))
        if hour.changed:
            self._changed.add(agent)
        return hour

    def _clock(self, at: Moment) -> float:
        if self._offset is None:
            self._offset = at.wall - at.mono
        return at.mono + self._offset

    def _second(self, at: Moment) -> int:
        return floor(at.mono + self._offset) if self._offset is not None else floor(self._clock(at))


def seconds_of_day_left(now: Moment) -> float:
    """Until the next UTC midnight."""
    return DAY - now.wall % DAY


def _day(at: Moment) -> int:
    return int(at.wall // DAY)
