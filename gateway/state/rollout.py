"""A candidate on trial, in numbers: which runs live under it, how both sides fare, when it has lost. Pure; knows no policy.

Nothing about a run is stored: its place comes from its name alone, so a restart and every replica find the same.
"""

import json
from collections import deque
from hashlib import blake2b
from typing import NamedTuple

WINDOW = 300
"""Seconds over which the two sides are compared (SPEC 8)."""
_PLACES = 2**32
_MILLION = 1_000_000


def is_chosen(agent: str, run: str, percent: float) -> bool:
    """Does the run live under the candidate? Of one that does at some percentage, any higher one says the same.

    A call without a run id (`run` is "") goes by its agent: its window has no name of its own.
    """
    name = f"run {run}" if run else f"agent {agent}"
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4, person=b"tool-gateway").digest()
    return int.from_bytes(digest, "big") < percent * _PLACES / 100


class Figures(NamedTuple):
    """How one side fared within the window."""

    calls: int
    errors: int

    @property
    def error_share(self) -> float:
        """Errors as a share of all calls; 0 without any."""
        return self.errors / self.calls if self.calls else 0.0


NO_CALLS = Figures(0, 0)


class SlidingFigures:
    """One side's calls and errors of the last WINDOW seconds, second by second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Figures]] = deque()
        self._total = NO_CALLS

    def count(self, *, error: bool, mono: float) -> None:
        """`mono`: monotonic seconds, never less than before."""
        second, one = int(mono), Figures(1, int(error))
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = second, _sum(self._seconds[-1][1], one)
        else:
            self._seconds.append((second, one))
        self._total = _sum(self._total, one)

    def figures(self, mono: float) -> Figures:
        """The calls and errors within the window now."""
        while self._seconds and self._seconds[0][0] <= mono - WINDOW:
            calls, errors = self._seconds.popleft()[1]
            self._total = Figures(self._total.calls - calls, self._total.errors - errors)
        return self._total


def has_lost(candidate: Figures, live: Figures, *, min_calls: int, margin: float) -> bool:
    """Does the candidate's error share exceed the live policy's by more than `margin`, with at least `min_calls` on both sides?

    Whole numbers throughout: exactly the margin is no more than the margin.
    """
    if min(candidate.calls, live.calls) < min_calls:
        return False
    ahead = candidate.errors * live.calls - live.errors * candidate.calls
    return ahead * _MILLION > round(margin * _MILLION) * candidate.calls * live.calls


class RolledBack(NamedTuple):
    """A candidate that is not tried again while its file's content stays the same."""

    content: str
    """SHA-256 hex of candidate.yaml."""
    version: str
    at: float
    """Unix seconds."""
    reason: str
    who: str
    candidate: Figures
    live: Figures

    def note(self) -> str:
        """As the store keeps it: `of` reads it."""
        return json.dumps(self._asdict())

    @classmethod
    def of(cls, note: str | None) -> "RolledBack | None":
        """What `note` wrote; None where there is none, or none that can be read."""
        try:
            found = cls(**json.loads(note or "null"))
            return found._replace(candidate=Figures(*found.candidate), live=Figures(*found.live))
        except (TypeError, ValueError):
            return None


def _sum(one: Figures, other: Figures) -> Figures:
    return Figures(one.calls + other.calls, one.errors + other.errors)
