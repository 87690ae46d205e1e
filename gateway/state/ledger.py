"""The counts: what every run and agent has used. Pure and sync, so nothing slips between check and charge.

A named run ends once and stays ended: no reload that raises a budget, and no later call, revives it. A run that has merely used
up a budget has not ended yet: it ends with the first call that is refused for it, so a budget raised before that lets it go on.
The agent's anonymous calls (run id "") are counted in windows, which never end: a new one takes the old one's place.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, Remaining, RunKey
from gateway.state.agents import Agents, SavedCount
from gateway.state.due import DueList
from gateway.state.journal import Charge, Journal, NoJournal
from gateway.state.repeats import Repeats
from gateway.state.run import (
    LARGEST_STEP,
    Reservation,
    Run,
    SavedRun,
    is_window,
    remaining_of,
    restored_run,
    saved_form,
)
from gateway.state.shared import Reach, RunSeen

MAX_LIVE = 100_000
"""Live runs held at once (SPEC 2). None is evicted: forgetting one would renew its budget."""
MOST_KEPT = 250_000
"""Runs held at once, ended ones included (100 to 150 MB): as far as an agent that invents run ids can drive memory."""
REMEMBERED = 24 * 3600.0
"""Seconds an ended run is remembered, for the same reason."""
EXPIRED_AT_ONCE = 10_000
"""Runs looked at by one `expire`: the rest waits for the next, so that no call waits for a hundred thousand of them."""
ENDS_RUN = frozenset(
    {Reason.MAX_SECONDS, Reason.MAX_STEPS, Reason.MAX_TOOL_CALLS, Reason.MAX_USD, Reason.LOOP_DETECTED}
)
"""Refusals that end the run they are made to: those with a stop_reason of the run's own. A kill switch does not (once it is lifted, the
run goes on), nor does `max_calls` (other tools may be called), nor what the agent has used in other runs.
"""

BudgetsOf = Callable[[RunKey], Budgets]
"""The budgets that an agent's runs have now."""


class Changes(NamedTuple):
    """What a store has to write for its rows to equal the ledger's. Each run stands in one of the first two."""

    saved: list[SavedRun]
    forgotten: list[RunKey]
    counts: list[SavedCount]
    """Of agents."""


