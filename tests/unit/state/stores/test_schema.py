"""A file of an earlier version is taken over as it is; one of a later version is left alone."""

import sqlite3
from pathlib import Path

import pytest

from gateway.denial import Reason
from gateway.model import RunKey
from gateway.state.agents import SavedCount
from gateway.state.ledger import Changes
from gateway.state.run import SavedRun
from gateway.state.stores import StoreError
from gateway.state.stores.schema import SCHEMA_VERSION
from gateway.state.stores.sqlite import SqliteStore
from tests.unit.made_up import a_switch

FIRST = """
CREATE TABLE runs (
    agent TEXT NOT NULL, id TEXT NOT NULL, started REAL NOT NULL, elapsed REAL NOT NULL, as_of REAL NOT NULL,
    tool_calls INTEGER NOT NULL, steps INTEGER, stop_reason TEXT, ended_by TEXT, PRIMARY KEY (agent, id)
) WITHOUT ROWID;
CREATE TABLE switches (
    scope TEXT NOT NULL PRIMARY KEY, reason TEXT NOT NULL, who TEXT NOT NULL, since REAL NOT NULL, until REAL,
    cancel_in_flight INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE secrets (log_key BLOB NOT NULL);
PRAGMA application_id = 1952932212;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
INSERT INTO secrets VALUES (zeroblob(32));
INSERT INTO runs VALUES ('scout', 'r1', 1.5, 2.25, 3.75, 12, 7, 'max_tool_calls', 'max_tool_calls');
INSERT INTO switches VALUES ('all', 'drill', 'ada', 7.5, NULL, 1);
"""
"""As the first version made and filled it."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def write(path: Path, script: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(script)
    database.close()


def number(path: Path, pragma: str) -> int:
    database = sqlite3.connect(path)
    (value,) = database.execute(f"PRAGMA {pragma}").fetchone()
    database.close()
    assert isinstance(value, int)
    return value


def test_a_file_of_the_first_version_keeps_its_runs_switches_and_key(path: Path) -> None:
    write(path, FIRST)
    store = SqliteStore(str(path))
    saved = store.load()
    run = SavedRun(RunKey("scout", "r1"), 1.5, 2.25, 3.75, 12, 7, "max_tool_calls", Reason.MAX_TOOL_CALLS)
    assert saved.runs == [run]
    assert saved.switches == [a_switch("all", "drill", who="ada", since=7.5, cancel_in_flight=True)]
    assert saved.log_key == bytes(32)
    assert (saved.counts, saved.notes, saved.covered) == ([], {}, 0)
    spent = run._replace(spend=5, calls=(("search.read", 2),))
    store.save(Changes([spent], [], [SavedCount("scout", "actions", 9, 1)]), 3)
    store.close()
    store = SqliteStore(str(path))
    saved = store.load()
    assert (saved.runs, saved.counts, saved.covered) == ([spent], [SavedCount("scout", "actions", 9, 1)], 3)
    store.close()


def test_old_files_and_new_ones_come_to_the_same_form(path: Path, tmp_path: Path) -> None:
    write(path, FIRST)
    fresh = tmp_path / "fresh.db"
    for file in (path, fresh):
        SqliteStore(str(file)).close()
    for pragma in ("user_version", "application_id", "auto_vacuum"):
        assert number(path, pragma) == number(fresh, pragma)
    assert number(path, "user_version") == SCHEMA_VERSION
    assert number(path, "auto_vacuum") == 2, "incremental"
    assert columns(path) == columns(fresh)


def columns(path: Path) -> list[tuple[object, ...]]:
    database = sqlite3.connect(path)
    found = database.execute(
        "SELECT m.name, c.name, c.type, c.pk FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
    ).fetchall()
    database.close()
    return sorted(found)


def test_a_file_that_could_not_be_taken_over_is_as_it_was(path: Path) -> None:
    write(path, FIRST + "CREATE TABLE notes (page TEXT);")
    with pytest.raises(StoreError):
        SqliteStore(str(path))
    assert number(path, "user_version") == 1
    write(path, "DROP TABLE notes")
    store = SqliteStore(str(path))
    assert len(store.load().runs) == 1
    store.close()


@pytest.mark.parametrize("version", [-1, 0, SCHEMA_VERSION + 1, 99])
def test_a_later_version_or_none_is_refused(path: Path, version: int) -> None:
    SqliteStore(str(path)).close()
    write(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        SqliteStore(str(path))
    known = f"has schema {version}, and this version reads 1 to {SCHEMA_VERSION}: use the gateway that wrote it"
    assert str(error.value).startswith(f"GATEWAY_STATE: {path} {known}")
    assert path.read_bytes() == before
