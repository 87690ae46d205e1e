"""Breakers: an upstream whose attempts fail one after the other is left alone for a while. Pure; kept by its name over reloads."""
# ruff: noqa: ARG002

from typing import Protocol

from gateway.bounds import BreakerBounds


class Trial(Protocol):
    """One attempt as its breaker sees it. The first word counts, later ones are ignored."""

    def succeeded(self) -> None:
        """A whole answer came, or an endless one began, with any status but 502, 503, 504."""
        ...

    def failed(self, now: float, dice: float) -> None:
        """It failed to connect, broke, timed out, or was answered 502, 503 or 504. `dice` in [0, 1) spreads the time until the probe."""
        ...

    def forgotten(self) -> None:
        """It says nothing about the upstream: killed, or its caller left."""
        ...


class _NoTrial:
    def succeeded(self) -> None:
        pass

    def failed(self, now: float, dice: float) -> None:
        pass

    def forgotten(self) -> None:
        pass


class Breakers:
    """All of them."""

    def opens_in(self, upstream: str, now: float) -> float | None:
        """Seconds until an attempt may be made; None: now. Half-open with its probe at work: the shortest wait worth asking for."""
        return None

    def begin(self, upstream: str, bounds: BreakerBounds, now: float) -> Trial | None:
        """Called just before an attempt; None: not now. A half-open breaker lets one through at a time."""
        return _NO_TRIAL


_NO_TRIAL = _NoTrial()
