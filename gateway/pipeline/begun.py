"""A call whose first attempt is under way with no task to wait for it, as the fast lane has it: nearly all are answered without one."""

from collections.abc import Awaitable
from typing import Protocol

from gateway.model import Attempt, Reply
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.inflight import Wait


class Exchange(Protocol):
    """A request that was sent, and as much of its reply as has arrived."""

    def hand_over(self) -> None:
        """From now on the Taker is not called: what arrives is kept for `arrive`."""
        ...

    def arrive(self) -> Awaitable[Reply]:
        """Waits for the reply as any attempt does, including what has come so far. Raises UpstreamError. Called once at most."""
        ...

    def abort(self) -> None:
        """Gives it up. Does nothing once the reply was waited for or taken."""
        ...


class Taker(Protocol):
    """Whoever began an exchange: one of its two methods is called, once, unless the exchange is handed over or aborted before."""

    def take(self, reply: Reply) -> None:
        """The reply is whole."""
        ...

    def look(self) -> None:
        """Anything else came, or the connection is gone: `arrive` tells what."""
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
