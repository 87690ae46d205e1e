"""What really happened, as the upstream and the caller saw it: the gateway's own counts are held against this. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

WINDOW = 10.0
"""Seconds over which attempts are held against offered calls (SPEC 5)."""
SLACK = 0.5
"""Seconds that a call may be on its way before the upstream sees it."""
DID_NOT_RUN = 429


class Offered(NamedTuple):
    """One call as its caller made it."""

    at: float
    agent: str
    run: str
    tool: str


class Seen(NamedTuple):
    """One request as the upstream received it, and what it did with it."""

    at: float
    call: str
    answer: int
    """The status; 0 for a reset, a hang or a cut body."""


@dataclass
class Oracle:
    """Filled while the chaos lasts, asked at its end."""

    offered: dict[str, Offered] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """Of the gateway, by reason; `no answer` where its process had just been ended, `left` where the caller had."""
    restarts: list[float] = field(default_factory=list)

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
