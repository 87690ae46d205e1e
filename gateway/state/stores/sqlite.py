"""The embedded store: one SQLite file, one process, mode 0600. What the ledger and the switches mean is not known here."""

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.model import KillSwitch, Reason, RunKey
from gateway.state.run import SavedRun
from gateway.state.stores import LOG_KEY_BYTES, Saved, StoreError
from gateway.state.switches import parse_scope

APPLICATION_ID = 0x7467_6174
"""Marks the file as ours ("tgat"), so that another program's file is never written to."""
SCHEMA_VERSION = 1
LOCK_TIMEOUT = 2.0
"""Seconds to wait for the file: a predecessor that is just ending may still hold it."""

_SCHEMA = (
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
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_ELSEWHERE = "or set GATEWAY_STATE to another sqlite:PATH"
_DAMAGED = "move it away to start with empty counts and no runtime kill switches, " + _ELSEWHERE
_REMEDIES = {
    sqlite3.SQLITE_BUSY: ("is in use by another process", f"stop that gateway, {_ELSEWHERE}"),
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database",
        "set GATEWAY_STATE to another sqlite:PATH, or move the file away if it was this gateway's and is damaged",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _DAMAGED),
    sqlite3.SQLITE_ERROR: ("lacks a table or column", _DAMAGED),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", f"let the gateway's user write to its directory, {_ELSEWHERE}"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        f"let the gateway's user write to it and its directory, {_ELSEWHERE}",
    ),
    sqlite3.SQLITE_FULL: ("cannot grow", f"free space on its volume, {_ELSEWHERE}"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", f"look at its volume, {_ELSEWHERE}"),
}
"""By primary result code of SQLite."""


class SqliteStore:
    """Opening creates what is missing and locks the file until `close`. Raises StoreError."""

    reach = "this instance; survives a restart as long as its state volume does"

    def __init__(self, path: str) -> None:
        # Absolute, since SQLite gives names like ":memory:" a meaning of their own.
        self._path = Path(path).absolute()
        self._create_file()
        with self._explained():
            # Opened by the starting thread, then used by one worker only.
            self._db = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def load(self) -> Saved:
        with self._explained():
            runs = self._db.execute(
                "SELECT agent, id, started, elapsed, as_of, tool_calls, steps, stop_reason, ended_by FROM runs"
            ).fetchall()
            switches = self._db.execute(
                "SELECT scope, reason, who, since, until, cancel_in_flight FROM switches ORDER BY since"
            ).fetchall()
            secret = self._db.execute("SELECT log_key FROM secrets").fetchall()
        try:
            ((log_key,),) = secret
            return Saved([_run(*row) for row in runs], [_switch(*row) for row in switches], bytes(log_key))
        except (TypeError, ValueError):
            raise self._error("holds a row that cannot be read", _DAMAGED) from None

    def save_runs(self, saved: Iterable[SavedRun], forgotten: Iterable[RunKey]) -> None:
        with self._explained(), self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (_row(run) for run in saved)
            )
            self._db.executemany("DELETE FROM runs WHERE agent = ? AND id = ?", forgotten)

    def put_switch(self, switch: KillSwitch) -> None:
        scope, reason, who = str(switch.scope), _text(switch.reason), _text(switch.who)
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO switches VALUES (?, ?, ?, ?, ?, ?)",
                (scope, reason, who, switch.since, switch.until, switch.cancel_in_flight),
            )

    def delete_switch(self, switch: KillSwitch) -> None:
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM switches WHERE scope = ? AND since = ?", (str(switch.scope), switch.since))

    def close(self) -> None:
        self._db.close()

    def _create_file(self) -> None:
        """With its mode from the first moment on. What is there already is not touched before it is known to be ours."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except IsADirectoryError:
            raise self._error("is a directory", "set GATEWAY_STATE to sqlite:PATH of a file") from None
        except OSError as error:
            problem = f"cannot be opened for writing ({os.strerror(error.errno or 0)})"
            raise self._error(problem, f"let the gateway's user write there, {_ELSEWHERE}") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._error("is not a regular file", _ELSEWHERE.removeprefix("or "))
        finally:
            os.close(descriptor)

    def _prepare(self) -> None:
        """Locks, recognises or creates. FULL: a switch that was confirmed holds over loss of power, too."""
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA synchronous = FULL")
        (owner,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != APPLICATION_ID:
            raise self._error("is another program's database", _ELSEWHERE.removeprefix("or "))
        if tables and version != SCHEMA_VERSION:
            known = f"has schema {version}, and this version reads {SCHEMA_VERSION}"
            raise self._error(known, f"use the gateway that wrote it, {_DAMAGED}")
        with suppress(PermissionError):  # another user's file on a shared volume: its mode is that user's affair
            self._path.chmod(0o600)  # SQLite gives the files beside it (-wal) the same mode
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            if not tables:
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute("INSERT INTO secrets VALUES (?)", (secrets.token_bytes(LOG_KEY_BYTES),))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # Errors of the sqlite3 module itself (text that is not UTF-8, say) carry no code.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            problem, remedy = _REMEDIES.get(code & 0xFF, (f"fails ({error})", f"look at its volume, {_ELSEWHERE}"))
            raise self._error(problem, remedy) from None

    def _error(self, problem: str, remedy: str) -> StoreError:
        return StoreError(f"GATEWAY_STATE: {self._path} {problem}: {remedy}")


Row = tuple[str, str, float, float, float, int, int | None, str | None, str | None]


def _row(run: SavedRun) -> Row:
    stop_reason = None if run.stop_reason is None else _text(run.stop_reason)
    return (*run.key, run.started, run.elapsed, run.as_of, run.tool_calls, run.steps, stop_reason, run.ended_by)


def _run(
    agent: str,
    run_id: str,
    started: float,
    elapsed: float,
    as_of: float,
    tool_calls: int,
    steps: int | None,
    stop_reason: str | None,
    ended_by: str | None,
) -> SavedRun:
    # SQLite holds columns to their types only by way of suggestion.
    by = None if ended_by is None else Reason(ended_by)
    times = float(started), float(elapsed), float(as_of)
    return SavedRun(
        RunKey(agent, run_id), *times, int(tool_calls), None if steps is None else int(steps), stop_reason, by
    )


def _switch(scope: str, reason: str, who: str, since: float, until: float | None, cancel_in_flight: int) -> KillSwitch:
    return KillSwitch(
        parse_scope(scope), reason, who, float(since), None if until is None else float(until), bool(cancel_in_flight)
    )


def _text(value: str) -> str:
    """Free text may hold half of a surrogate pair (JSON can spell one), which no database takes: one such word must not keep
    the rest from being saved.
    """
    return value.encode("utf-8", "replace").decode("utf-8")
