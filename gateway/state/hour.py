"""How often something happened in the last hour: exact whole numbers by the second. Knows no clock; seconds are arguments."""

from bisect import insort

HOUR = 3600


class SlidingHour:
    """What happened within a second counts until an hour after that second's end: never too short, at most a second too long.

    Holds at most one number for each second of an hour.
    """

    __slots__ = ("_counts", "_seconds", "changed", "used")

    def __init__(self) -> None:
        self.used = 0
        """In all the seconds held; call `leave` first."""
        self.changed: set[int] = set()
        """Seconds whose count is not saved yet."""
        self._counts: dict[int, int] = {}
        self._seconds: list[int] = []

    def add(self, second: int, count: int = 1) -> None:
        """`second` is that of a call's arrival: now and then an earlier one than the last."""
        if second not in self._counts:
            self._counts[second] = 0
            insort(self._seconds, second)
        self._counts[second] += count
        self.used += count
        self.changed.add(second)

    def take_back(self, second: int) -> None:
        """One less, unless it has left already. (After a restart the clock may have been read a second off.)"""
        for near in (second, second - 1, second + 1):
            if self._counts.get(near, 0) > 0:
                self._counts[near] -= 1
                self.used -= 1
                self.changed.add(near)
                return

    def leave(self, now: int) -> None:
        """Lets go of what is older than an hour."""
        seconds = self._seconds
        gone = 0
        while gone < len(seconds) and _free_again(seconds[gone]) <= now:
            self.used -= self._counts.pop(seconds[gone])
            self.changed.add(seconds[gone])
            gone += 1
        del seconds[:gone]

    def frees(self, limit: int) -> int | None:
        """The second in which there is room for one more under `limit`; None: never, the limit is 0."""
        left = self.used
        for second in self._seconds:
            left -= self._counts[second]
            if left < limit:
                return _free_again(second)
        return None

    def of(self, second: int) -> int:
        """The count of one second."""
        return self._counts.get(second, 0)

    def __bool__(self) -> bool:
        return bool(self._seconds)


def _free_again(second: int) -> int:
    return second + 1 + HOUR
