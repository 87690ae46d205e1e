"""The counts: what every run has used. Pure and sync, so nothing slips between check and charge.

A named run ends once and stays ended: no reload that raises a budget, and no later call, revives it. A run that has merely used
up a budget has not ended yet: it ends with the first call that is refused for it, so a budget raised before that lets it go on.
The agent's anonymous calls (run id "") are counted in windows, which never end: a new one takes the old one's place.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from gateway.model import Budgets, Moment, Reason, Remaining, RunKey
from gateway.state.journal import Charge, Journal, NoJournal

MAX_LIVE = 100_000
"""Live runs held at once (SPEC 2). None is evicted: forgetting one would renew its budget."""
MOST_KEPT = 250_000
"""Runs held at once, ended ones included (about 110 MB): as far as an agent that invents run ids can drive memory."""
REMEMBERED = 24 * 3600.0
"""Seconds an ended run is remembered, for the same reason."""
LARGEST_STEP = 2**31 - 1
"""A step announced beyond it counts as this one: the stores keep integers of 64 bits."""
EXPIRED_AT_ONCE = 10_000
"""Runs looked at by one `expire`: the rest waits for the next, so that no call waits for a hundred thousand of them."""
ENDS_RUN = frozenset({Reason.MAX_SECONDS, Reason.MAX_STEPS, Reason.MAX_TOOL_CALLS})
"""Refusals that end the run they are made to. A kill switch does not: once it is lifted, the run goes on."""

BudgetsOf = Callable[[str], Budgets]
"""The budgets that an agent's runs have now."""


def is_window(key: RunKey) -> bool:
    """Does the key name an agent's anonymous window rather than a run?"""
    return key.id == ""


class Run:
    """What one run, or one anonymous window, has used. Written by the Ledger only."""

    __slots__ = ("due", "ended", "ended_by", "key", "started", "steps", "stop_reason", "tool_calls")

    key: RunKey
    started: Moment
    tool_calls: int
    steps: int | None
    """None: no step was announced."""
    stop_reason: str | None
    """Set when, and only when, the run has ended."""
    ended: float | None
    """Monotonic."""
    ended_by: Reason | None
    """What later calls are refused for: run_finished (the agent), kill_switch (an operator), or the spent budget."""
    due: float
    """Monotonic: when `expire` looks at it next. Not exact: budgets change."""

    def __init__(self, key: RunKey, started: Moment, due: float) -> None:
        self.key = key
        self.started = started
        self.tool_calls = 0
        self.steps = None
        self.stop_reason = None
        self.ended = None
        self.ended_by = None
        self.due = due

    def __lt__(self, other: "Run") -> bool:
        """Orders the heap of live runs."""
        return self.due < other.due

    def elapsed(self, now: Moment) -> float:
        """Seconds from its start to now, or to its end."""
        return (now.mono if self.ended is None else self.ended) - self.started.mono

    def since_end(self, now: Moment) -> float:
        """Seconds since its end; 0 while it lives."""
        return 0.0 if self.ended is None else now.mono - self.ended


class Reservation:
    """What an admitted call holds until it is settled: kept, or refunded once."""

    __slots__ = ("_held", "charge", "durable", "run", "started")

    def __init__(self, run: Run, charge: Charge, started: bool, durable: bool) -> None:
        self.run = run
        self.charge = charge
        self.started = started
        """This call started the run."""
        self.durable = durable
        """The charge is written down. Where it is not, `state.on_unavailable` decides."""
        self._held = True

    @property
    def spend(self) -> int:
        """Micro-USD charged; 0 once it is refunded."""
        return self.charge.spend if self._held else 0

    def release(self) -> bool:
        """True the first time."""
        held, self._held = self._held, False
        return held


class SavedRun(NamedTuple):
    """A run as stores keep it. Durations are monotonic, and `as_of` ties them to the only clock that survives a restart."""

    key: RunKey
    started: float
    """Unix time, for display."""
    elapsed: float
    """Seconds from its start to its end, or to `as_of` while it lives."""
    as_of: float
    """Unix time of its end, or of the saving while it lives."""
    tool_calls: int
    steps: int | None
    stop_reason: str | None
    ended_by: Reason | None


