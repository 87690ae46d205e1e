"""What is confirmed is written, what failed is written later, and no store holds the loop up."""

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.model import Moment, RunKey, Scope
from gateway.state.ledger import Changes, Ledger
from gateway.state.stores import Store, StoreError
from gateway.state.stores.keeper import Keeper, open_store
from gateway.state.stores.memory import MemoryStore
from gateway.state.stores.sqlite import SqliteStore
from tests.unit.made_up import BUDGETS, NOON, a_charge, a_switch, later
from tests.unit.state.stores.full_disk import files_of_at_most

RUN, OTHER = RunKey("scout", "r1"), RunKey("scout", "r2")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'gateway.db'}"


class Disk(SqliteStore):
    """The real store on a disk that can be full, and slow, when a test says so."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.full = False
        self.tries = 0
        self.fails_at = 0
        self.writes: list[set[str]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def save(self, changes: Changes, covered: int) -> None:
        self.go_on.wait(10)
        self.tries += 1
        full = self.full or self.tries == self.fails_at
        # SQLite's own limit: the failure is a real one.
        self._db.execute(f"PRAGMA max_page_count = {1 if full else 2**30}")
        many = [run._replace(key=RunKey("x" * 9000, run.key.id)) for run in changes.saved] if full else changes.saved
        super().save(changes._replace(saved=many), covered)
        self.writes.append({run.key.id for run in many})


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(str(tmp_path / "gateway.db"))


def begun(store: Store, now: Moment = NOON) -> tuple[Keeper, Ledger]:
    """As at the start of a process."""
    keeper, ledger = Keeper(store), Ledger()
    keeper.begin(ledger, keeper.load(), now)
    return keeper, ledger


def saved_in(url: str) -> dict[str, int]:
    """What the next process would find."""
    store = open_store(url)
    runs = {run.key.id: run.tool_calls for run in store.load().runs}
    store.close()
    return runs


def journal_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.journal.*"))


def after_a_kill(url: str) -> dict[str, int]:
    """What the next process counts with, journal included."""
    keeper, ledger = begun(open_store(url))
    keeper._store.close()
    return {run.key.id: run.tool_calls for run in ledger.runs()}


def is_up(keeper: Keeper) -> bool:
    assert keeper.up == (keeper.problem is None)
    return keeper.up


def charged(ledger: Ledger, *keys: RunKey) -> None:
    for key in keys:
        ledger.reserve(a_charge(key), BUDGETS)


async def test_an_orderly_end_keeps_every_run_and_the_time_it_has_used(url: str) -> None:
    keeper, ledger = begun(open_store(url))
    charged(ledger, RUN, RUN, OTHER)
    await keeper.flush(ledger, NOON)
    await keeper.close(ledger, later(50))
    again, after = begun(open_store(url), later(55))
    run = after.find(RUN, BUDGETS, later(55))
    assert run is not None
    assert (run.tool_calls, run.elapsed(later(55))) == (2, 55)
    # The clock was set back by an hour meanwhile: what was used until the end stays used.
    back = Ledger()
    back.restore(again.load().runs, later(-3600))
    run = back.find(RUN, BUDGETS, later(-3600))
    assert run is not None
    assert run.elapsed(later(-3600)) == 50
    await again.close(Ledger(), later(55))


async def test_only_runs_that_changed_are_written(disk: Disk) -> None:
    keeper, ledger = begun(disk)
    charged(ledger, RUN, OTHER)
    await keeper.flush(ledger, NOON)
    charged(ledger, OTHER)
    await keeper.flush(ledger, NOON)
    await keeper.flush(ledger, NOON)
    assert disk.writes == [{"r1", "r2"}, {"r2"}]
    await keeper.close(ledger, NOON)


async def test_a_forgotten_run_leaves_the_file(url: str) -> None:
    keeper, ledger = begun(open_store(url))
    charged(ledger, RUN)
    ledger.finish(RUN, "finish", NOON)
    await keeper.flush(ledger, NOON)
    ledger.expire(later(24 * 3600), lambda agent: BUDGETS)
    await keeper.close(ledger, later(24 * 3600))
    assert saved_in(url) == {}


async def test_a_full_disk_is_reported_and_what_it_refused_is_written_once_there_is_room(disk: Disk, url: str) -> None:
    keeper, ledger = begun(disk)
    charged(ledger, RUN, OTHER)
    disk.full = True
    await keeper.flush(ledger, NOON)
    assert not is_up(keeper)
    assert "cannot grow: free space on its volume" in str(keeper.problem)
    disk.full = False
    charged(ledger, OTHER)
    await keeper.flush(ledger, NOON)
    assert is_up(keeper)
    await keeper.close(ledger, NOON)
    assert saved_in(url) == {"r1": 1, "r2": 2}


async def test_a_problem_is_told_once_and_so_is_its_end(disk: Disk) -> None:
    told: list[str | None] = []
    keeper, ledger = Keeper(disk, told.append), Ledger()
    keeper.begin(ledger, keeper.load(), NOON)
    disk.full = True
    for _ in range(3):
        charged(ledger, RUN)
        await keeper.flush(ledger, NOON)
    disk.full = False
    for _ in range(3):
        await keeper.flush(ledger, NOON)
    (problem, end) = told
    assert "cannot grow: free space on its volume" in str(problem)
    assert end is None
    await keeper.close(ledger, NOON)


async def test_while_the_store_fails_the_journal_goes_on_in_one_file(disk: Disk, url: str, tmp_path: Path) -> None:
    keeper, ledger = begun(disk)
    disk.full = True
    for number in range(5):
        assert ledger.reserve(a_charge(RUN), BUDGETS).durable
        await keeper.flush(ledger, later(number))
    assert journal_files(tmp_path) == ["gateway.db.journal.1", "gateway.db.journal.2"], "not one more with each attempt"
    disk._db.close()  # as if killed
    assert after_a_kill(url) == {"r1": 5}


async def test_a_start_on_a_full_disk_takes_nothing_down_until_there_is_room(url: str) -> None:
    keeper, ledger = Keeper(open_store(url)), Ledger()
    saved = keeper.load()
    with files_of_at_most(4):
        keeper.begin(ledger, saved, NOON)
    assert "cannot grow: free space on its volume" in str(keeper.problem)
    assert not ledger.reserve(a_charge(RUN), BUDGETS).durable
    for _ in range(2):
        await keeper.flush(ledger, NOON)
    assert is_up(keeper)
    assert ledger.reserve(a_charge(RUN), BUDGETS).durable
    await keeper.close(ledger, NOON)
    assert saved_in(url) == {"r1": 2}


async def test_a_disk_that_fills_up_just_as_the_start_folds_loses_nothing(url: str) -> None:
    keeper, ledger = begun(open_store(url))
    charged(ledger, RUN, RUN, OTHER)
    keeper._store.close()  # as if killed
    again, after = Keeper(open_store(url)), Ledger()
    saved = again.load()
    with files_of_at_most(4096):  # room for a file of the journal, not for a page of the database's
        again.begin(after, saved, NOON)
    assert not is_up(again)
    assert after.reserve(a_charge(RUN), BUDGETS).durable
    again._store.close()
    assert after_a_kill(url) == {"r1": 3, "r2": 1}


async def test_a_note_is_there_for_the_next_process(url: str) -> None:
    keeper, ledger = begun(open_store(url))
    await keeper.put_note("candidate", "rolled back")
    await keeper.close(ledger, NOON)
    again, ledger = begun(open_store(url))
    assert again.load().notes == {"candidate": "rolled back"}
    await again.close(ledger, NOON)


async def test_what_changes_during_a_write_is_not_lost_to_it(disk: Disk, url: str) -> None:
    keeper, ledger = begun(disk)
    charged(ledger, RUN)
    disk.go_on.clear()
    first = asyncio.ensure_future(keeper.flush(ledger, NOON))
    await asyncio.sleep(0)
    charged(ledger, RUN, OTHER)
    second = asyncio.ensure_future(keeper.flush(ledger, NOON))
    await asyncio.sleep(0)  # the loop goes on while the disk does not
    first.cancel()
    disk.go_on.set()
    await asyncio.wait([first, second])
    await keeper.close(ledger, NOON)
    assert saved_in(url) == {"r1": 2, "r2": 1}


async def test_a_write_that_succeeds_does_not_take_a_newer_one_that_failed_for_done(disk: Disk, url: str) -> None:
    keeper, ledger = begun(disk)
    charged(ledger, RUN)
    disk.fails_at = 2
    disk.go_on.clear()
    first = asyncio.ensure_future(keeper.flush(ledger, NOON))
    await asyncio.sleep(0)
    charged(ledger, RUN)
    second = asyncio.ensure_future(keeper.flush(ledger, NOON))
    await asyncio.sleep(0)
    disk.go_on.set()
    await asyncio.gather(first, second)
    assert not is_up(keeper)
    await keeper.close(ledger, NOON)
    assert saved_in(url) == {"r1": 2}


async def test_a_switch_is_in_the_file_when_that_is_confirmed_and_gone_when_lifted(url: str) -> None:
    keeper, ledger = begun(open_store(url))
    await keeper.put_switch(a_switch("all"))
    await keeper.put_switch(a_switch("writes"))
    await keeper.delete_switch(a_switch("all"))
    assert [switch.scope for switch in keeper.load().switches] == [Scope("writes")]
    await keeper.close(ledger, NOON)


async def test_a_switch_that_could_not_be_written_is_not_confirmed(disk: Disk) -> None:
    keeper, ledger = begun(disk)
    disk._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        await keeper.put_switch(a_switch("all"))
    with pytest.raises(StoreError):
        await keeper.delete_switch(a_switch("all"))
    assert not is_up(keeper)
    disk._db.execute("PRAGMA query_only = OFF")
    await keeper.put_switch(a_switch("all"))
    await keeper.flush(ledger, NOON)
    assert is_up(keeper)
    await keeper.close(ledger, NOON)


async def test_memory_keeps_nothing_and_says_so() -> None:
    keeper, ledger = begun(open_store("memory:"))
    charged(ledger, RUN)
    await keeper.put_switch(a_switch("all"))
    await keeper.flush(ledger, NOON)
    saved = keeper.load()
    assert (saved.runs, saved.switches, len(saved.log_key)) == ([], [], 32)
    assert keeper.reach == "this instance; lost at a restart"
    await keeper.close(ledger, NOON)


def test_the_reach_is_said_as_long_as_the_volume_lasts(disk: Disk) -> None:
    assert disk.reach == "this instance; survives a restart as long as its state volume does"
    disk.close()


def test_a_url_opens_its_store(url: str) -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    store.close()


@pytest.mark.parametrize("url", ["postgres://user:hush@host:1/0", "sqlite:", "sqlite", "memory", "memory:x", ""])
def test_any_other_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError) as error:
        open_store(url)
    assert str(error.value).startswith("GATEWAY_STATE: no such store; use memory:, sqlite:PATH or valkey://")
