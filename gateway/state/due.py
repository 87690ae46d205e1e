"""When each run is to be looked at next: by whole seconds, so that many runs cost no more than few. Pure."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class DueList(Generic[T]):
    """Things and the seconds they fall due in; which of them are still wanted is not known here."""

    def __init__(self) -> None:
        self._seconds: list[int] = []
        """A heap of those that hold something."""
        self._due: dict[int, list[T]] = {}
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def add(self, thing: T, instant: float) -> None:
        """To be taken in the second of this instant, or later."""
        second = int(instant // 1)
        there = self._due.get(second)
        if there is None:
            there = self._due[second] = []
            heappush(self._seconds, second)
        there.append(thing)
        self._held += 1

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Lets go of all others."""
        self._due = {second: [thing for thing in there if wanted(thing)] for second, there in self._due.items()}
        self._held = sum(map(len, self._due.values()))

    def take(self, now: float, most: int) -> list[T]:
        """Those of all seconds up to this one, the present included, the oldest first; no more than `most`."""
        taken: list[T] = []
        while self._seconds and self._seconds[0] <= now and len(taken) < most:
            there, room = self._due[self._seconds[0]], most - len(taken)
            taken += there[:room]
            del there[:room]
            if not there:
                del self._due[heappop(self._seconds)]
        self._held -= len(taken)
        return taken
