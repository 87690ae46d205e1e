"""Kept answers as rows of the SQLite file. When one is kept or dropped is not known here."""

import json
import sqlite3

from gateway.model import Moment
from gateway.state.idempotency import AnswerChanges, AnswerKey, KeptAnswer

TABLE = """CREATE TABLE answers (
    number INTEGER PRIMARY KEY, agent TEXT NOT NULL, tool TEXT NOT NULL, key TEXT NOT NULL, args_hash TEXT NOT NULL,
    kept REAL NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
)"""


def load(db: sqlite3.Connection) -> list[KeptAnswer]:
    """Raises sqlite3.Error, and TypeError or ValueError for a row that cannot be read."""
    rows = db.execute("SELECT number, agent, tool, key, args_hash, kept, status, headers, body FROM answers")
    return [
        KeptAnswer(
            AnswerKey(agent, tool, key),
            args_hash,
            Moment(0.0, float(kept)),
            int(status),
            tuple((str(name), str(value)) for name, value in json.loads(headers)),
            bytes(body),
            int(number),
        )
        for number, agent, tool, key, args_hash, kept, status, headers, body in rows
    ]


def save(db: sqlite3.Connection, changes: AnswerChanges) -> None:
    """Within a transaction. Raises sqlite3.Error."""
    db.execute("DELETE FROM answers WHERE number < ?", (changes.first,))
    db.executemany(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        # JSON's escapes: a header may hold bytes that are no text, which Python spells as halves of surrogate pairs.
        ((a.number, *a.key, a.args_hash, a.kept.wall, a.status, json.dumps(a.headers), a.body) for a in changes.saved),
    )
