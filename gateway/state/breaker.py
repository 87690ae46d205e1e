"""Breakers: an upstream whose attempts fail one after the other is left alone for a while. Pure; kept by its name over reloads."""

from collections.abc import Callable, Collection
from enum import StrEnum
from math import inf
from typing import NamedTuple, Protocol

from gateway.bounds import USUAL_BREAKER, BreakerBounds

PROBE_SECONDS = 1.0
"""What a call is told to wait while the probe is at work: most answers, and most failures, take no longer."""
_SPREAD = 0.2
"""The time until the probe varies by this share, so that the gateways of a fleet do not probe all at once (SPEC 5)."""


class BreakerState(StrEnum):
    """As log, metrics and admin plane say it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Change(NamedTuple):
    """A breaker has a new state."""

    upstream: str
    state: BreakerState
    failures: int
    """Attempts that failed in a row; 0 where it closed."""
    open_for: float | None = None
    """Where it opened: seconds until the probe."""


def _tell_nobody(change: Change) -> None:
    pass


class Trial(Protocol):
    """One attempt as its breaker sees it. Whoever holds one says at most one word more after `answered`."""

    def answered(self) -> None:
        """The head of an answer that speaks for the upstream is there, its body still arriving."""
        ...

    def succeeded(self) -> None:
        """A whole answer came, or an endless one began, with any status but 502, 503, 504."""
        ...

    def failed(self, now: float, dice: float) -> None:
        """It failed to connect, broke, timed out, or was answered 502, 503 or 504. `dice` in [0, 1) spreads the time until the probe."""
        ...

    def forgotten(self) -> None:
        """It says nothing about the upstream: killed, or its caller left."""
        ...


class Breakers:
    """All of them. An upstream is in `_closed` or in `_open`; what no attempt was made at is in neither, and closed."""

    def __init__(self) -> None:
        self.on_change: Callable[[Change], None] = _tell_nobody
        """Set once, by app.py."""
        self._closed: dict[str, _Closed] = {}
        self._open: dict[str, _Open] = {}

    def opens_in(self, upstream: str, now: float) -> float | None:
        """Seconds until an attempt may be made; None: now. Half-open with its probe at work: the shortest wait worth asking for."""
        left_alone = self._open.get(upstream)
        return None if left_alone is None else left_alone.opens_in(now)

    def begin(self, upstream: str, bounds: BreakerBounds, now: float) -> Trial | None:
        """Called just before an attempt; None: not now. A half-open breaker lets one through at a time."""
        left_alone = self._open.get(upstream)
        if left_alone is not None:
            return left_alone.probe(bounds, now)
        closed = self._closed.get(upstream)
        if closed is None:
            closed = self._closed[upstream] = _Closed(self, upstream)
        closed.bounds = bounds
        return closed

    def state(self, upstream: str, now: float) -> BreakerState:
        """Half-open from the instant at which a probe may be made, although none has been asked for yet."""
        left_alone = self._open.get(upstream)
        if left_alone is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if left_alone.probed or now >= left_alone.until else BreakerState.OPEN

    @property
    def all_closed(self) -> bool:
        return not self._open

    def failing(self) -> tuple[str, ...]:
        """Upstreams whose breaker is not closed."""
        return tuple(self._open)

    def keep(self, upstreams: Collection[str]) -> None:
        """Forgets all others: no policy names them any more."""
        for known in (self._closed, self._open):
            for name in [name for name in known if name not in upstreams]:
                del known[name]

    def open(self, closed: "_Closed", now: float, dice: float) -> None:
        """Too many failures in a row. Attempts that began before it opened (or before it was forgotten) have no say any more."""
        if self._closed.get(closed.upstream) is closed:
            del self._closed[closed.upstream]
            self._leave_alone(closed.upstream, closed.failures, closed.bounds, now, dice)

    def open_again(self, half_open: "_Open", now: float, dice: float) -> None:
        """The probe failed."""
        if self._open.get(half_open.upstream) is half_open:
            self._leave_alone(half_open.upstream, half_open.failures + 1, half_open.bounds, now, dice)

    def close(self, half_open: "_Open") -> None:
        """A probe was answered."""
        if self._open.get(half_open.upstream) is half_open:
            del self._open[half_open.upstream]
            self.on_change(Change(half_open.upstream, BreakerState.CLOSED, 0))

    def _leave_alone(self, upstream: str, failures: int, bounds: BreakerBounds, now: float, dice: float) -> None:
        seconds = bounds.open_for * (1 - _SPREAD + 2 * _SPREAD * dice)
        self._open[upstream] = _Open(self, upstream, failures, now + seconds)
        self.on_change(Change(upstream, BreakerState.OPEN, failures, seconds))


class _Closed:
    """Since it last closed. It is the Trial of all attempts that began since then: they share one row of failures."""

    __slots__ = ("_breakers", "bounds", "failures", "upstream")

    def __init__(self, breakers: Breakers, upstream: str) -> None:
        self._breakers = breakers
        self.upstream = upstream
        self.bounds = USUAL_BREAKER
        self.failures = 0
        """In a row."""

    def answered(self) -> None:
        """The body's end will tell."""

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, now: float, dice: float) -> None:
        self.failures += 1
        if self.failures >= self.bounds.failures:
            self._breakers.open(self, now, dice)

    def forgotten(self) -> None:
        """One attempt less to hear from."""


class _Open:
    """Since it last opened, until a probe succeeds or fails."""

    __slots__ = ("_breakers", "bounds", "failures", "latest", "probed", "until", "upstream")

    def __init__(self, breakers: Breakers, upstream: str, failures: int, until: float) -> None:
        self._breakers = breakers
        self.upstream = upstream
        self.bounds = USUAL_BREAKER
        self.failures = failures
        self.until = until
        """No attempt before this instant."""
        self.probed = False
        self.latest: _Probe | None = None
        """The probe at work."""

    def opens_in(self, now: float) -> float | None:
        if now >= self.until:
            return None
        return self.until - now if self.latest is None else min(PROBE_SECONDS, self.until - now)

    def probe(self, bounds: BreakerBounds, now: float) -> "_Probe | None":
        """One at a time, though one that hangs for as long as the breaker was open keeps the next from going no longer: else a tool's
        long timeout would delay the recovery.
        """
        if now < self.until:
            return None
        self.bounds = bounds
        self.until = now + bounds.open_for
        if not self.probed:
            self.probed = True
            self._breakers.on_change(Change(self.upstream, BreakerState.HALF_OPEN, self.failures))
        self.latest = _Probe(self._breakers, self)
        return self.latest


class _Probe:
    """The Trial of an attempt that a half-open breaker let through. Any answer closes it; of failures only the latest probe's counts."""

    __slots__ = ("_breakers", "_half_open")

    def __init__(self, breakers: Breakers, half_open: _Open) -> None:
        self._breakers = breakers
        self._half_open = half_open

    def answered(self) -> None:
        """Not the whole body is waited for: a slow reader would keep everybody else out."""
        self._breakers.close(self._half_open)

    def succeeded(self) -> None:
        self._breakers.close(self._half_open)

    def failed(self, now: float, dice: float) -> None:
        if self._half_open.latest is self:
            self._breakers.open_again(self._half_open, now, dice)

    def forgotten(self) -> None:
        """The next call may be the probe."""
        if self._half_open.latest is self:
            self._half_open.latest = None
            self._half_open.until = -inf
