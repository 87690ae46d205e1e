"""What is kept of agents: the last calls and sums by time, within bounds."""

from dataclasses import dataclass
from typing import Any

from gateway.denial import Reason
from gateway.model import Decision, Effect, Moment
from gateway.observers.book import KEPT_CALLS, MOST_AGENTS, MOST_TOOLS, OTHER, SLOT, Book


@dataclass
class Told:
    at: Moment
    agent_id: str = "a"
    tool: str = "t"
    effect: Effect = Effect.READ
    reason: Reason = Reason.OK
    args_hash: str = "h"
    cost_micro_usd: int = 10
    decision: Decision = Decision.ALLOW


def book_of(*told: Told) -> Book:
    book = Book()
    book.open = True
    for record in told:
        ended: Any = record
        book.call_ended(ended)
    return book


def at(wall: float, **more: Any) -> Told:
    return Told(Moment(0.0, wall), **more)


def test_sums_begin_with_the_slot_that_the_time_falls_into() -> None:
    book = book_of(at(1000), at(1000 + SLOT), at(1000 + 2 * SLOT, reason=Reason.KILL_SWITCH, decision=Decision.DENY))
    ends, spend, tools = book.sums("a", 1000 + SLOT)
    assert (ends, spend, tools) == ({Reason.OK: 1, Reason.KILL_SWITCH: 1}, 20, {"t": 1})
    assert book.sums("a", 0)[0].total() == 3
    assert book.sums("b", 0)[0].total() == 0


def test_a_week_is_kept() -> None:
    week = 7 * 86_400
    book = book_of(at(1000), at(1000 + SLOT), at(1000 + SLOT + week))
    assert book.sums("a", 0)[0].total() == 2


def test_calls_agents_and_tools_are_bounded() -> None:
    book = book_of(*(at(n, tool=f"t{n}") for n in range(KEPT_CALLS + 5)))
    latest = book.latest("a", 10_000)
    assert (len(latest), latest[0].tool, latest[-1].tool) == (KEPT_CALLS, f"t{KEPT_CALLS + 4}", "t5")
    assert [entry.tool for entry in book.latest("a", 2)] == [f"t{KEPT_CALLS + 4}", f"t{KEPT_CALLS + 3}"]
    crowd = book_of(*(at(10, tool=f"t{n}") for n in range(MOST_TOOLS + 5)))
    tools = crowd.sums("a", 0)[2]
    assert (len(tools), tools[OTHER]) == (MOST_TOOLS + 1, 5)
    many = book_of(
        *(at(10, agent_id=f"a{n}") for n in range(MOST_AGENTS)), at(11, agent_id="a0"), at(12, agent_id="new")
    )
    assert [len(many.latest(agent, 5)) for agent in ("a0", "a1", "new")] == [2, 0, 1]


def test_a_closed_book_keeps_nothing() -> None:
    book = book_of()
    book.open = False
    ended: Any = at(1)
    book.call_ended(ended)
    assert book.latest("a", 5) == []
