"""A call whose first attempt is under way with no task to wait for it, as the fast lane has it: nearly all are answered without one."""

from collections.abc import Awaitable
from typing import Protocol

from gateway.model import Attempt, Reply
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.inflight import Wait


class Exchange(Protocol):
    """The request on its way, and what has come of the reply."""

    def hand_over(self) -> None:
        """What comes from now on is kept for `arrive`: who began it hears no more of it."""
        ...

    def arrive(self) -> Awaitable[Reply]:
        """Waits for it as any attempt waits for its reply, with all that has come so far. Raises UpstreamError. Called once at most."""
        ...

    def abort(self) -> None:
        """Nobody wants it any more. Does nothing once the reply was waited for or taken."""
        ...


class Taker(Protocol):
    """Who has begun an exchange. One of the two is called, once, unless the exchange is waited for or aborted before."""

    def take(self, reply: Reply) -> None:
        """The reply is whole."""
        ...

    def look(self) -> None:
        """Something else has come of it, which `arrive` tells."""
        ...


class Begun:
    """Admitted, charged and sent. Its pipeline completes it, goes on with it, or abandons it: one of the three, once."""

    __slots__ = ("at", "attempt", "exchange", "plan", "progress", "wait")

    exchange: Exchange

    def __init__(self, progress: Progress, plan: Plan, wait: Wait, attempt: Attempt, at: float) -> None:
        self.progress = progress
        self.plan = plan
        self.wait = wait
        self.attempt = attempt
        self.at = at
        """Loop time of the attempt's start."""

    @property
    def size(self) -> int:
        """Bytes of its body, which is whole."""
        body = self.progress.call.body
        return len(body) if isinstance(body, bytes) else 0
