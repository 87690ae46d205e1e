"""What each agent did lately: its last calls, and sums by five minutes for a week. In memory, bounded; a store may keep it, too."""

from collections import Counter, OrderedDict, deque

from gateway.denial import Reason
from gateway.model import Decision, Record
from gateway.state.history import History, PastCall, PastSum

MOST_AGENTS = 100
"""Those not heard of for the longest time are forgotten first."""
KEPT_CALLS = 500
SLOT = 300
"""Seconds of one sum."""
WEEK = 7 * 86_400
MOST_TOOLS = 30
"""With a count of their own in one sum."""
OTHER = "other"


class Sum:
    """What one agent did in one slot of time."""

    __slots__ = ("ends", "spend", "tools")

    def __init__(self) -> None:
        self.ends = Counter[Reason]()
        self.tools = Counter[str]()
        """Calls that were not refused."""
        self.spend = 0


class Page:
    """What is kept of one agent."""

    __slots__ = ("calls", "seen", "sums", "touched", "unsaved")

    def __init__(self) -> None:
        self.calls: deque[PastCall] = deque(maxlen=KEPT_CALLS)
        self.sums: dict[int, Sum] = {}
        self.seen = 0
        """Calls, with those that are forgotten."""
        self.unsaved = 0
        """The number of the first call that no store has been given."""
        self.touched: set[int] = set()
        """Slots whose sum no store has been given."""


class Book:
    """An Observer, asked by the governed door. Keeps nothing new while `open` is false: who cannot ask needs no answer.

    A Historian: `past` is what an earlier process left.
    """

    def __init__(self, past: History | None = None) -> None:
        self.open = False
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._forgotten: set[str] = set()
        """Agents whose rows a store may still have."""
        if past is not None:
            self._restore(past)

    def call_ended(self, record: Record) -> None:
        if not self.open:
            return
        agent, at = record.agent_id, record.at.wall
        page = self._page(agent)
        page.calls.append(
            PastCall(agent, page.seen, at, record.tool, record.effect, record.reason, record.args_hash, record.cost_micro_usd)
        )  # fmt: skip
        page.seen += 1
        slot = int(at // SLOT)
        page.touched.add(slot)
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

    def latest(self, agent: str, limit: int) -> list[PastCall]:
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

    def changes(self) -> History | None:
        """Since the last time; None: nothing."""
        touched = {agent: page for agent, page in self._pages.items() if page.touched}
        if not touched and not self._forgotten:
            return None
        newest = max((slot for page in touched.values() for slot in page.touched), default=0)
        found = History(
            [call for page in touched.values() for call in page.calls if call.number >= page.unsaved],
            [_row(agent, slot, page.sums[slot]) for agent, page in touched.items() for slot in page.touched if slot in page.sums],
            frozenset(self._forgotten),
            max(0, newest - WEEK // SLOT),
        )  # fmt: skip
        self._forgotten.clear()
        for page in touched.values():
            page.unsaved = page.seen
            page.touched.clear()
        return found

    def put_back(self, changes: History) -> None:
        """These changes could not be written: they count as unsaved again."""
        self._forgotten |= changes.forgotten
        for call in changes.calls:
            page = self._pages.get(call.agent)
            if page is not None:
                page.unsaved = min(page.unsaved, call.number)
        for total in changes.sums:
            page = self._pages.get(total.agent)
            if page is not None:
                page.touched.add(total.slot)

    def _restore(self, past: History) -> None:
        """Sums come in the order of their slots: whoever called last is the last to be forgotten."""
        for row in past.sums:
            total = self._page(row.agent).sums[row.slot] = Sum()
            total.spend, total.ends, total.tools = row.spend, Counter(row.ends), Counter(row.tools)
        for call in past.calls:
            page = self._pages.get(call.agent) or self._page(call.agent)
            page.calls.append(call)
            page.seen = page.unsaved = max(page.seen, call.number + 1)

    def _page(self, agent: str) -> Page:
        page = self._pages.get(agent)
        if page is None:
            page = self._pages[agent] = Page()
            if len(self._pages) > MOST_AGENTS:
                self._forgotten.add(self._pages.popitem(last=False)[0])
        self._pages.move_to_end(agent)
        return page


def _row(agent: str, slot: int, total: Sum) -> PastSum:
    return PastSum(agent, slot, total.spend, dict(total.ends), dict(total.tools))
