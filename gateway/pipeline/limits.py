"""Which timer fires first: the attempt's timeout, the call's deadline or the end of the run? Pure."""

from enum import StrEnum
from math import inf
from typing import NamedTuple


class Timer(StrEnum):
    """The three timers of a call. A tie names the narrower one, since that is what an operator would change."""

    ATTEMPT = "attempt"
    DEADLINE = "deadline"
    RUN = "run"


class Limits(NamedTuple):
    """Monotonic instants; inf where there is no such limit."""

    deadline: float
    run: float = inf
    """An anonymous window bounds counts only."""

    def first(self, attempt: float = inf) -> tuple[float | None, Timer]:
        """When the next timer fires (None: never), and which; `attempt` is when the attempt's own would."""
        if attempt <= self.deadline and attempt <= self.run:
            return (None if attempt == inf else attempt), Timer.ATTEMPT
        if self.deadline <= self.run:
            return self.deadline, Timer.DEADLINE
        return self.run, Timer.RUN

    def left(self, now: float) -> float:
        """Seconds until the call must be done."""
        return min(self.deadline, self.run) - now
