"""Which agents are in trouble, by the calls that ended lately: many that did not end well, or money that goes fast. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import takewhile
from operator import itemgetter
from typing import NamedTuple

from gateway.denial import Reason
from gateway.model import Moment, Record
from gateway.observers.following import Meta

WINDOW = 300.0
"""Seconds."""
FEWEST = 3
SHARE = 0.2
"""So many calls, and such a part of all, must have failed before an agent is named: now and then one is refused to any."""
SPEND_SHARE = 0.25
"""Of a day's money within the window: at that pace it lasts for twenty minutes."""
MOST = 10
"""Agents that are named."""

_FINE = frozenset((Reason.OK, Reason.DEDUP))
_STOPPED = frozenset((Reason.KILL_SWITCH, Reason.AGENT_DISABLED, Reason.DRAINING))
"""An operator's doing: these say nothing of the agent."""

Case = tuple[str, str, Reason]
"""Agent, tool, and how its call ended."""
_at: Callable[[Meta], Moment] = itemgetter(Record._fields.index("at"))
_cost: Callable[[Meta], int] = itemgetter(Record._fields.index("cost_micro_usd"))
_case: Callable[[Meta], Case] = itemgetter(*(Record._fields.index(name) for name in ("agent_id", "tool", "reason")))


class Trouble(NamedTuple):
    """One agent's. Of its calls in the window `not_ok` failed, `times` of them in the commonest way; or (`times` 0) it spent `spent`,
    and `latest` is a call of the tool that took most. Money is in micro-USD.
    """

    calls: int
    not_ok: int
    times: int
    spent: int
    max_spend: int | None
    latest: Record

    @property
    def spends(self) -> bool:
        """Nothing fails but its purse."""
        return self.times == 0


class _Doing:
    """One agent's calls."""

    __slots__ = ("calls", "failed", "spent")

    def __init__(self) -> None:
        self.calls = 0
        self.failed: Counter[Case] = Counter()
        self.spent: Counter[str] = Counter()

    def fails(self) -> bool:
        return self.failed.total() >= max(FEWEST, SHARE * self.calls)

    def spends(self, max_spend: int | None) -> bool:
        return max_spend is not None and self.spent.total() >= max(1, SPEND_SHARE * max_spend)


def agents_in_trouble(
    newest_first: Iterable[Meta], now: Moment, max_spend: Callable[[str], int | None]
) -> list[Trouble]:
    """The worst first. `max_spend` is what an agent may spend a day. It is asked on the event loop: a pass for each question, no more."""
    since = now.mono - WINDOW
    kept = list(takewhile(lambda call: _at(call).mono >= since, newest_first))
    agents = _by_agent(kept)
    found = [name for name, doing in agents.items() if doing.fails() or doing.spends(max_spend(name))]
    found.sort(key=lambda name: (-agents[name].failed.total(), -agents[name].spent.total()))
    return [_trouble(name, agents[name], max_spend(name), kept) for name in found[:MOST]]


def _by_agent(calls: list[Meta]) -> dict[str, _Doing]:
    agents: defaultdict[str, _Doing] = defaultdict(_Doing)
    cases: Counter[Case] = Counter(map(_case, calls))
    for case, times in cases.items():
        agent, _, reason = case
        if reason in _STOPPED:
            continue
        doing = agents[agent]
        doing.calls += times
        if reason not in _FINE:
            doing.failed[case] = times
    for call in calls:
        if cost := _cost(call):
            agent, tool, _ = _case(call)
            agents[agent].spent[tool] += cost
    return agents


def _trouble(agent: str, doing: _Doing, max_spend: int | None, calls: list[Meta]) -> Trouble:
    times = 0
    if doing.fails():
        [(case, times)] = doing.failed.most_common(1)
        latest = next(call for call in calls if _case(call) == case)
    else:
        [(tool, _)] = doing.spent.most_common(1)
        latest = next(call for call in calls if _case(call)[:2] == (agent, tool))
    record = Record(*latest)  # type: ignore[arg-type]  # whose beginning it was
    return Trouble(doing.calls, doing.failed.total(), times, doing.spent.total(), max_spend, record)


def says(trouble: Trouble) -> str:
    """What is wrong, to be said behind its name."""
    call = trouble.latest
    if trouble.spends:
        day = (trouble.max_spend or 0) / 1_000_000
        return f"spent ${trouble.spent / 1_000_000:,.2f} of its ${day:,.2f} a day within 5 minutes, most of it on {call.tool}."
    part = "all" if trouble.times == trouble.not_ok else f"{trouble.times:,}"
    return f"{trouble.not_ok:,} of its last {trouble.calls:,} calls did not end ok, {part} of them {call.tool}: {call.reason}."


def why(call: Record) -> str | None:
    """The sentence the agent was told; where the tool answered for itself, that."""
    if call.detail is not None or call.reason in _FINE:
        return call.detail
    if call.reason is Reason.CLIENT_GONE:
        return "The agent left before its answer came."
    return f"The tool itself answered with status {call.status}; its answer was passed on."