class Ledger:
    """All runs, live and remembered. Limits are not in here: they come with each question, from the policy in force."""

    def __init__(self, max_live: int = MAX_LIVE, most_kept: int = MOST_KEPT) -> None:
        self.max_live = max_live
        self.most_kept = most_kept
        self.journal: Journal = NoJournal()
        self.fleet: Reach | None = None
        """Gateways that share the counts of named runs."""
        self.agents = Agents()
        self.repeats = Repeats()
        self.live = 0
        """Runs and windows that have not ended."""
        self._runs: dict[RunKey, Run] = {}
        self._due: DueList[Run] = DueList()
        """Every live one stands in it once."""
        self._ended: deque[Run] = deque()
        self._changed: set[Run] = set()
        self._forgotten: set[RunKey] = set()

    def find(self, key: RunKey, budgets: Budgets, now: Moment) -> Run | None:
        """The run as it stands. A window whose seconds are up is over: None."""
        run = self._runs.get(key)
        if run is not None and run.window and run.elapsed(now) >= budgets.max_seconds:
            return None
        return run

    def left_to_fleet(self, run: Run | None) -> bool:
        """The numbers here are not the last word on the run: all gateways' are asked for after the reservation. (Here they may be higher,
        where another gateway has given a call back since.)
        """
        return self.fleet is not None and self.fleet.up and run is not None and not run.window

    def learn(self, run: Run, seen: RunSeen, pending: tuple[int, int], now: Moment) -> None:
        """What all gateways together have used of it, and beside that the calls and micro-USD that are reserved here and not answered."""
        calls, spend = pending
        run.tool_calls, run.spend = seen.calls + calls, seen.spend + spend
        run.steps = max(run.steps or 0, seen.steps) or None
        began = now.mono - seen.elapsed
        if began < run.began:
            run.wall -= run.began - began
            run.began = began

    def take_up(self, key: RunKey, budgets: Budgets, now: Moment) -> Run:
        """The run, also where only other gateways know it so far."""
        return self._runs.get(key) or self._open(key, budgets, now)[0]

    def is_full(self, key: RunKey) -> bool:
        """Would a call of this run start one more than may live, or than may be kept?"""
        return (self.live >= self.max_live or len(self._runs) >= self.most_kept) and key not in self._runs

    def reserve(self, charge: Charge, budgets: Budgets, run: Run | None = None, *, gather: bool = False) -> Reservation:
        """Charges one tool call to its run and its agent and notes the announced step, starting the run where there is none. `run` is
        what `find` says of it, where that was asked for already. `gather`: it is durable only if the journal's next `flush` says so.

        Refuses nothing: the guards have been asked, and nothing was awaited since.
        """
        started = False
        if run is None:
            run, started = self._open(charge.key, budgets, charge.at)
        else:
            self._changed.add(run)
        run.charge(charge)
        self.agents.charge(charge)
        if charge.args_hash and not run.window:
            self.repeats.add(charge.key, charge.args_hash)
        if gather:
            self.journal.gathered(charge, run.wall)
            return Reservation(run, charge, started, True)
        return Reservation(run, charge, started, self.journal.charged(charge, run.wall))

    def refund(self, reservation: Reservation, denial: Denial | None = None) -> None:
        """Nothing was sent: gives the call back, once. What it started, or the step it announced, stays.

        For the loop guard the call was made all the same, unless it came to a `denial` that asks for it to be repeated.
        """
        charge = reservation.charge
        if reservation.release():
            self._give_back(reservation.run, charge)
            if denial is not None and denial.waiting_helps:
                self.repeats.take_back(charge.key, charge.args_hash)
            if reservation.durable:  # else the journal has nothing to take back
                self.journal.refunded(charge, reservation.run.wall)

    def refused(self, key: RunKey, args_hash: str, denial: Denial) -> None:
        """A call was not admitted. One that is refused without a Retry-After must not be repeated: the loop guard counts it."""
        run = self._runs.get(key)
        over = is_window(key) or (run is not None and run.ended is not None)
        if args_hash and not over and not denial.waiting_helps:
            self.repeats.add(key, args_hash)

    def replay_refund(self, charge: Charge, began: float) -> None:
        """A refund found in a journal. (A charge found there is reserved anew, a step added, an end ended, each at its own Moment,
        before the journal is attached: what comes of it is the same.)
        """
        run = self._runs.get(charge.key)
        if run is not None and run.wall == began:
            self._give_back(run, charge)
        else:  # a refund of the last window does not lower this one
            self.agents.give_back(charge)

    def add_step(self, key: RunKey, budgets: Budgets, now: Moment) -> Run:
        """One more step, starting the run where there is none."""
        run, _ = self._open(key, budgets, now)
        run.steps = min((run.steps or 0) + 1, LARGEST_STEP)
        self.journal.stepped(key, now, run.wall)
        return run

    def finish(self, key: RunKey, stop_reason: str, now: Moment) -> Run | None:
        """The agent is done. Like `stop` and `exhaust`: the run if it ended just now, None if it had or is not known."""
        return self.end(key, Reason.RUN_FINISHED, stop_reason, now)

    def stop(self, key: RunKey, now: Moment) -> Run | None:
        """An operator stopped it."""
        return self.end(key, Reason.KILL_SWITCH, Reason.KILL_SWITCH.value, now)

    def exhaust(self, key: RunKey, reason: Reason, now: Moment) -> Run | None:
        """A call of the run was refused for `reason`: ends it where that is a spent budget of the run."""
        return self.end(key, reason, reason.value, now) if reason in ENDS_RUN else None

    def expire(self, now: Moment, budgets_of: BudgetsOf) -> list[Run]:
        """Ends the named runs whose seconds are up and returns them; drops old windows, forgets what ended long ago."""
        self.agents.expire(now)
        while self._ended and self._ended[0].since_end(now) >= REMEMBERED:
            self._forget(self._ended.popleft())
        ended = []
        for run in self._take_due(now):
            due = run.began + budgets_of(run.key).max_seconds
            if due > now.mono:
                self._due.add(run, due)
            elif run.window:
                self.live -= 1
                self._forget(run)
            elif self.exhaust(run.key, Reason.MAX_SECONDS, now):
                ended.append(run)
        return ended

    def remaining(self, key: RunKey, budgets: Budgets, now: Moment) -> Remaining:
        """What the run has left of its budgets: all of them where it has not started."""
        run = self.find(key, budgets, now)
        if run is None:
            whole = None if is_window(key) else int(budgets.max_seconds)
            return Remaining(budgets.max_tool_calls, budgets.max_steps, whole)
        return remaining_of(run, budgets, now)

    def runs(self) -> Iterator[Run]:
        """Live and remembered ones, the latest started first. Not to be held over an await."""
        return reversed(self._runs.values())

    def changed(self, now: Moment, *, at_end: bool = False) -> Changes:
        """What changed since the last call of this. At the process's orderly end that is every live run: its time has passed."""
        if at_end:
            self._changed.update(run for run in self._runs.values() if run.ended is None)
        saved = [saved_form(run, now) for run in self._changed]
        forgotten = [*self._forgotten]
        self._changed.clear()
        self._forgotten.clear()
        return Changes(saved, forgotten, self.agents.changed(now))

    def restore(self, saved: Iterable[SavedRun], now: Moment, counts: Iterable[SavedCount] = ()) -> None:
        """Takes up what an earlier process left, into an empty ledger.

        The wall clock may have been set in either direction meanwhile: time never runs backwards for a run, and what it had used
        before stays used.
        """
        runs = sorted((restored_run(old, now) for old in saved), key=lambda run: run.began)
        self._runs = {run.key: run for run in runs}
        for run in runs:
            if run.ended is None:
                self._due.add(run, now.mono)
        self._ended = deque(sorted((run for run in runs if run.ended is not None), key=lambda run: -run.since_end(now)))
        self.live = len(self._due)
        self.agents.restore(counts, now)

    def _open(self, key: RunKey, budgets: Budgets, now: Moment) -> tuple[Run, bool]:
        """The run to charge, and whether it was started for it."""
        run = self.find(key, budgets, now)
        started = run is None
        if run is None:
            over = self._runs.pop(key, None)
            if over is not None:
                self.live -= 1
                over.ended = now.mono
                self._changed.discard(over)
            run = self._runs[key] = Run(key, now)
            self._forgotten.discard(key)
            if key.id:  # a session's window, too
                self.agents.run_started(key.agent, now)
            self.live += 1
            self._due.add(run, now.mono + max(0.0, budgets.max_seconds))
        self._changed.add(run)
        return run, started

    def end(self, key: RunKey, by: Reason, stop_reason: str, now: Moment) -> Run | None:
        """Like the three above, which name the reason."""
        run = self._runs.get(key)
        if run is None or run.ended is not None or run.window:
            return None
        run.end(by, stop_reason, now)
        self.live -= 1
        self._ended.append(run)
        self._changed.add(run)
        if by is not Reason.LOOP_DETECTED:  # whoever goes on goes on hearing of it
            self.repeats.forget(key)
        self.journal.ended(key, by, stop_reason, now, run.wall)
        return run

    def _give_back(self, run: Run, charge: Charge) -> None:
        run.give_back(charge)
        self.agents.give_back(charge)
        if self._runs.get(run.key) is run:
            self._changed.add(run)

    def _forget(self, run: Run) -> None:
        del self._runs[run.key]
        self._changed.discard(run)
        self._forgotten.add(run.key)
        self.repeats.forget(run.key)

    def _take_due(self, now: Moment) -> list[Run]:
        """Those that ended meanwhile are dropped, all at once where they have come to outnumber the live ones."""
        if len(self._due) > 2 * self.live + EXPIRED_AT_ONCE:
            self._due.keep(lambda run: run.ended is None)
        return [run for run in self._due.take(now.mono, EXPIRED_AT_ONCE) if run.ended is None]
