"""The embedded store: one SQLite file, one process, mode 0600. What the ledger and the switches mean is not known here."""

import json
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.denial import Reason
from gateway.model import KillSwitch, RunKey
from gateway.state.agents import SavedCount
from gateway.state.history import History
from gateway.state.idempotency import AnswerChanges
from gateway.state.ledger import Changes
from gateway.state.run import SavedRun
from gateway.state.stores import ELSEWHERE, LOG_KEY_BYTES, Saved, StoreError, answers, history
from gateway.state.stores.schema import APPLICATION_ID, SCHEMA_VERSION, steps_from
from gateway.state.switches import parse_scope

LOCK_TIMEOUT = 2.0
"""Seconds to wait for the file: a predecessor that is just ending may still hold it."""
PAGES_FREED = 1000
"""Pages (of 4 KiB) given back to the volume at once, where at least so many are free: a crowd of runs leaves no file of its size."""
LONGEST_WAL = 1 << 20
"""Bytes of the file beside it that stay when it has been worked off."""

_DAMAGED = "move it away to start with empty counts and no runtime kill switches, " + ELSEWHERE
_REMEDIES = {
    sqlite3.SQLITE_BUSY: ("is in use by another process", f"stop that gateway, {ELSEWHERE}"),
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database",
        "set GATEWAY_STATE to another sqlite:PATH, or move the file away if it was this gateway's and is damaged",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _DAMAGED),
    sqlite3.SQLITE_ERROR: ("lacks a table or column", _DAMAGED),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", f"let the gateway's user write to its directory, {ELSEWHERE}"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        f"let the gateway's user write to it and its directory, {ELSEWHERE}",
    ),
    sqlite3.SQLITE_FULL: ("cannot grow", f"free space on its volume, {ELSEWHERE}"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", f"look at its volume, {ELSEWHERE}"),
}
"""By primary result code of SQLite."""


