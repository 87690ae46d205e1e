"""Which agents are in trouble, by the calls that ended lately: many that did not end well, or money that goes fast. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.denial import Reason
from gateway.model import Moment, Record

WINDOW = 300.0
"""Seconds."""
FEWEST = 3
SHARE = 0.2
"""So many calls, and such a part of all, must have failed before an agent is named: now and then one is refused to any."""
SPEND_SHARE = 0.25
"""Of a day's money within the window: at that pace it lasts for twenty minutes."""

_FINE = frozenset((Reason.OK, Reason.DEDUP))
_STOPPED = frozenset((Reason.KILL_SWITCH, Reason.AGENT_DISABLED, Reason.DRAINING))
"""An operator's doing: these say nothing of the agent."""


class Trouble(NamedTuple):
    """One agent's. Of its calls in the window `not_ok` failed, `times` of them in the commonest way; or it spent `spent`, and
    `latest` is a call of the tool that took most. Money is in micro-USD.
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


@dataclass(slots=True)
class _Agent:
    calls: int = 0
    failed: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    latest: dict[tuple[Reason, str], Record] = field(default_factory=dict)

    def take(self, call: Record) -> None:
        fine = call.reason in _FINE
        case = (Reason.OK if fine else call.reason, call.tool)
        self.calls += 1
        self.latest.setdefault(case, call)
        if call.cost_micro_usd:
            self.spent[call.tool] += call.cost_micro_usd
        if not fine:
            self.failed[case] += 1

    def trouble(self, max_spend: int | None) -> Trouble | None:
        not_ok, spent = self.failed.total(), self.spent.total()
        if not_ok >= FEWEST and not_ok >= SHARE * self.calls:
            [(case, times)] = self.failed.most_common(1)
            return Trouble(self.calls, not_ok, times, spent, max_spend, self.latest[case])
        if max_spend is not None and spent and spent >= SPEND_SHARE * max_spend:
            [(tool, _)] = self.spent.most_common(1)
            latest = self.latest.get((Reason.OK, tool)) or next(iter(self.latest.values()))
            return Trouble(self.calls, not_ok, 0, spent, max_spend, latest)
        return None


def agents_in_trouble(
    newest_first: Iterable[Record], now: Moment, max_spend: Callable[[str], int | None]
) -> list[Trouble]:
    """The worst first. `max_spend` is what an agent may spend a day."""
    agents: dict[str, _Agent] = {}
    for call in newest_first:
        if call.at.mono < now.mono - WINDOW:
            break
        if call.reason not in _STOPPED:
            agents.setdefault(call.agent_id, _Agent()).take(call)
    found = [agent.trouble(max_spend(name)) for name, agent in agents.items()]
    return sorted((one for one in found if one is not None), key=lambda one: (-one.not_ok, -one.spent))


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
