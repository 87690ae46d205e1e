"""What each agent did lately: its last calls, and sums by five minutes for a week. In memory alone, bounded; the log is what lasts."""

from collections import Counter, OrderedDict, deque
from typing import NamedTuple

from gateway.denial import Reason
from gateway.model import Decision, Effect, Record

MOST_AGENTS = 100
"""Those not heard of for the longest time are forgotten first."""
KEPT_CALLS = 500
SLOT = 300
"""Seconds of one sum."""
WEEK = 7 * 86_400
MOST_TOOLS = 100
"""With a count of their own in one sum."""
OTHER = "other"


class Entry(NamedTuple):
    """One call, without anything of its arguments or result."""

    at: float
    """Unix seconds."""
    tool: str
    effect: Effect | None
    reason: Reason
    args_hash: str
    spend: int
    """Micro-USD."""


class Sum:
    """Of one agent, in one slot."""

    __slots__ = ("ends", "spend", "tools")

    def __init__(self) -> None:
        self.ends = Counter[Reason]()
        self.tools = Counter[str]()
        """Calls that were not refused."""
        self.spend = 0


class Page:
    """Of one agent."""

    __slots__ = ("calls", "sums")

    def __init__(self) -> None:
        self.calls: deque[Entry] = deque(maxlen=KEPT_CALLS)
        self.sums: dict[int, Sum] = {}


class Book:
    """An Observer, asked by the governed door. Keeps nothing while `open` is false: who cannot ask needs no answer."""

    def __init__(self) -> None:
        self.open = False
        self._pages: OrderedDict[str, Page] = OrderedDict()

    def call_ended(self, record: Record) -> None:
        if not self.open:
            return
        page = self._page(record.agent_id)
        at = record.at.wall
        page.calls.append(Entry(at, record.tool, record.effect, record.reason, record.args_hash, record.cost_micro_usd))
        slot = int(at // SLOT)
        total = page.sums.get(slot)
        if total is None:
            total = page.sums[slot] = Sum()
            for old in [old for old in page.sums if old < slot - WEEK // SLOT]:
                del page.sums[old]
        total.ends[record.reason] += 1
        total.spend += record.cost_micro_usd
        if record.decision is not Decision.DENY and record.reason is not Reason.DEDUP:
            known = record.tool in total.tools or len(total.tools) < MOST_TOOLS
            total.tools[record.tool if known else OTHER] += 1

    def happened(self, event: object) -> None:
        """Of no concern here."""

    def latest(self, agent: str, limit: int) -> list[Entry]:
        """Newest first."""
        page = self._pages.get(agent)
        return [] if page is None else [*reversed(page.calls)][:limit]

    def sums(self, agent: str, since: float) -> tuple[Counter[Reason], int, Counter[str]]:
        """Ends, micro-USD and calls by tool since then (Unix seconds), to a slot exactly."""
        ends, tools, spend = Counter[Reason](), Counter[str](), 0
        page = self._pages.get(agent)
        for slot, total in page.sums.items() if page is not None else ():
            if (slot + 1) * SLOT > since:
                ends.update(total.ends)
                tools.update(total.tools)
                spend += total.spend
        return ends, spend, tools

    def _page(self, agent: str) -> Page:
        page = self._pages.get(agent)
        if page is None:
            page = self._pages[agent] = Page()
            if len(self._pages) > MOST_AGENTS:
                self._pages.popitem(last=False)
        self._pages.move_to_end(agent)
        return page
