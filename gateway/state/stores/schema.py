"""The tables of the SQLite file, version by version: how a new file is made, and how an older one becomes one of today."""

from gateway.state.stores import answers, history

APPLICATION_ID = 0x7467_6174
"""Marks the file as ours ("tgat"), so that another program's file is never written to."""
SCHEMA_VERSION = 4

_FIRST = (
    """CREATE TABLE runs (
        agent TEXT NOT NULL, id TEXT NOT NULL, started REAL NOT NULL, elapsed REAL NOT NULL, as_of REAL NOT NULL,
        tool_calls INTEGER NOT NULL, steps INTEGER, stop_reason TEXT, ended_by TEXT, PRIMARY KEY (agent, id)
    ) WITHOUT ROWID""",
    """CREATE TABLE switches (
        scope TEXT NOT NULL PRIMARY KEY, reason TEXT NOT NULL, who TEXT NOT NULL, since REAL NOT NULL, until REAL,
        cancel_in_flight INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE secrets (log_key BLOB NOT NULL)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
_SECOND = (
    "ALTER TABLE runs ADD COLUMN spend INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN calls TEXT NOT NULL DEFAULT '{}'",
    """CREATE TABLE counts (
        agent TEXT NOT NULL, name TEXT NOT NULL, period INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (agent, name, period)
    ) WITHOUT ROWID""",
    "CREATE TABLE notes (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE journal (covered INTEGER NOT NULL)",
    "INSERT INTO journal VALUES (0)",
)
STEPS = {1: _FIRST, 2: _SECOND, 3: (answers.TABLE,), 4: history.TABLES}
"""The statements that lead to each version from the one before."""


def steps_from(version: int) -> list[str]:
    """The statements that make a file of that version (0: an empty one) one of today's."""
    statements = [statement for to in range(version + 1, SCHEMA_VERSION + 1) for statement in STEPS[to]]
    return [*statements, f"PRAGMA user_version = {SCHEMA_VERSION}"] if statements else []
