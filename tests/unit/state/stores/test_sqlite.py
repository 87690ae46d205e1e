"""What the file keeps, over an orderly end and over kill -9, and the one line it says when it cannot."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gateway.denial import Reason
from gateway.model import RunKey, Source
from gateway.state.ledger import Changes
from gateway.state.run import SavedRun
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.sqlite import SqliteStore
from tests.unit.made_up import a_switch

LIVE = SavedRun(RunKey("scout", "r1"), 1.5, 2.25, 3.75, 4, None, None, None)
ENDED = SavedRun(RunKey("scout", "r2"), 1.5, 2.25, 3.75, 12, 7, "max_tool_calls", Reason.MAX_TOOL_CALLS)
WINDOW = SavedRun(RunKey("scout", ""), 1.5, 2.25, 3.75, 1, None, None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "gateway.db"


def save(store: SqliteStore, runs: Iterable[SavedRun], forgotten: Iterable[RunKey] = ()) -> None:
    store.save(Changes([*runs], [*forgotten], []), 0)


def reopened(store: SqliteStore, path: Path) -> SqliteStore:
    store.close()
    return SqliteStore(str(path))


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as error:
        SqliteStore(str(path))
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"GATEWAY_STATE: {path} ")
    return line.removeprefix(f"GATEWAY_STATE: {path} ")


def test_runs_come_back_as_they_were_saved(path: Path) -> None:
    store = SqliteStore(str(path))
    save(store, [LIVE, ENDED, WINDOW], [])
    store = reopened(store, path)
    assert sorted(store.load().runs) == sorted([LIVE, ENDED, WINDOW])
    store.close()


def test_a_run_saved_again_replaces_itself_and_a_forgotten_one_is_gone(path: Path) -> None:
    store = SqliteStore(str(path))
    save(store, [LIVE, ENDED], [])
    save(store, [LIVE._replace(tool_calls=9)], [ENDED.key, RunKey("nobody", "x")])
    store = reopened(store, path)
    assert store.load().runs == [LIVE._replace(tool_calls=9)]
    store.close()


def test_switches_come_back_with_all_they_said(path: Path) -> None:
    store = SqliteStore(str(path))
    leak = a_switch("writes", "leak in billing", who="ada", since=7.5, until=99.25, cancel_in_flight=True)
    run = a_switch("run:scout/r1", since=8.5)
    store.put_switch(a_switch("writes", "first word"))
    store.put_switch(leak)
    store.put_switch(run)
    store.put_switch(a_switch("all"))
    store.delete_switch(a_switch("all"))
    store = reopened(store, path)
    assert store.load().switches == [leak, run]
    assert {switch.source for switch in store.load().switches} == {Source.RUNTIME}
    store.close()


def test_lifting_a_switch_late_does_not_lift_the_one_that_took_its_place(path: Path) -> None:
    store = SqliteStore(str(path))
    old, new = a_switch("all", since=1.1), a_switch("all", since=2.2)
    store.put_switch(old)
    store.put_switch(new)
    store.delete_switch(old)
    assert store.load().switches == [new]
    store.delete_switch(new)
    assert store.load().switches == []
    store.close()


def test_the_log_key_is_made_once(path: Path) -> None:
    store = SqliteStore(str(path))
    key = store.load().log_key
    assert len(key) == 32
    store = reopened(store, path)
    assert store.load().log_key == key
    store.close()
    other = SqliteStore(str(path) + "2")
    assert other.load().log_key != key
    other.close()


def test_directory_and_files_are_the_gateways_alone(path: Path) -> None:
    store = SqliteStore(str(path))
    store.put_switch(a_switch("all"))
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {"gateway.db": 0o600, "gateway.db-wal": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()
    path.chmod(0o644)
    SqliteStore(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_switch_that_was_confirmed_holds_over_kill_9(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_AFTER_CONFIRMING, str(path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "confirmed\n"
        child.kill()
    store = SqliteStore(str(path))
    assert [str(switch.scope) for switch in store.load().switches] == ["writes"]
    assert [run.key.id for run in store.load().runs] == ["r1"]
    store.close()


KILLED_AFTER_CONFIRMING = """
import sys
from gateway.model import KillSwitch, RunKey, Scope
from gateway.state.ledger import Changes
from gateway.state.run import SavedRun
from gateway.state.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.save(Changes([SavedRun(RunKey("scout", "r1"), 1, 2, 3, 4, None, None, None)], [], []), 0)
store.put_switch(KillSwitch(Scope("all"), "", "ada", 1.0))
store.delete_switch(KillSwitch(Scope("all"), "", "ada", 1.0))
store.put_switch(KillSwitch(Scope("writes"), "leak", "ada", 1.0))
print("confirmed", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_that_the_file_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_AFTER_CONFIRMING, str(path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    monkeypatch.setattr("gateway.state.stores.sqlite.LOCK_TIMEOUT", 0.0)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        assert refusal(path) == (
            "is in use by another process: stop that gateway, or set GATEWAY_STATE to another sqlite:PATH"
        )
        child.kill()
    SqliteStore(str(path)).close()


def write_garbage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 500)


def damage_pages(path: Path) -> None:
    store = SqliteStore(str(path))
    save(store, [LIVE._replace(key=RunKey("scout", f"r{n}")) for n in range(2000)], [])
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)