class Changes(NamedTuple):
    """What a store has to write for its runs to equal the ledger's. Each key stands in one of the two."""

    saved: list[SavedRun]
    forgotten: list[RunKey]


class Ledger:
    """All runs, live and remembered. Limits are not in here: they come with each question, from the policy in force."""

    def __init__(self, max_live: int = MAX_LIVE, most_kept: int = MOST_KEPT) -> None:
        self.max_live = max_live
        self.most_kept = most_kept
        self.journal: Journal = NoJournal()
        self.live = 0
        """Runs and windows that have not ended."""
        self._runs: dict[RunKey, Run] = {}
        self._due: list[Run] = []
        self._ended: deque[Run] = deque()
        self._changed: set[Run] = set()
        self._forgotten: set[RunKey] = set()

    def find(self, key: RunKey, budgets: Budgets, now: Moment) -> Run | None:
        """The run as it stands. A window whose seconds are up is over: None."""
        run = self._runs.get(key)
        if run is not None and is_window(key) and run.elapsed(now) >= budgets.max_seconds:
            return None
        return run

    def is_full(self, key: RunKey) -> bool:
        """Would a call of this run start one more than may live, or than may be kept?"""
        return (self.live >= self.max_live or len(self._runs) >= self.most_kept) and key not in self._runs

    def reserve(self, charge: Charge, budgets: Budgets) -> Reservation:
        """Charges one tool call and notes the announced step, starting the run where there is none.

        Refuses nothing: the guards have been asked, and nothing was awaited since.
        """
        run, started = self._open(charge.key, budgets, charge.at)
        run.tool_calls += 1
        if charge.step is not None:
            run.steps = max(run.steps or 0, min(charge.step, LARGEST_STEP))
        return Reservation(run, charge, started, self.journal.charged(charge))

    def refund(self, reservation: Reservation) -> None:
        """Nothing was sent: gives the call back, once. What it started, or the step it announced, stays."""
        run = reservation.run
        if reservation.release():
            run.tool_calls -= 1
            if self._runs.get(run.key) is run:
                self._changed.add(run)
            self.journal.refunded(reservation.charge)

    def add_step(self, key: RunKey, budgets: Budgets, now: Moment) -> Run:
        """One more step, starting the run where there is none."""
        run, _ = self._open(key, budgets, now)
        run.steps = min((run.steps or 0) + 1, LARGEST_STEP)
        self.journal.stepped(key, now)
        return run

    def finish(self, key: RunKey, stop_reason: str, now: Moment) -> Run | None:
        """The agent is done. Like `stop` and `exhaust`: the run if it ended just now, None if it had or is not known."""
        return self._end(key, Reason.RUN_FINISHED, stop_reason, now)

    def stop(self, key: RunKey, now: Moment) -> Run | None:
        """An operator stopped it."""
        return self._end(key, Reason.KILL_SWITCH, Reason.KILL_SWITCH.value, now)

    def exhaust(self, key: RunKey, reason: Reason, now: Moment) -> Run | None:
        """A call of the run was refused for `reason`: ends it where that is a spent budget of the run."""
        return self._end(key, reason, reason.value, now) if reason in ENDS_RUN else None

    def expire(self, now: Moment, budgets_of: BudgetsOf) -> list[Run]:
        """Ends the named runs whose seconds are up and returns them; drops old windows, forgets what ended long ago."""
        while self._ended and self._ended[0].since_end(now) >= REMEMBERED:
            self._forget(self._ended.popleft())
        ended = []
        for run in self._take_due(now):
            due = run.started.mono + budgets_of(run.key.agent).max_seconds
            if due > now.mono:
                run.due = due
                heappush(self._due, run)
            elif is_window(run.key):
                self.live -= 1
                self._forget(run)
            elif self.exhaust(run.key, Reason.MAX_SECONDS, now):
                ended.append(run)
        return ended

    def remaining(self, key: RunKey, budgets: Budgets, now: Moment) -> Remaining:
        """What is left; all of it where the run has not started."""
        run = self.find(key, budgets, now)
        calls, steps, seconds = budgets.max_tool_calls, budgets.max_steps, budgets.max_seconds
        if run is not None:
            calls -= run.tool_calls
            steps -= run.steps or 0
            seconds -= run.elapsed(now)
        return Remaining(
            max(0, calls),
            max(0, steps),
            None if is_window(key) else int(seconds) if seconds > 0 else 0,
        )

    def runs(self) -> Iterator[Run]:
        """Live and remembered ones, the latest started first. Not to be held over an await."""
        return reversed(self._runs.values())

    def changed(self, now: Moment, *, at_end: bool = False) -> Changes:
        """What changed since the last call of this. At the process's orderly end that is every live run: its time has passed."""
        if at_end:
            self._changed.update(run for run in self._due if run.ended is None)
        saved = [_saved(run, now) for run in self._changed]
        forgotten = [*self._forgotten]
        self._changed.clear()
        self._forgotten.clear()
        return Changes(saved, forgotten)

    def restore(self, saved: Iterable[SavedRun], now: Moment) -> None:
        """Takes up what an earlier process left, into an empty ledger.

        The wall clock may have been set in either direction meanwhile: time never runs backwards for a run, and what it had used
        before stays used.
        """
        runs = sorted((_restored(old, now) for old in saved), key=lambda run: run.started.mono)
        self._runs = {run.key: run for run in runs}
        self._due = [run for run in runs if run.ended is None]
        heapify(self._due)
        self._ended = deque(sorted((run for run in runs if run.ended is not None), key=lambda run: -run.since_end(now)))
        self.live = len(self._due)

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
            run = self._runs[key] = Run(key, now, now.mono + budgets.max_seconds)
            self._forgotten.discard(key)
            self.live += 1
            heappush(self._due, run)
        self._changed.add(run)
        return run, started

    def _end(self, key: RunKey, by: Reason, stop_reason: str, now: Moment) -> Run | None:
        run = self._runs.get(key)
        if run is None or run.ended is not None or is_window(key):
            return None
        run.ended, run.ended_by, run.stop_reason = now.mono, by, stop_reason
        self.live -= 1
        self._ended.append(run)
        self._changed.add(run)
        self.journal.ended(key, by, stop_reason, now)
        return run

    def _forget(self, run: Run) -> None:
        del self._runs[run.key]
        self._changed.discard(run)
        self._forgotten.add(run.key)

    def _take_due(self, now: Moment) -> list[Run]:
        """Off the heap; those that ended meanwhile are dropped, all at once where they have come to outnumber the live ones."""
        if len(self._due) > 2 * self.live + EXPIRED_AT_ONCE:
            self._due = [run for run in self._due if run.ended is None]
            heapify(self._due)
        due: list[Run] = []
        while self._due and self._due[0].due <= now.mono and len(due) < EXPIRED_AT_ONCE:
            run = heappop(self._due)
            if run.ended is None:
                due.append(run)
        return due


