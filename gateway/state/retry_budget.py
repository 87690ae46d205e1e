"""Retry budgets: retries of an upstream are bounded by the first attempts made at it, so that no outage is amplified. Pure."""

from typing import Final

SPAN: Final = 10.0
"""Seconds over which both kinds of attempt are counted (SPEC 5)."""
SPARE: Final = 3
"""Retries in any SPAN that no first attempt has to pay for, so that a quiet upstream's calls are repeated too."""
_SLOTS: Final = 20
"""A budget counts by half seconds: its memory does not grow with the traffic, and it gives away at most a twentieth of the share."""


class RetryBudgets:
    """One budget an upstream (a built-in tool counts as its own).

    At the instant of every retry the last 10 seconds hold no more retries than `percent` of the first attempts in them, plus three.
    """

    def __init__(self) -> None:
        self.refused = 0
        """Retries that would have been too many, since the start."""
        self._budgets: dict[str, _Budget] = {}

    def first(self, upstream: str, now: float) -> None:
        """Notes the first attempt of a call."""
        budget = self._budgets.get(upstream)
        if budget is None:
            budget = self._new(upstream, now)
        budget.first(_slot(now))

    def take(self, upstream: str, at: float, now: float, percent: int) -> bool:
        """May a retry be made at `at` (>= now)? If so it is counted there, whether it comes about or not."""
        budget = self._budgets.get(upstream)
        if budget is None:
            budget = self._new(upstream, now)
        granted = budget.take(_slot(at), percent)
        self.refused += not granted
        return granted

    def _new(self, upstream: str, now: float) -> "_Budget":
        """A new name is rare: the moment to forget those of former policies."""
        oldest = _slot(now) - _SLOTS
        self._budgets = {name: budget for name, budget in self._budgets.items() if budget.newest >= oldest}
        budget = self._budgets[upstream] = _Budget()
        return budget


class _Budget:
    """Attempts by the slot they fall into. Rounding is against the retry: theirs are counted over more than SPAN, the others over less."""

    __slots__ = ("_firsts", "_retries", "newest")

    def __init__(self) -> None:
        self.newest = -1
        """The latest slot with an attempt in it, made or to come."""
        self._firsts: dict[int, int] = {}
        self._retries: dict[int, int] = {}

    def first(self, slot: int) -> None:
        if slot in self._firsts:
            self._firsts[slot] += 1
        else:
            self._forget(slot - _SLOTS)
            self._firsts[slot] = 1
            self.newest = max(self.newest, slot)

    def take(self, slot: int, percent: int) -> bool:
        """Every span that would hold the retry and ends with it, or with a later one that was granted already, must have room."""
        ends = [slot, *(later for later in self._retries if slot < later <= slot + _SLOTS)]
        if any(self._full(end, percent) for end in ends):
            return False
        self._retries[slot] = self._retries.get(slot, 0) + 1
        self.newest = max(self.newest, slot)
        return True

    def _full(self, end: int, percent: int) -> bool:
        """First attempts that are still to come before `end` are not reckoned with."""
        retries = sum(count for slot, count in self._retries.items() if end - _SLOTS <= slot <= end)
        firsts = sum(count for slot, count in self._firsts.items() if slot > end - _SLOTS)
        return 100 * (retries + 1) > percent * firsts + 100 * SPARE

    def _forget(self, before: int) -> None:
        self._firsts = {slot: count for slot, count in self._firsts.items() if slot >= before}
        self._retries = {slot: count for slot, count in self._retries.items() if slot >= before}


def _slot(instant: float) -> int:
    return int(instant * _SLOTS / SPAN)
