"""A journal's entries make of an empty ledger what the process before it had: told by its start, one window is not another."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model import Moment, RunKey
from gateway.state.ledger import Ledger
from gateway.state.stores.journal import FileJournal
from gateway.state.stores.replay import replay
from tests.unit.made_up import BUDGETS, NOON, a_charge, later

RUN, WINDOW = RunKey("scout", "r1"), RunKey("scout", "")


@pytest.fixture
def before(tmp_path: Path) -> Ledger:
    """A ledger that writes a journal."""
    ledger, journal = Ledger(), FileJournal(tmp_path / "gateway.db")
    assert [*journal.left(0)] == []
    journal.prepare()
    journal.rotate()
    ledger.journal = journal
    return ledger


def after(before: Ledger, now: Moment, ledger: Ledger | None = None) -> Ledger:
    """The next process, which has only the files."""
    journal = before.journal
    assert isinstance(journal, FileJournal)
    journal.close()
    ledger = ledger or Ledger()
    for found, _ in FileJournal(journal._store).left(0):
        replay(found, ledger, now)
    return ledger


def calls(ledger: Ledger) -> dict[RunKey, int]:
    return {run.key: run.tool_calls for run in ledger.runs()}


def test_a_refund_of_the_last_window_does_not_lower_this_one(before: Ledger) -> None:
    late = before.reserve(a_charge(WINDOW), BUDGETS)
    before.reserve(a_charge(WINDOW, now=later(60)), BUDGETS)
    before.refund(late)
    assert calls(before) == {WINDOW: 1}
    assert calls(after(before, later(61))) == {WINDOW: 1}


def test_windows_begin_where_they_began_whatever_the_policy_has_become(before: Ledger) -> None:
    for second in (0, 59, 60, 61):
        before.reserve(a_charge(WINDOW, now=later(second)), BUDGETS)
    again = after(before, later(70))
    assert calls(again) == {WINDOW: 2}
    assert again.find(WINDOW, BUDGETS, later(119.9)) is not None
    assert again.find(WINDOW, BUDGETS, later(120.1)) is None
    assert again.find(WINDOW, replace(BUDGETS, max_seconds=30), later(91)) is None


def test_runs_taken_up_from_a_journal_end_when_their_seconds_are_up(before: Ledger) -> None:
    before.reserve(a_charge(RUN), BUDGETS)
    before.reserve(a_charge(WINDOW), BUDGETS)
    again = after(before, later(10))
    assert again.expire(later(59), lambda agent: BUDGETS) == []
    (ended,) = again.expire(later(60.1), lambda agent: BUDGETS)
    assert (ended.key, ended.stop_reason) == (RUN, "max_seconds")
    assert again.live == 0


def test_a_clock_that_was_set_back_makes_nobody_older_than_it_is_or_younger_than_nothing(before: Ledger) -> None:
    before.reserve(a_charge(RUN, now=later(3600)), BUDGETS)
    again = after(before, NOON)
    run = again.find(RUN, BUDGETS, NOON)
    assert run is not None
    assert run.elapsed(NOON) == 0
    assert run.elapsed(later(5)) == 5


def test_entries_whose_beginning_was_lost_still_count(before: Ledger, tmp_path: Path) -> None:
    """As after a loss of power, which may take the first of two files and leave the second."""
    before.reserve(a_charge(WINDOW), BUDGETS)
    journal = before.journal
    assert isinstance(journal, FileJournal)
    journal.prepare()
    journal.rotate()
    for second in (1, 2, 3):
        before.reserve(a_charge(WINDOW, now=later(second)), BUDGETS)
    (tmp_path / "gateway.db.journal.1").write_bytes(b"\0" * 80)
    assert calls(after(before, later(10))) == {WINDOW: 3}


def test_a_charge_that_was_not_written_down_is_not_taken_back_in_the_journal(before: Ledger) -> None:
    before.reserve(a_charge(RUN), BUDGETS)
    journal = before.journal
    assert isinstance(journal, FileJournal)
    journal.problem = "the disk is full"
    lost = before.reserve(a_charge(RUN), BUDGETS)
    assert not lost.durable
    journal.problem = None
    before.refund(lost)
    assert calls(before) == calls(after(before, later(10))) == {RUN: 1}
