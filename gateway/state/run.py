"""What one run, or one anonymous window, has used, and the form in which stores keep it. Written by the Ledger only."""

import re
from sys import intern
from typing import Final, NamedTuple

from gateway.denial import Reason
from gateway.model import Budgets, Moment, Remaining, RunKey
from gateway.state.journal import Charge
from gateway.state.tally import Tally

LARGEST_STEP: Final = 2**31 - 1
"""A step announced beyond it counts as this one: the stores keep integers of 64 bits."""


SESSION_WINDOW = re.compile(r"mcp-[0-9a-f]{32}")
"""The window of one MCP session: a session is not a task, so it is bounded like calls without a run id (SPEC 2)."""


def is_window(key: RunKey) -> bool:
    """Does the key name a window of an agent's anonymous calls rather than a run?"""
    return key.id == "" or (len(key.id) == 36 and SESSION_WINDOW.fullmatch(key.id) is not None)


class Run:
    """One run or window."""

    __slots__ = (
        "began", "calls", "ended", "ended_by", "key", "spend", "steps", "stop_reason", "tool_calls", "wall", "window",
    )  # fmt: skip

    key: RunKey
    window: bool
    """It counts anonymous calls, and never ends."""
    began: float
    """Monotonic."""
    wall: float
    """Unix time of the same instant."""
    tool_calls: int
    calls: Tally | str | None
    """The same by tool; while all are of one tool, its name. None before the first, and again once the run has ended: 250,000 remembered
    runs weigh enough without.
    """
    spend: int
    """Micro-USD."""
    steps: int | None
    """None: no step was announced."""
    stop_reason: str | None
    """Set when, and only when, the run has ended."""
    ended: float | None
    """Monotonic."""
    ended_by: Reason | None
    """What later calls are refused for: run_finished (the agent), kill_switch (an operator), or the spent budget."""

    def __init__(self, key: RunKey, started: Moment) -> None:
        self.key = key
        self.window = is_window(key)
        self.began, self.wall = started
        self.tool_calls = 0
        self.calls = None
        self.spend = 0
        self.steps = None
        self.stop_reason = None
        self.ended = None
        self.ended_by = None

    @property
    def started(self) -> Moment:
        """When the run began: its first call or step."""
        return Moment(self.began, self.wall)

    def charge(self, charge: Charge) -> None:
        """Counts one call."""
        if self.calls != charge.tool and self.ended is None:
            self._add(charge.tool)
        self.tool_calls += 1
        self.spend += charge.spend
        if charge.step is not None:
            self.steps = max(self.steps or 0, min(charge.step, LARGEST_STEP))

    def _add(self, tool: str) -> None:
        """Counts a call of another tool than all calls before it were of."""
        tool = intern(tool)  # one text for all runs, not one a call
        if self.calls is None and not self.tool_calls:
            self.calls = tool
            return
        if not isinstance(self.calls, Tally):
            self.calls = Tally(() if self.calls is None else ((self.calls, self.tool_calls),))
        self.calls.add(tool)

    def give_back(self, charge: Charge) -> None:
        """Takes one call back. The run that it started and the step that it announced stay."""
        self.tool_calls = max(0, self.tool_calls - 1)
        self.spend = max(0, self.spend - charge.spend)
        if isinstance(self.calls, Tally):
            self.calls.take_back(charge.tool)

    def end(self, by: Reason, stop_reason: str, now: Moment) -> None:
        """Once."""
        self.ended, self.ended_by, self.stop_reason = now.mono, by, stop_reason
        self.calls = None

    def calls_of(self, tool: str) -> int:
        """Calls of one tool, while it lives."""
        if isinstance(self.calls, Tally):
            return self.calls.of(tool)
        return self.tool_calls if self.calls == tool else 0

    def calls_by_tool(self) -> tuple[tuple[str, int], ...]:
        """While it lives; those without a call left out."""
        if isinstance(self.calls, Tally):
            return self.calls.made()
        return ((self.calls, self.tool_calls),) if self.calls is not None and self.tool_calls else ()

    def elapsed(self, now: Moment) -> float:
        """Seconds from its start to now, or to its end."""
        return (now.mono if self.ended is None else self.ended) - self.began

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
    spend: int = 0
    """Micro-USD."""
    calls: tuple[tuple[str, int], ...] = ()
    """Tool calls by tool, while it lives."""


def remaining_of(run: Run, budgets: Budgets, now: Moment) -> Remaining:
    """What a run has left, or a window that is not over."""
    calls, steps = budgets.max_tool_calls - run.tool_calls, budgets.max_steps - (run.steps or 0)
    seconds = None if run.window else int(budgets.max_seconds - run.elapsed(now))
    if calls >= 0 and steps >= 0 and (seconds is None or seconds >= 0):  # nearly always, and cheaper asked than mended
        return tuple.__new__(Remaining, (calls, steps, seconds))  # without its constructor, which is a call of Python
    return Remaining(max(0, calls), max(0, steps), seconds and max(0, seconds))


def stop_reason_of(run: Run, budgets: Budgets, now: Moment) -> str | None:
    """Why the run ended, or the budget it has used up and will end by: what run control shows. None for a window."""
    if run.stop_reason is not None or run.window:
        return run.stop_reason
    if run.elapsed(now) >= budgets.max_seconds:
        return Reason.MAX_SECONDS.value
    if (run.steps or 0) >= budgets.max_steps:
        return Reason.MAX_STEPS.value
    if run.tool_calls >= budgets.max_tool_calls:
        return Reason.MAX_TOOL_CALLS.value
    return Reason.MAX_USD.value if budgets.max_spend is not None and 0 < budgets.max_spend <= run.spend else None


class Usd(NamedTuple):
    """A run's money, as people count it."""

    used: float
    limit: float
    remaining: float


def usd_of(run: Run, budgets: Budgets) -> Usd | None:
    """What the run has spent of its money; None where it has no limit."""
    limit = budgets.max_spend
    if limit is None:
        return None
    return Usd(run.spend / 1_000_000, limit / 1_000_000, max(0, limit - run.spend) / 1_000_000)


def saved_form(run: Run, now: Moment) -> SavedRun:
    """The run as it stands."""
    return SavedRun(
        key=run.key,
        started=run.wall,
        elapsed=run.elapsed(now),
        as_of=now.wall - run.since_end(now),
        tool_calls=run.tool_calls,
        steps=run.steps,
        stop_reason=run.stop_reason,
        ended_by=run.ended_by,
        spend=run.spend,
        calls=run.calls_by_tool(),
    )


def restored_run(old: SavedRun, now: Moment) -> Run:
    """What an earlier process left, on this one's clock. Time never runs backwards for it, however the wall clock was set."""
    at = now.mono - max(0.0, now.wall - old.as_of)
    run = Run(old.key, Moment(at - old.elapsed, old.started))
    run.tool_calls, run.steps, run.spend = old.tool_calls, old.steps, old.spend
    if old.stop_reason is not None:
        run.ended, run.ended_by, run.stop_reason = at, old.ended_by, old.stop_reason
    elif len(old.calls) == 1 and old.calls[0][1] == old.tool_calls:
        run.calls = old.calls[0][0]
    elif old.calls:
        run.calls = Tally(old.calls)
    return run