def change(statement: str) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        store = SqliteStore(str(path))
        save(store, [ENDED], [])
        store.put_switch(a_switch("all"))
        store.close()
        with sqlite3.connect(path) as database:
            database.execute(statement)
        database.close()

    return changed


def someone_elses(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE diary (page TEXT)")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (write_garbage, "is not a SQLite database: set GATEWAY_STATE to another sqlite:PATH"),
        (damage_pages, "is damaged: move it away to start with empty counts"),
        (change("UPDATE runs SET ended_by = 'boredom'"), "holds a row that cannot be read: move it away"),
        (change("UPDATE switches SET scope = 'some'"), "holds a row that cannot be read: move it away"),
        (change("UPDATE switches SET reason = CAST(x'ff' AS TEXT)"), "is damaged: move it away"),
        (change("DELETE FROM secrets"), "holds a row that cannot be read: move it away"),
        (change("DROP TABLE runs"), "lacks a table or column: move it away"),
        (change("UPDATE runs SET elapsed = 'long'"), "holds a row that cannot be read: move it away"),
        (change("UPDATE switches SET until = 'soon'"), "holds a row that cannot be read: move it away"),
        (
            change("PRAGMA user_version = 7"),
            "has schema 7, and this version reads 1 to 4: use the gateway that wrote it",
        ),
        (someone_elses, "is another program's database: set GATEWAY_STATE to another sqlite:PATH"),
        (Path.mkdir, "is a directory: set GATEWAY_STATE to sqlite:PATH of a file"),
        (os.mkfifo, "is not a regular file: set GATEWAY_STATE to another sqlite:PATH"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_cannot_be_used_is_named_with_the_remedy(
    path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(StoreError) as error:
        Keeper(SqliteStore(str(path))).load()
    assert str(error.value).startswith(f"GATEWAY_STATE: {path} {says}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spoil", [write_garbage, someone_elses])
def test_a_file_that_is_not_the_gateways_stays_as_it_is(path: Path, spoil: Callable[[Path], None]) -> None:
    path.parent.mkdir()
    spoil(path)
    path.chmod(0o644)
    before = path.read_bytes()
    refusal(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_bytes() == before


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "gateway.db").startswith("cannot be opened for writing (")


def test_an_empty_file_is_a_new_beginning(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    store = SqliteStore(str(path))
    assert store.load().runs == []
    store.close()


def test_names_that_mean_something_to_sqlite_are_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SqliteStore(":memory:").close()
    assert (tmp_path / ":memory:").stat().st_size > 0


def test_half_a_character_in_a_word_of_the_agents_does_not_keep_the_rest_from_being_saved(path: Path) -> None:
    store = SqliteStore(str(path))
    save(store, [ENDED._replace(stop_reason="\ud800"), LIVE], [])
    store.put_switch(a_switch("all", "\udfff"))
    assert {run.stop_reason for run in store.load().runs} == {"?", None}
    store.close()
