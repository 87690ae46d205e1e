"""Agents' latest calls and sums as rows of the SQLite file: a ring of calls for each agent, and a row a slot of time."""

import json
import sqlite3
from collections.abc import Iterator, Mapping

from gateway.denial import Reason
from gateway.model import Effect
from gateway.state.history import History, PastCall, PastSum

TABLES = (
    """CREATE TABLE agent_calls (
        agent TEXT NOT NULL, place INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, tool TEXT NOT NULL, effect TEXT,
        reason TEXT NOT NULL, args_hash TEXT NOT NULL, spend INTEGER NOT NULL, PRIMARY KEY (agent, place)
    ) WITHOUT ROWID""",
    """CREATE TABLE agent_sums (
        agent TEXT NOT NULL, slot INTEGER NOT NULL, spend INTEGER NOT NULL, ends TEXT NOT NULL, tools TEXT NOT NULL,
        PRIMARY KEY (agent, slot)
    ) WITHOUT ROWID""",
)
KEPT_CALLS = 500
"""Of each agent: the places of its ring."""


def load(db: sqlite3.Connection) -> History:
    """Rows that this version cannot read are left out: no limit hangs on them. Raises sqlite3.Error."""
    calls = db.execute(
        "SELECT agent, number, at, tool, effect, reason, args_hash, spend FROM agent_calls ORDER BY number"
    )
    sums = db.execute("SELECT agent, slot, spend, ends, tools FROM agent_sums ORDER BY slot")
    return History([*_calls(calls)], [*_sums(sums)])


def save(db: sqlite3.Connection, changes: History) -> None:
    """Within a transaction. Raises sqlite3.Error."""
    for table in ("agent_calls", "agent_sums"):
        db.executemany(f"DELETE FROM {table} WHERE agent = ?", ((agent,) for agent in changes.forgotten))  # noqa: S608  names of ours
    db.execute("DELETE FROM agent_sums WHERE slot < ?", (changes.oldest,))
    db.executemany(
        "INSERT OR REPLACE INTO agent_calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((c.agent, c.number % KEPT_CALLS, c.number, c.at, c.tool, c.effect, c.reason, c.args_hash, c.spend) for c in changes.calls),
    )  # fmt: skip
    db.executemany(
        "INSERT OR REPLACE INTO agent_sums VALUES (?, ?, ?, ?, ?)",
        ((s.agent, s.slot, s.spend, json.dumps(s.ends), json.dumps(s.tools)) for s in changes.sums),
    )


def _calls(rows: sqlite3.Cursor) -> Iterator[PastCall]:
    for agent, number, at, tool, effect, reason, args_hash, spend in rows:
        try:
            kind = None if effect is None else Effect(effect)
            yield PastCall(
                str(agent), int(number), float(at), str(tool), kind, Reason(reason), str(args_hash), int(spend)
            )
        except (TypeError, ValueError):
            continue


def _sums(rows: sqlite3.Cursor) -> Iterator[PastSum]:
    for agent, slot, spend, ends, tools in rows:
        try:
            ended = {Reason(reason): number for reason, number in _numbers(ends).items()}
            yield PastSum(str(agent), int(slot), int(spend), ended, _numbers(tools))
        except (TypeError, ValueError, AttributeError):
            continue


def _numbers(text: str) -> Mapping[str, int]:
    return {str(name): int(number) for name, number in json.loads(text).items()}
