"""A tool's rate. (A file of its own, so that only policies with rates pay for aiolimiter.)"""

from aiolimiter import AsyncLimiter

from gateway.bounds import Rate


class Bucket(AsyncLimiter):
    """aiolimiter's leaky bucket, asked where it would be waited for: the queue in front of it is the pacer's, and so is the wait."""

    __slots__ = ()

    def __init__(self, rate: Rate) -> None:
        super().__init__(rate.burst, rate.burst / rate.per_second)

    def room_in(self, ahead: int = 0, after: float = 0.0) -> float:
        """Seconds until it has room for one attempt behind `ahead` others, where none of them goes within `after` seconds."""
        self._leak()
        level = max(0.0, self._level - after * self._rate_per_sec)
        return after + max(0.0, (level + ahead + 1 - self.max_rate) / self._rate_per_sec)

    def pour(self) -> None:
        """One attempt goes."""
        self._leak()
        self._level += 1

    def free(self) -> float:
        """How many attempts could go at once, fractions included."""
        self._leak()
        return max(0.0, self.max_rate - self._level)

    def take_over(self, old: "Bucket") -> None:
        """What was free stays free, as far as it fits; nothing is added, so that no reload is worth a burst."""
        self._leak()
        self._level = max(0.0, self.max_rate - old.free())
