"""Who follows the calls as they end: each with a short queue of its own, which loses the oldest when nobody takes from it."""

from collections import deque
from collections.abc import Callable, Iterable

Meta = tuple[object, ...]
"""A Record's fields in their order, without the payloads."""
Wanted = Callable[[Meta], bool]

MOST_WAITING = 200
"""Calls. One that follows takes them many times a second: it falls behind when its connection does, or where calls outrun any reader."""


class Follower:
    """One of them. Sync and bounded like every observer: being followed delays no call."""

    def __init__(self, wanted: Wanted, wake: Callable[[], None]) -> None:
        self._wanted = wanted
        self._wake = wake
        self._waiting: deque[Meta] = deque(maxlen=MOST_WAITING)
        self._lost: int | None = 0

    def see(self, meta: Meta) -> None:
        """A call has ended. `wake` is called with the first one that waits."""
        if not self._wanted(meta):
            return
        if len(self._waiting) == MOST_WAITING and self._lost is not None:
            self._lost += 1
        self._waiting.append(meta)
        if len(self._waiting) == 1:
            self._wake()

    def catch_up(self, missed: Iterable[Meta] | None) -> None:
        """What ended since it was last here; None: that is not known any more."""
        if missed is None:
            self._lost = None
            self._wake()
        for meta in missed or ():
            self.see(meta)

    def take(self, most: int) -> tuple[int | None, list[Meta]]:
        """How many were lost before these, and the oldest that wait. None: nobody knows how many."""
        lost, self._lost = self._lost, 0
        return lost, [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
