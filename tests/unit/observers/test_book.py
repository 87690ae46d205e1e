"""What is kept of agents: the last calls and sums by time, within bounds."""

import sqlite3
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect, Moment, Record
from gateway.observers.book import KEPT_CALLS, MOST_AGENTS, MOST_TOOLS, OTHER, SLOT, Book
from gateway.state.history import History
from gateway.state.stores import history

PLAIN_CALL = Record(
    Moment(0.0, 0.0), "c1", None, None, "h", 1.0, 0.0, 2, 2, 10, "a", Door.TOOL_PATH, "t", Effect.READ, Decision.ALLOW, Reason.OK,
    None, 200, 1, (), "0123456789ab",
)  # fmt: skip


def book_of(*told: Record) -> Book:
    book = Book()
    book.open = True
    for record in told:
        book.call_ended(record)
    return book


def at(wall: float, **more: Any) -> Record:
    return PLAIN_CALL._replace(at=Moment(0.0, wall), **more)


def test_sums_begin_with_the_slot_that_the_time_falls_into() -> None:
    book = book_of(at(1000), at(1000 + SLOT), at(1000 + 2 * SLOT, reason=Reason.KILL_SWITCH, decision=Decision.DENY))
    ends, spend, tools = book.sums("a", 1000 + SLOT)
    assert (ends, spend, tools) == ({Reason.OK: 1, Reason.KILL_SWITCH: 1}, 20, {"t": 1})
    assert book.sums("a", 0)[0].total() == 3
    assert book.sums("b", 0)[0].total() == 0


def test_sums_older_than_a_week_are_forgotten() -> None:
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


def kept(book: Book) -> list[object]:
    """All that can be asked of it."""
    agents = ("a", "b", "c")
    return [[book.latest(agent, 1000) for agent in agents], [book.sums(agent, 0) for agent in agents]]


TOLD = st.builds(
    at,
    st.integers(0, 3 * SLOT).map(float),
    agent_id=st.sampled_from("abc"),
    tool=st.sampled_from(["t", "u"]),
    effect=st.sampled_from([*Effect, None]),
    reason=st.sampled_from([*Reason]),
    decision=st.sampled_from(Decision),
)


@given(st.lists(st.lists(TOLD, max_size=4), max_size=5), st.sets(st.integers(0, 4)))
def test_what_was_saved_in_parts_is_the_same_book_again(parts: list[list[Record]], failing: set[int]) -> None:
    book, db = book_of(), sqlite3.connect(":memory:")
    for table in history.TABLES:
        db.execute(table)
    for number, told in enumerate([*parts, []]):
        for record in told:
            ended: Any = record
            book.call_ended(ended)
        changes = book.changes()
        if changes is not None and number in failing and number < len(parts):
            book.put_back(changes)
        elif changes is not None:
            history.save(db, changes)
    assert book.changes() is None
    again = Book(history.load(db))
    assert kept(again) == kept(book)
    assert again.changes() is None
    db.close()


def test_rows_are_bounded_as_the_book_is() -> None:
    db = sqlite3.connect(":memory:")
    for table in history.TABLES:
        db.execute(table)
    book = book_of(*(at(float(n), agent_id=f"a{n}") for n in range(MOST_AGENTS + 5)))
    for n in range(2 * KEPT_CALLS):
        ended: Any = at(float(n))
        book.call_ended(ended)
        if n % 300 == 0:
            history.save(db, book.changes() or History())
    ended = at(1_000_000.0)
    book.call_ended(ended)
    history.save(db, book.changes() or History())
    assert db.execute("SELECT count(*) FROM agent_calls WHERE agent = 'a'").fetchone() == (KEPT_CALLS,)
    assert db.execute("SELECT count(DISTINCT agent) FROM agent_calls").fetchone() == (MOST_AGENTS,)
    assert db.execute("SELECT slot FROM agent_sums").fetchall() == [(1_000_000 // SLOT,)]
    again = Book(history.load(db))
    assert [call.at for call in again.latest("a", 3)] == [1_000_000.0, 999.0, 998.0]
    assert history.KEPT_CALLS == KEPT_CALLS
    db.close()


def test_a_row_of_another_version_is_left_out() -> None:
    db = sqlite3.connect(":memory:")
    for table in history.TABLES:
        db.execute(table)
    history.save(db, book_of(at(1.0), at(2.0)).changes() or History())
    db.execute("UPDATE agent_calls SET reason = 'a word of tomorrow' WHERE number = 0")
    db.execute("UPDATE agent_sums SET ends = '[]'")
    again = Book(history.load(db))
    assert [call.at for call in again.latest("a", 5)] == [2.0]
    db.close()
