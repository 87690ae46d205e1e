"""/v1/agents: an agent's stop, its latest calls, and what it did by the hour, day or week."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from aiohttp.web_response import Response

from gateway.denial import Reason
from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import ADMIN_KEY, Caller, Json, answered, instant, unprocessable
from gateway.doors.governed.governance import Governance
from gateway.doors.governed.results import BLOCKED, EXECUTED, RISKS, verdict_of
from gateway.doors.governed.shelf import FullError
from gateway.model import Effect, Moment, Scope
from gateway.state.counts import Counts
from gateway.state.stores import StoreError

PERIODS = {"hour": 3600, "day": 86_400, "week": 7 * 86_400}
MOST_LINES = 500
USUAL_LINES = 100
LONGEST_REASON = 500
TOP_TOOLS = 10


class Call(Protocol):
    """What the book keeps of one (observers/book.py)."""

    @property
    def at(self) -> float: ...

    @property
    def tool(self) -> str: ...

    @property
    def effect(self) -> Effect | None: ...

    @property
    def reason(self) -> Reason: ...

    @property
    def args_hash(self) -> str: ...

    @property
    def spend(self) -> int: ...


class Sums(NamedTuple):
    """What an agent did in some time."""

    ends: Counter[Reason]
    spend: int
    tools: Counter[str]


class Book(Protocol):
    """What was seen of agents (observers/book.py)."""

    def latest(self, agent: str, limit: int) -> Sequence[Call]: ...

    def sums(self, agent: str, since: float) -> tuple[Counter[Reason], int, Counter[str]]: ...


class AgentControl:
    """Constructed once, by the door."""

    def __init__(
        self, governance: Governance, counts: Counts, book: Book, reach: str, clock: Callable[[], Moment]
    ) -> None:
        self._governance = governance
        self._counts = counts
        self._book = book
        self._reach = reach
        self._clock = clock

    async def disable(self, arrival: Arrival, caller: Caller, agent: str, document: Json) -> Response:
        """In effect before this waits for the disk. Raises Refusal where the reason cannot be shown."""
        reason, reach = _reason_of(document), self._reach
        async with self._governance.lock:
            held = self._governance.disabled(agent)
            if held is not None and held.who == ADMIN_KEY and not caller.administrates:
                return answered(arrival, {**self._status(agent), "reach": reach})  # what others hold stays theirs
            try:
                await self._governance.disable(agent, reason, caller.by)
            except FullError as error:
                raise unprocessable(str(error)) from None
            except StoreError:
                reach = "this instance; LOST at a restart, since it could not be written"
        return answered(arrival, {**self._status(agent), "reach": reach})

    async def enable(self, arrival: Arrival, caller: Caller, agent: str, document: Json) -> Response:
        """Lifts what `disable` set. What was set with the admin_key takes it. Raises Refusal."""
        _reason_of(document)
        reach = self._reach
        async with self._governance.lock:
            held = self._governance.disabled(agent)
            if held is not None and held.who == ADMIN_KEY and not caller.administrates:
                raise unprocessable("the agent was disabled with governed.admin_key, and it takes that to enable it")
            try:
                await self._governance.enable(agent)
            except StoreError:
                reach = "this instance; it COMES BACK at a restart, since that could not be written"
        return answered(arrival, {**self._status(agent), "reach": reach})

    def logs(self, arrival: Arrival, agent: str, limit: str | None) -> Response:
        """Newest first, of all doors, without arguments. Raises Refusal."""
        if limit is not None and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_LINES):
            raise unprocessable(f"limit must be a whole number from 1 to {MOST_LINES}")
        calls = self._book.latest(agent, USUAL_LINES if limit is None else int(limit))
        return answered(arrival, [self._line(arrival, agent, call) for call in calls])

    def metrics(self, arrival: Arrival, agent: str, period: str | None) -> Response:
        """Of all doors, to five minutes exactly. Raises Refusal."""
        period = period or "day"
        if period not in PERIODS:
            raise unprocessable(f"period must be one of {', '.join(PERIODS)}")
        sums = Sums(*self._book.sums(agent, self._clock().wall - PERIODS[period]))
        decided = Counter[str]()
        for reason, calls in sums.ends.items():
            decided[verdict_of(reason).decision] += calls
        document = {
            "agent_id": agent,
            "period": period,
            "total_actions": decided[EXECUTED],
            "blocked_actions": decided[BLOCKED],
            "total_spend_usd": sums.spend / 1_000_000,
            "top_tools": [{"tool": tool, "count": count} for tool, count in sums.tools.most_common(TOP_TOOLS)],
        }
        return answered(arrival, document)

    def _line(self, arrival: Arrival, agent: str, call: Call) -> Json:
        """The rule that decided on the tool is the present policy's."""
        rule = arrival.snapshot.plan(agent, call.tool).rule if call.reason is Reason.TOOL_NOT_ALLOWED else ""
        return {
            "ts": call.at,
            "agent_id": agent,
            "tool": call.tool,
            **verdict_of(call.reason, rule)._asdict(),
            "risk_level": None if call.effect is None else RISKS[call.effect],
            "args_hash": call.args_hash,
            "spend_usd": call.spend / 1_000_000,
        }

    def _status(self, agent: str) -> Json:
        """By whatever source: an agent is enabled where nothing holds it."""
        held = self._counts.switches.holding(Scope("agent", agent), self._clock())
        switch = held[0] if held else None
        return {
            "agent_id": agent,
            "is_enabled": switch is None,
            "disabled_reason": None if switch is None else switch.reason,
            "disabled_at": None if switch is None else instant(switch.since),
        }


def _reason_of(document: Json) -> str:
    reason = document.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise unprocessable(f"reason must be printable text of at most {LONGEST_REASON} characters")
    return reason