def stop_reason_of(run: Run, budgets: Budgets, now: Moment) -> str | None:
    """Why the run ended, or the budget it has used up and will end by: what run control shows. None for a window."""
    if run.stop_reason is not None or is_window(run.key):
        return run.stop_reason
    if run.elapsed(now) >= budgets.max_seconds:
        return Reason.MAX_SECONDS.value
    if (run.steps or 0) >= budgets.max_steps:
        return Reason.MAX_STEPS.value
    return Reason.MAX_TOOL_CALLS.value if run.tool_calls >= budgets.max_tool_calls else None


def _saved(run: Run, now: Moment) -> SavedRun:
    return SavedRun(
        key=run.key,
        started=run.started.wall,
        elapsed=run.elapsed(now),
        as_of=now.wall - run.since_end(now),
        tool_calls=run.tool_calls,
        steps=run.steps,
        stop_reason=run.stop_reason,
        ended_by=run.ended_by,
    )


def _restored(old: SavedRun, now: Moment) -> Run:
    at = now.mono - max(0.0, now.wall - old.as_of)
    run = Run(old.key, Moment(at - old.elapsed, old.started), due=now.mono)
    run.tool_calls, run.steps = old.tool_calls, old.steps
    if old.stop_reason is not None:
        run.ended, run.ended_by, run.stop_reason = at, old.ended_by, old.stop_reason
    return run
