"""The journal on real files: each entry is in the kernel at once, and a disk that fails is told from one that does not."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.denial import Reason
from gateway.model import RunKey
from gateway.state.stores import StoreError
from gateway.state.stores.journal import LARGEST_READ, FileJournal
from gateway.state.stores.records import CHARGE, END, HEADER, REFUND, STEP
from tests.unit.made_up import NOON, a_charge, later
from tests.unit.state.stores.full_disk import files_of_at_most

KEY = RunKey("scout", "r1")
BEGAN = NOON.wall - 5


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def a_journal(store: Path, covered: int = 0, **options: int) -> FileJournal:
    journal = FileJournal(store, **options)
    for _ in journal.left(covered):
        pass
    journal.prepare()
    journal.rotate()
    journal.prepare()
    return journal


def read(store: Path, covered: int = 0) -> list[tuple[bytes, float]]:
    """What a next process would replay: kind and time of each entry."""
    return [(entry.kind, entry.at) for found, _ in FileJournal(store).left(covered) for entry in found]


def warnings(store: Path) -> list[str]:
    return [warning for _, warning in FileJournal(store).left(0) if warning]


def test_every_entry_is_in_the_file_when_the_call_returns(store: Path) -> None:
    journal = a_journal(store)
    charge = a_charge(KEY, spend=7, step=3)
    assert journal.charged(charge, BEGAN)
    assert journal.refunded(charge, BEGAN)
    assert journal.stepped(KEY, NOON, BEGAN)
    assert journal.ended(KEY, Reason.RUN_FINISHED, "finish", NOON, BEGAN)
    ((found, _), *_) = FileJournal(store).left(0)
    assert [entry.kind for entry in found] == [CHARGE, REFUND, STEP, END]
    assert {(entry.key, entry.began, entry.at) for entry in found} == {(KEY, BEGAN, NOON.wall)}
    assert [(entry.spend, entry.step) for entry in found] == [(7, 3), (7, 3), (0, None), (0, None)]
    assert [entry.words for entry in found] == [("search.read",), ("search.read",), ("",), ("run_finished", "finish")]
    journal.close()


def test_files_are_the_gateways_alone(store: Path) -> None:
    journal = a_journal(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.parent.iterdir()}
    assert modes == {"gateway.db.journal.1": 0o600, "gateway.db.journal.2": 0o600}
    journal.close()


def test_a_step_beyond_what_the_form_holds_is_the_largest(store: Path) -> None:
    journal = a_journal(store)
    assert journal.charged(a_charge(KEY, step=10**30), BEGAN)
    ((found, _), *_) = FileJournal(store).left(0)
    assert found[0].step == 2**31 - 1
    journal.close()


def test_what_the_store_covers_is_dropped_and_what_came_later_stays(store: Path) -> None:
    journal = a_journal(store)
    journal.charged(a_charge(KEY), BEGAN)
    covered = journal.rotate()
    journal.stepped(KEY, NOON, BEGAN)
    assert read(store) == [(CHARGE, NOON.wall), (STEP, NOON.wall)]
    assert read(store, covered) == [(STEP, NOON.wall)]
    journal.drop(covered)
    assert read(store) == [(STEP, NOON.wall)]
    journal.close()


def test_a_next_process_takes_new_numbers(store: Path) -> None:
    first = a_journal(store)
    first.charged(a_charge(KEY), BEGAN)
    first.close()
    assert [path.name for path in store.parent.iterdir()] == ["gateway.db.journal.1"]
    second = a_journal(store)
    second.charged(a_charge(KEY), BEGAN)
    assert len(read(store)) == 2
    second.drop(1)
    second.close()
    third = a_journal(store, covered=40)
    assert sorted(path.name for path in store.parent.iterdir()) == [
        "gateway.db.journal.2", "gateway.db.journal.41", "gateway.db.journal.42",
    ]  # fmt: skip
    third.close()


def test_an_orderly_end_leaves_no_file_behind(store: Path) -> None:
    journal = a_journal(store)
    journal.charged(a_charge(KEY), BEGAN)
    covered = journal.rotate()
    journal.prepare()
    journal.drop(covered)
    journal.close()
    assert [*store.parent.iterdir()] == []


def test_other_files_of_the_folder_are_left_alone(store: Path) -> None:
    others = [store.with_name(name) for name in ("gateway.db.journal.x", "gateway.db-journal", "other.db.journal.1")]
    for path in others:
        path.write_bytes(b"someone else's")
    journal = a_journal(store)
    journal.drop(99)
    journal.close()
    assert sorted(store.parent.iterdir()) == sorted(others)


def test_on_a_full_disk_an_entry_is_refused_and_half_of_it_is_never_read(store: Path) -> None:
    journal = a_journal(store)
    assert journal.charged(a_charge(KEY), BEGAN)
    size = store.with_name("gateway.db.journal.1").stat().st_size
    with files_of_at_most(size + 20):
        assert not journal.charged(a_charge(KEY), BEGAN)
    assert store.with_name("gateway.db.journal.1").stat().st_size == size + 20, "the disk took a part of it"
    assert "cannot grow: free space on its volume" in str(journal.problem)
    assert not journal.refunded(a_charge(KEY), BEGAN), "behind half an entry nothing would be found"
    assert read(store) == [(CHARGE, NOON.wall)]
    (warning,) = warnings(store)
    assert "the last 20 bytes of" in warning
    journal.rotate()
    assert journal.problem is None
    assert journal.stepped(KEY, NOON, BEGAN)
    assert read(store) == [(CHARGE, NOON.wall), (STEP, NOON.wall)]
    journal.close()


def test_on_a_full_disk_there_is_no_next_file_until_there_is_room(store: Path) -> None:
    journal = a_journal(store)
    journal.rotate()
    with files_of_at_most(len(HEADER) - 1), pytest.raises(StoreError, match="cannot grow: free space"):
        journal.prepare()
    assert not journal.ready
    journal.prepare()
    journal.rotate()
    assert journal.charged(a_charge(KEY), BEGAN)
    assert len(read(store)) == 1
    journal.close()


def test_a_journal_that_nobody_folds_stops_at_its_bound(store: Path) -> None:
    journal = a_journal(store, largest=1000)
    taken = 0
    while journal.charged(a_charge(KEY), BEGAN):
        taken += 1
        if taken == 10:
            journal.rotate()  # its older files count, too
            journal.prepare()
    total = sum(path.stat().st_size for path in store.parent.iterdir())
    assert 900 < total < 1100
    assert "is full" in str(journal.problem)
    assert len(read(store)) == taken
    journal.drop(journal.rotate())
    assert journal.charged(a_charge(KEY), BEGAN)
    journal.close()


def test_files_that_somebody_deleted_are_noticed_and_made_anew(store: Path) -> None:
    journal = a_journal(store)
    for path in store.parent.iterdir():
        path.unlink()
    journal.prepare()
    assert "was deleted while in use" in str(journal.problem)
    assert not journal.charged(a_charge(KEY), BEGAN)
    journal.rotate()
    assert journal.charged(a_charge(KEY), BEGAN)
    assert len(read(store)) == 1
    journal.close()


def test_a_link_in_the_place_of_the_next_file_is_not_followed(store: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    journal = a_journal(store)
    store.with_name("gateway.db.journal.3").symlink_to(victim)
    journal.rotate()
    with pytest.raises(StoreError):
        journal.prepare()
    assert victim.read_bytes() == b"precious"
    journal.close()


def test_a_file_that_cannot_be_read_stops_the_start_with_a_remedy(store: Path) -> None:
    store.with_name("gateway.db.journal.1").mkdir()
    with pytest.raises(
        StoreError, match=r"cannot be read \(Is a directory\): let the gateway's user read it, or move it away"
    ):
        read(store)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def larger_than_any_journal(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGEST_READ + 1)


@pytest.mark.parametrize("plant", [a_fifo, a_link, larger_than_any_journal])
def test_what_somebody_put_in_the_place_of_a_file_is_not_read(store: Path, plant: Callable[[Path], None]) -> None:
    planted = store.with_name("gateway.db.journal.1")
    plant(planted)
    with pytest.raises(StoreError) as refused:
        read(store)
    assert str(refused.value).startswith(f"GATEWAY_STATE: {planted} cannot be read (no journal of a gateway): ")


@pytest.mark.parametrize("number", ["9" * 30, "0", "007", "-1", "٣", "1.bak", ""])
def test_a_name_that_is_no_number_of_ours_is_no_file_of_ours(store: Path, number: str) -> None:
    other = store.with_name(f"gateway.db.journal.{number}")
    other.write_bytes(HEADER)
    journal = a_journal(store)
    assert (journal.last, journal.unsaved) == (2, False)
    journal.drop(journal.rotate())
    journal.close()
    assert other.read_bytes() == HEADER


def test_what_was_gathered_is_written_at_once_by_a_flush(store: Path) -> None:
    journal = a_journal(store)
    for seconds in (1, 2, 3):
        journal.gathered(a_charge(KEY, now=later(seconds)), BEGAN)
    assert read(store) == []
    assert journal.flush()
    assert read(store) == [(CHARGE, later(seconds).wall) for seconds in (1, 2, 3)]
    assert journal.flush(), "nothing more to write"
    journal.close()


def test_what_was_gathered_goes_before_whatever_comes_next(store: Path) -> None:
    journal = a_journal(store)
    journal.gathered(a_charge(KEY), BEGAN)
    assert journal.refunded(a_charge(KEY), BEGAN)
    journal.gathered(a_charge(KEY), BEGAN)
    covered = journal.rotate()
    assert [kind for kind, _ in read(store)] == [CHARGE, REFUND, CHARGE]
    assert read(store, covered) == [], "the store has it with the rest of that file"
    assert journal.flush()
    journal.gathered(a_charge(KEY), BEGAN)
    journal.close()
    assert [kind for kind, _ in read(store, covered)] == [CHARGE]


def test_a_flush_owns_up_to_what_others_could_not_write_for_it(store: Path) -> None:
    journal = a_journal(store)
    journal.gathered(a_charge(KEY), BEGAN)
    with files_of_at_most(len(HEADER) + 20):
        assert not journal.stepped(KEY, NOON, BEGAN)
    journal.prepare()
    journal.rotate()
    assert not journal.flush()
    assert journal.flush(), "told once"
    journal.close()
