"""An upstream in a bad mood: it tells the oracle of every request, then answers as its weather says."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from tests.chaos.oracle import Oracle, Seen

CALL = "X-Chaos-Call"
"""An end-to-end header of the caller's: which call this is an attempt of."""


@dataclass(frozen=True)
class Weather:
    """Shares of requests that meet a fault; the rest is answered 200 after `slow` seconds."""

    name: str
    slow: float = 0.002
    status: Mapping[int, float] | None = None
    hang: float = 0.0
    reset: float = 0.0
    retry_after: int | None = None
    listens: bool = True


WEATHER = (
    Weather("fine"),
    Weather("fine"),
    Weather("slow", slow=0.4),
    Weather("brown-out", hang=0.3, status={503: 0.3}),
    Weather("outage", status={503: 1.0}),
    Weather("resets", reset=0.5),
    Weather("gone", listens=False),
    Weather("rate limit with Retry-After", status={429: 0.7}, retry_after=1),
    Weather("rate limit without Retry-After", status={429: 0.7}),
    Weather("its own errors", status={500: 0.5, 404: 0.2}),
)


class Upstream:
    """A server on a port that stays the same while it comes and goes."""

    def __init__(self, oracle: Oracle, dice: random.Random) -> None:
        self.weather = WEATHER[0]
        self.port = 0
        self._oracle = oracle
        self._dice = dice

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def change(self, weather: Weather) -> None:
        """From now on."""
        if weather.listens and not self.weather.listens:
            await self._listen()
        if not weather.listens and self.weather.listens:
            await self._site.stop()
        self.weather = weather

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        at = asyncio.get_running_loop().time()
        await request.read()
        weather, dice = self.weather, self._dice.random()
        call = request.headers[CALL]
        if dice < weather.hang:
            self._oracle.seen.append(Seen(at, call, 0))
            await asyncio.sleep(30)
        elif dice < weather.hang + weather.reset and request.transport is not None:
            self._oracle.seen.append(Seen(at, call, 0))
            request.transport.abort()
            return web.Response()
        share = weather.hang + weather.reset
        for status, part in (weather.status or {}).items():
            share += part
            if dice < share:
                self._oracle.seen.append(Seen(at, call, status))
                headers = {} if weather.retry_after is None else {"Retry-After": str(weather.retry_after)}
                return web.json_response({"status": status}, status=status, headers=headers)
        self._oracle.seen.append(Seen(at, call, 200))
        await asyncio.sleep(weather.slow)
        return web.json_response({"ok": True})
