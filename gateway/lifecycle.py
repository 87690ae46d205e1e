"""From readiness to exit: signals, the lame duck and the drain (SPEC 9)."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial

from gateway.state.counts import Counts

LAST_SECONDS = 5.0
"""What calls in flight have once new ones are refused; part of GATEWAY_DRAIN_SECONDS."""
TICK = 0.05
"""How often the lame duck looks whether the agent has gone quiet."""


class Phase(StrEnum):
    """What the gateway does with new calls; `/readyz` says it."""

    STARTING = "starting"
    SERVING = "serving"
    LAME_DUCK = "lame duck"
    """Not ready, but the agent may still be at work: calls are served."""
    DRAINING = "draining"


class Lifecycle:
    """Waits for signals and takes the phases in order."""

    def __init__(
        self,
        counts: Counts,
        *,
        drain: float,
        idle: float,
        on_hangup: Callable[[], None],
        on_phase: Callable[[Phase], None],
    ) -> None:
        self._counts = counts
        self._drain = drain
        self._idle = idle
        self._on_hangup = on_hangup
        self._on_phase = on_phase
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._hurried = False

    async def run(self) -> None:
        """Returns when nothing is left to wait for; the listeners are still open then."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._on_phase(Phase.SERVING)
        await self._stop.wait()
        end = loop.time() + (LAST_SECONDS if self._hurried else self._drain)
        if not self._hurried:
            self._on_phase(Phase.LAME_DUCK)
            await self._until(partial(self._quiet, loop.time()), end - LAST_SECONDS)
        self._counts.draining = True
        self._on_phase(Phase.DRAINING)
        await self._until(lambda: not len(self._counts.in_flight), min(end, loop.time() + LAST_SECONDS))
        self._counts.in_flight.cut_all()

    def _terminate(self) -> None:
        if self._stop.is_set():
            self._at_once.set()  # a second SIGTERM ends at once
        self._stop.set()

    def _interrupt(self) -> None:
        if self._hurried:
            self._at_once.set()  # so does a second SIGINT
        self._hurried = True  # a first one, also after SIGTERM, skips the lame duck
        self._stop.set()

    def _quiet(self, signalled: float) -> bool:
        """No call was in flight for the idle time; a stream that has been silent as long is no traffic.

        Counted from the signal on: an agent that was thinking when it came may still want to call.
        """
        now = asyncio.get_running_loop().time()
        quiet = min(self._counts.in_flight.quiet_for(now), now - signalled)
        return self._hurried or quiet > self._idle  # 0 while a call is at work: no idle time is short enough for that

    async def _until(self, done: Callable[[], bool], end: float) -> None:
        loop = asyncio.get_running_loop()
        while not done() and loop.time() < end and not self._at_once.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._at_once.wait()
