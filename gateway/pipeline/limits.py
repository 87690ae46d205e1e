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
    """Monotonic instants."""

    deadline: float
    run: float = inf
    """inf for an anonymous window, which bounds counts only."""

    def first(self, attempt: float) -> tuple[float, Timer]:
        """`attempt`: when the attempt's own timer would fire."""
        if attempt <= self.deadline and attempt <= self.run:
            return attempt, Timer.ATTEMPT
        if self.deadline <= self.run:
            return self.deadline, Timer.DEADLINE
        return self.run, Timer.RUN

    @property
    def end(self) -> float:
        """When the call must be done, whatever it is doing."""
        return min(self.deadline, self.run)

    def left(self, now: float) -> float:
        """Seconds until the call must be done."""
        return self.end - now
