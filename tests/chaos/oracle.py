"""What really happened, as the upstream and the caller saw it: the gateway's own counts are held against this. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

WINDOW = 10.0
"""Seconds over which attempts are held against offered calls (SPEC 5)."""
SLACK = 0.5
"""Seconds that a call may be on its way before the upstream sees it."""
DID_NOT_RUN = 429
FLUSHED = 3.0
"""Seconds after which an answer is surely written down, and a line of the log surely read: both are done once a second or more often."""
LARGEST_KEPT = 256 * 1024
MAY_HAVE_WAITED = frozenset(
    {
        "agent_disabled",
        "circuit_open",
        "client_gone",
        "draining",
        "kill_switch",
        "overloaded",
        "rate_limited",
        "tool_timeout",
    }
)
"""How a call may end that was charged, never sent, and given back."""


class Offered(NamedTuple):
    """One call as its caller made it."""

    at: float
    agent: str
    run: str
    tool: str
    key: str = ""
    """Its Idempotency-Key."""


class Seen(NamedTuple):
    """One request as the upstream received it, and what it did with it."""

    at: float
    call: str
    answer: int
    """The status; 0 for a reset, a hang or a cut body."""
    path: str = ""


class Heard(NamedTuple):
    """What the caller was told, and when."""

    at: float
    reason: str
    """The gateway's; `no answer` where its process had just been ended, `left` where the caller had."""
    kept: str = ""
    """Of a whole 200 that is to be kept for repeats: the call that the upstream had performed for it."""


class Line(NamedTuple):
    """What the gateway's log says of a call."""

    reason: str
    attempts: int
    charged: int
    """Micro-USD; 0 where nothing was charged."""


class Down(NamedTuple):
    """A time without a process."""

    begin: float
    end: float
    killed: bool


@dataclass
class Oracle:
    """Filled while the chaos lasts, asked at its end."""

    offered: dict[str, Offered] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    restarts: list[float] = field(default_factory=list)
    downs: list[Down] = field(default_factory=list)
    full: list[tuple[float, float]] = field(default_factory=list)
    """When the disk was full."""
    faults: list[str] = field(default_factory=list)
    """What was seen to be wrong as it happened."""

    @property
    def answers(self) -> Counter[str]:
        return Counter(heard.reason for heard in self.heard.values())

    def performed(self, agent: str | None = None) -> dict[str, set[str]]:
        """Calls that the upstream saw at all, by run."""
        runs: dict[str, set[str]] = defaultdict(set)
        for seen in self.seen:
            call = self.offered[seen.call]
            if agent is None or call.agent == agent:
                runs[call.run].add(seen.call)
        return runs

    def repeated_writes(self, writes: Iterable[str]) -> list[str]:
        """Calls of these tools that may have run more than once."""
        ran = Counter(seen.call for seen in self.seen if seen.answer != DID_NOT_RUN)
        tools = frozenset(writes)
        return [call for call, times in ran.items() if times > 1 and self.offered[call].tool in tools]

    def performed_again(self) -> list[str]:
        """Keys whose call was performed although its answer had been heard and written down before."""
        answered: dict[str, float] = {}
        for call, heard in self.heard.items():
            if heard.kept and (key := self.offered[call].key):
                answered[key] = min(heard.at, answered.get(key, inf))
        found = []
        for seen in self.seen:
            key = self.offered[seen.call].key
            if key in answered and answered[key] < seen.at and not self._forgotten(answered[key], seen.at):
                found.append(f"{seen.call} was performed although {key} had been answered")
        return found

    def _forgotten(self, kept: float, until: float) -> bool:
        """May an answer be lost to an end of the process that came too soon after it, or while it could not be written?"""
        return any(
            kept <= down.begin + SLACK and down.begin <= until and self._unwritten(kept, down) for down in self.downs
        )

    def _unwritten(self, kept: float, down: Down) -> bool:
        """Was there no time in which it would have been written? An orderly end is one, unless the disk is full just then."""
        before = sorted(full for full in self.full if full[0] <= down.begin)
        for begin, end in before:
            if begin - kept >= FLUSHED:
                return False
            kept = max(kept, end)
        full = bool(before) and down.begin <= before[-1][1]
        return (down.killed or full) and down.begin - kept < FLUSHED

    def perhaps_not_given_back(self) -> list[str]:
        """Calls whose charge was given back while the disk was full, by a process that was killed before there was room again: the
        charge is on the disk, that it was given back is not.
        """
        found = []
        for call, line in self.lines.items():
            heard = self.heard.get(call)
            if line.charged or heard is None or not (line.attempts or line.reason in MAY_HAVE_WAITED):
                continue
            in_vain = any(begin - SLACK <= heard.at <= end + FLUSHED for begin, end in self.full)
            if in_vain and self._forgotten(heard.at, inf):
                found.append(call)
        return found

    def unaccounted(self) -> tuple[list[str], list[str]]:
        """Calls of which the log says nothing: those that the end of a process can explain, and the others."""
        explained, others = [], []
        for call, offered in self.offered.items():
            if call in self.lines:
                continue
            heard = self.heard.get(call)
            if heard and any(down.killed and down.begin <= offered.at and heard.at <= down.end for down in self.downs):
                continue  # there was nobody to call
            until = inf if heard is None else heard.at + FLUSHED
            if any(offered.at <= down.end and down.begin <= until for down in self.downs):
                explained.append(call)
            elif heard is None or heard.reason != "left":  # who leaves at once may never have been heard
                others.append(call)
        return explained, others

    def storms(self, tools: Iterable[str]) -> list[str]:
        """Windows in which the upstream met more than 1.2 attempts an offered call, and 3 for each life of the gateway's process."""
        wanted = frozenset(tools)
        attempts = sorted(seen.at for seen in self.seen if self.offered[seen.call].tool in wanted)
        offered = sorted(call.at for call in self.offered.values() if call.tool in wanted)
        found, first, oldest, newest = [], 0, 0, 0
        for number, at in enumerate(attempts):
            while attempts[first] <= at - WINDOW:
                first += 1
            while oldest < len(offered) and offered[oldest] <= at - WINDOW - SLACK:
                oldest += 1
            while newest < len(offered) and offered[newest] <= at:
                newest += 1
            lives = 1 + sum(at - WINDOW - SLACK < restart <= at for restart in self.restarts)
            made, bound = number + 1 - first, 1.2 * (newest - oldest) + 3 * lives
            if made > bound:
                found.append(f"{made} attempts in 10 s where {newest - oldest} calls were offered")
        return found