class SqliteStore:
    """Opening creates what is missing and locks the file until `close`. Raises StoreError."""

    reach = "this instance; survives a restart as long as its state volume does"

    def __init__(self, path: str) -> None:
        # Absolute, since SQLite gives names like ":memory:" a meaning of their own.
        self.path = Path(path).absolute()
        self._create_file(self.path)
        self._open()

    def load(self) -> Saved:
        with self._explained():
            runs = self._db.execute(
                "SELECT agent, id, started, elapsed, as_of, tool_calls, steps, stop_reason, ended_by, spend, calls FROM runs"
            ).fetchall()
            switches = self._db.execute(
                "SELECT scope, reason, who, since, until, cancel_in_flight FROM switches ORDER BY since"
            ).fetchall()
            counts = self._db.execute("SELECT agent, name, period, value FROM counts").fetchall()
            notes = self._db.execute("SELECT name, value FROM notes").fetchall()
            single = self._db.execute("SELECT log_key, covered FROM secrets, journal").fetchall()
        try:
            ((log_key, covered),) = single
            with self._explained():
                kept, past = answers.load(self._db), history.load(self._db)
            return Saved(
                [_run(*row) for row in runs],
                [_switch(*row) for row in switches],
                bytes(log_key),
                [_count(*row) for row in counts],
                dict(notes),
                int(covered),
                kept,
                past,
            )
        except (TypeError, ValueError):
            raise self._error("holds a row that cannot be read", _DAMAGED) from None

    def save(self, changes: Changes, covered: int) -> None:
        kept = [count for count in changes.counts if count.value]
        spent = [count[:3] for count in changes.counts if not count.value]
        with self._explained(), self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_row(run) for run in changes.saved),
            )
            self._db.executemany("DELETE FROM runs WHERE agent = ? AND id = ?", changes.forgotten)
            self._db.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", kept)
            self._db.executemany("DELETE FROM counts WHERE agent = ? AND name = ? AND period = ?", spent)
            self._db.execute("UPDATE journal SET covered = ?", (covered,))
        self._shrink()

    def save_answers(self, changes: AnswerChanges) -> None:
        with self._explained(), self._transaction():
            answers.save(self._db, changes)

    def save_history(self, changes: History) -> None:
        with self._explained(), self._transaction():
            history.save(self._db, changes)

    def switching(self, switch: KillSwitch, *, on: bool) -> None:
        """Nobody else changes them."""

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

    def put_note(self, name: str, value: str | None) -> None:
        with self._explained(), self._transaction():
            if value is None:
                self._db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, _text(value)))

    def look(self) -> None:
        """A file that was deleted is written anew, from what this process can still read of it, and that is reported once."""
        try:
            gone = [path for path in (self.path, self._log) if path is not None and not path.exists()]
            if gone:
                self._write_anew()
                what = "was deleted" if self.path in gone else "lost the -wal beside it"
                raise self._error(f"{what} while in use and has been written anew", "keep other programs from it")
            there = self.path.stat()
        except OSError as error:
            raise self._os_error(error) from None
        if (there.st_dev, there.st_ino) != self._identity:
            raise self._error("was replaced while in use", "restart the gateway to take up the file that is there now")

    def close(self) -> None:
        self._db.close()

    def _create_file(self, path: Path) -> None:
        """With its mode from the first moment on. What is there already is not touched before it is known to be ours."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except IsADirectoryError:
            raise self._error("is a directory", "set GATEWAY_STATE to sqlite:PATH of a file") from None
        except OSError as error:
            raise self._os_error(error) from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._error("is not a regular file", ELSEWHERE.removeprefix("or "))
        finally:
            os.close(descriptor)

    def _open(self) -> None:
        with self._explained():
            # Opened by the starting thread, then used by one worker only.
            self._db = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise
        there = self.path.stat()
        self._identity = there.st_dev, there.st_ino

    def _prepare(self) -> None:
        """Locks, recognises or creates. FULL: a switch that was confirmed holds over loss of power, too."""
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA synchronous = FULL")
        (owner,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != APPLICATION_ID:
            raise self._error("is another program's database", ELSEWHERE.removeprefix("or "))
        if tables and version not in range(1, SCHEMA_VERSION + 1):
            known = f"has schema {version}, and this version reads 1 to {SCHEMA_VERSION}"
            raise self._error(known, f"use the gateway that wrote it, {_DAMAGED}")
        with suppress(PermissionError):  # another user's file on a shared volume: its mode is that user's affair
            self.path.chmod(0o600)  # SQLite gives the files beside it (-wal) the same mode
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if version == 1:
            self._db.execute("VACUUM")  # what has tables takes the line above only so
        (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        # What was committed last stands there alone, as long as the file is in use.
        self._log = self.path.with_name(f"{self.path.name}-wal") if mode == "wal" else None
        self._db.execute(f"PRAGMA journal_size_limit = {LONGEST_WAL}")
        with self._transaction():
            for statement in steps_from(version if tables else 0):
                self._db.execute(statement)
            if not tables:
                self._db.execute("INSERT INTO secrets VALUES (?)", (secrets.token_bytes(LOG_KEY_BYTES),))

    def _write_anew(self) -> None:
        """The deleted file is still open here: a copy takes its place, without the write-ahead log of the old one beside it."""
        copy = self.path.with_name(f"{self.path.name}.new")
        copy.unlink(missing_ok=True)
        self._create_file(copy)
        with self._explained():
            self._db.execute("VACUUM INTO ?", (str(copy),))
        self.path.with_name(f"{self.path.name}-wal").unlink(missing_ok=True)
        copy.replace(self.path)
        self._db.close()
        self._open()

    def _shrink(self) -> None:
        with self._explained():
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            if free >= PAGES_FREED:
                # A script runs a statement to its end; `execute` would stop after one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({PAGES_FREED})")

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
            problem, remedy = _REMEDIES.get(code & 0xFF, (f"fails ({error})", f"look at its volume, {ELSEWHERE}"))
            raise self._error(problem, remedy) from None

    def _os_error(self, error: OSError) -> StoreError:
        problem = f"cannot be opened for writing ({os.strerror(error.errno or 0)})"
        return self._error(problem, f"let the gateway's user write there, {ELSEWHERE}")

    def _error(self, problem: str, remedy: str) -> StoreError:
        return StoreError(f"GATEWAY_STATE: {self.path} {problem}: {remedy}")


Row = tuple[str, str, float, float, float, int, int | None, str | None, str | None, int, str]


def _row(run: SavedRun) -> Row:
    stop_reason = None if run.stop_reason is None else _text(run.stop_reason)
    times = run.started, run.elapsed, run.as_of
    calls = json.dumps(dict(run.calls)) if run.calls else "{}"
    return (*run.key, *times, run.tool_calls, run.steps, stop_reason, run.ended_by, run.spend, calls)


def _run(*row: *Row) -> SavedRun:
    agent, run_id, started, elapsed, as_of, tool_calls, steps, stop_reason, ended_by, spend, calls = row
    # SQLite holds columns to their types only by way of suggestion.
    return SavedRun(
        RunKey(agent, run_id),
        float(started),
        float(elapsed),
        float(as_of),
        int(tool_calls),
        None if steps is None else int(steps),
        stop_reason,
        None if ended_by is None else Reason(ended_by),
        int(spend),
        () if calls == "{}" else tuple((str(tool), int(number)) for tool, number in json.loads(calls).items()),
    )


def _count(agent: str, name: str, period: int, value: int) -> SavedCount:
    return SavedCount(agent, name, int(period), int(value))


def _switch(scope: str, reason: str, who: str, since: float, until: float | None, cancel_in_flight: int) -> KillSwitch:
    return KillSwitch(
        parse_scope(scope), reason, who, float(since), None if until is None else float(until), bool(cancel_in_flight)
    )


def _text(value: str) -> str:
    """Free text may hold half of a surrogate pair (JSON can spell one), which no database takes: one such word must not keep
    the rest from being saved.
    """
    return value.encode("utf-8", "replace").decode("utf-8")
