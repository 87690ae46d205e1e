"""From the entries of a journal to the ledger's counts, as they would stand had the process gone on. Pure."""

from collections.abc import Iterable
from math import inf

from gateway.denial import Reason
from gateway.model import Budgets, Moment
from gateway.state.journal import Charge
from gateway.state.ledger import Ledger
from gateway.state.stores.records import CHARGE, END, REFUND, STEP, Entry

_SAME = Budgets(0, 0, inf)
"""The run that is known, whatever its age: the process that wrote the entry has decided that."""
_FRESH = Budgets(0, 0, -inf)
"""A run that starts here; of a window, in the place of the one before. When its time is up, `Ledger.expire` finds out."""


def replay(entries: Iterable[Entry], ledger: Ledger, now: Moment) -> None:
    """Into a ledger without a journal that stands as it did before the first of them."""
    for entry in entries:
        _replay(entry, ledger, now)


def _replay(entry: Entry, ledger: Ledger, now: Moment) -> None:
    at = begins = _on_this_clock(entry.at, now)
    run, budgets = ledger.find(entry.key, _SAME, at), _SAME
    if run is None or run.wall != entry.began:
        budgets, begins = _FRESH, _on_this_clock(entry.began, now)
    if entry.kind == CHARGE:
        ledger.reserve(Charge(entry.key, entry.words[0], entry.spend, entry.step, begins), budgets)
    elif entry.kind == REFUND:
        ledger.replay_refund(Charge(entry.key, entry.words[0], entry.spend, entry.step, at), entry.began)
    elif entry.kind == STEP:
        ledger.add_step(entry.key, budgets, begins)
    elif entry.kind == END:
        by, stop_reason = entry.words
        ledger.end(entry.key, Reason(by), stop_reason, at)


def _on_this_clock(wall: float, now: Moment) -> Moment:
    """As restored runs are: what was set back meanwhile happened just now, and never later."""
    return Moment(now.mono - max(0.0, now.wall - wall), wall)
