"""The file over time: notes and counts in it, a file that somebody deletes or replaces, and a week of traffic that leaves it small."""

import shutil
from pathlib import Path

import pytest

from gateway.model import RunKey
from gateway.state.agents import SavedCount
from gateway.state.ledger import Changes, Ledger
from gateway.state.run import SavedRun
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.sqlite import SqliteStore
from tests.unit.made_up import BUDGETS, NOON, a_charge, a_switch, later

RUN = SavedRun(RunKey("scout", "r1"), 1.5, 2.25, 3.75, 4, None, None, None)
NOTHING = Changes([], [], [])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def test_a_note_comes_back_in_its_last_wording(path: Path) -> None:
    store = SqliteStore(str(path))
    store.put_note("candidate", "first")
    store.put_note("candidate", "rolled back \ud800")
    store.put_note("other", "gone")
    store.put_note("other", None)
    store.put_note("never there", None)
    store.close()
    store = SqliteStore(str(path))
    assert store.load().notes == {"candidate": "rolled back ?"}
    store.close()


def test_a_count_replaces_itself_and_nothing_counted_is_no_row(path: Path) -> None:
    store = SqliteStore(str(path))
    actions, spend = SavedCount("scout", "actions", 7, 3), SavedCount("scout", "spend", 20_000, 5)
    store.save(Changes([], [], [actions, spend]), 1)
    store.save(Changes([], [], [actions._replace(value=4), spend._replace(value=0)]), 2)
    saved = store.load()
    assert (saved.counts, saved.covered) == ([actions._replace(value=4)], 2)
    store.close()


def test_a_file_deleted_while_in_use_is_reported_and_written_anew_with_all_it_held(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.state.stores.sqlite.LOCK_TIMEOUT", 0.0)
    store = SqliteStore(str(path))
    store.save(Changes([RUN], [], []), 5)
    store.put_switch(a_switch("all"))
    key = store.load().log_key
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="was deleted while in use and has been written anew"):
        store.look()
    store.look()
    store.save(Changes([RUN._replace(tool_calls=9)], [], []), 6)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"gateway.db", "gateway.db-wal"}
    with pytest.raises(StoreError, match="is in use"):  # the new file is locked like the old one
        SqliteStore(str(path))
    store.close()
    store = SqliteStore(str(path))
    saved = store.load()
    assert (saved.runs, saved.covered, saved.log_key) == ([RUN._replace(tool_calls=9)], 6, key)
    assert [str(switch.scope) for switch in saved.switches] == ["all"]
    store.close()


def test_the_file_beside_it_deleted_while_in_use_takes_nothing_along(path: Path, tmp_path: Path) -> None:
    SqliteStore(str(path)).close()
    store = SqliteStore(str(path))
    store.look()
    store.save(Changes([RUN], [], []), 5)
    path.with_name("gateway.db-wal").unlink()
    with pytest.raises(StoreError, match="lost the -wal beside it while in use and has been written anew"):
        store.look()
    store.look()
    store.save(Changes([RUN._replace(tool_calls=9)], [], []), 6)
    found = tmp_path / "after kill -9"
    shutil.copytree(path.parent, found, ignore=lambda *_: {found.name})
    left = SqliteStore(str(found / path.name))
    assert (left.load().runs, left.load().covered) == ([RUN._replace(tool_calls=9)], 6)
    left.close()
    store.close()


def test_a_folder_deleted_while_in_use_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "var" / "gateway.db"
    store = SqliteStore(str(path))
    store.save(Changes([RUN], [], []), 5)
    shutil.rmtree(path.parent)
    with pytest.raises(StoreError, match="written anew"):
        store.look()
    store.look()
    assert store.load().runs == [RUN]
    store.close()


def test_a_file_that_took_its_place_is_not_overwritten(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(path))
    other = tmp_path / "backup.db"
    SqliteStore(str(other)).close()
    backup = other.read_bytes()
    other.replace(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="was replaced while in use: restart the gateway to take up the file"):
            store.look()
    assert path.read_bytes() == backup
    store.close()


async def test_a_week_of_traffic_leaves_the_file_as_small_as_a_day(path: Path) -> None:
    store = SqliteStore(str(path))
    store._db.execute("PRAGMA synchronous = OFF")  # so that the week is over soon
    keeper, ledger = Keeper(store), Ledger()
    keeper.begin(ledger, keeper.load(), NOON)
    pages_after_day, largest = [], 0
    for minutes in range(0, 7 * 24 * 60, 10):
        now = later(minutes * 60.0)
        for number in range(20):
            key = RunKey(f"agent-{number % 3}", f"run-{minutes * 7919 % 100003}-{number}")
            ledger.reserve(a_charge(key, now=now, spend=5, tool=f"tool.{number}"), BUDGETS)
        ledger.expire(now, lambda agent: BUDGETS)
        await keeper.flush(ledger, now)
        largest = max(largest, size_of(path.parent))
        if minutes % (24 * 60) == 0:
            pages_after_day += store._db.execute("PRAGMA page_count").fetchone()
    await keeper.close(ledger, later(7 * 24 * 3600.0))
    assert size_of(path.parent) < 600_000
    assert largest < 7_500_000, "with the write-ahead log, which is worked off after 4 MB"
    assert max(pages_after_day[2:]) < 1.2 * pages_after_day[2]
    saved = SqliteStore(str(path))
    assert len(saved.load().runs) < 24 * 6 * 20 + 100
    assert len([*saved.load().counts]) < 3 * 4 * 30 + 400
    saved.close()


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_room_that_a_crowd_of_runs_took_is_given_back(path: Path) -> None:
    store = SqliteStore(str(path))
    crowd = [RUN._replace(key=RunKey("scout", f"run-{number:060d}")) for number in range(50_000)]
    store.save(Changes(crowd, [], []), 1)
    store.save(Changes([], [run.key for run in crowd], []), 2)
    for number in range(3, 9):
        store.save(NOTHING, number)
    store.close()
    assert path.stat().st_size < 5_000_000
