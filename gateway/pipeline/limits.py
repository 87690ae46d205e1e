"""Which timer fires first: the attempt's timeout, the call's deadline or the end of the run? Pure."""

from dataclasses import replace
from enum import StrEnum
from math import inf
from typing import Final

from gateway.denial import Denial
from gateway.model import ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.run import Run, is_window


class Timer(StrEnum):
    """The three timers of a call. A tie names the narrower one, since that is what an operator would change."""

    ATTEMPT = "attempt"
    DEADLINE = "deadline"
    RUN = "run"


ATTEMPT: Final = Timer.ATTEMPT
"""Python 3.11 takes 100 ns to find a member of an enum."""


class Limits:
    """Monotonic instants; inf where there is no such limit."""

    __slots__ = ("deadline", "run")

    def __init__(self, deadline: float, run: float = inf) -> None:
        self.deadline = deadline
        self.run = run
        """An anonymous window bounds counts only."""

    def first(self, attempt: float = inf) -> tuple[float | None, Timer]:
        """When the next timer fires (None: never), and which; `attempt` is when the attempt's own would."""
        if attempt <= self.deadline and attempt <= self.run:
            return (None if attempt == inf else attempt), ATTEMPT
        if self.deadline <= self.run:
            return self.deadline, Timer.DEADLINE
        return self.run, Timer.RUN

    def left(self, now: float) -> float:
        """Seconds until the call must be done."""
        return min(self.deadline, self.run) - now

    def within_run(self, denial: Denial, now: float) -> Denial:
        """SPEC 4: no client is led to wait for something that comes after the end of its run."""
        if denial.retry_after is None or denial.outlasts_run or now + denial.whole_wait < self.run:
            return denial
        return replace(denial, detail=f"{denial.detail} But this run ends before that.", outlasts_run=True)


def limits_of(call: ToolCall, plan: Plan, run: Run | None) -> Limits:
    """When the call and its run must be done. `run` is None for a run's first call, which starts it. In report mode, and in an anonymous
    window, no run ends by time.
    """
    deadline = call.started.mono + plan.deadline
    if plan.report or (is_window(call.run) if run is None else run.window):
        return Limits(deadline)
    return Limits(deadline, (call.started.mono if run is None else run.began) + plan.budgets.max_seconds)
