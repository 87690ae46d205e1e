"""An upstream in a bad mood: it tells the oracle of every request, then answers as its weather says."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from aiohttp import web

from tests.chaos.oracle import Oracle, Seen
from tests.chaos.policy import BROKEN

CALL = "X-Chaos-Call"
"""An end-to-end header of the caller's: which call this is an attempt of."""
LAST_EVENT = b"data: that was all\n\n"
LONGEST_FILL = 300_000


@dataclass(frozen=True)
class Weather:
    """Shares of requests that meet a fault; the rest is answered 200 after `slow` seconds."""

    name: str
    slow: float = 0.002
    status: Mapping[int, float] | None = None
    hang: float = 0.0
    reset: float = 0.0
    cut: float = 0.0
    """In the middle of the answer."""
    retry_after: int | None = None
    listens: bool = True


WEATHER = (
    Weather("fine"),
    Weather("fine"),
    Weather("slow", slow=0.4),
    Weather("brown-out", hang=0.3, status={503: 0.3}),
    Weather("outage", status={503: 1.0}),
    Weather("resets", reset=0.5),
    Weather("cuts", cut=0.5),
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
        try:
            return await self._respond(request)
        except ConnectionError:  # the gateway has left meanwhile
            return web.Response()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        at, weather, dice = asyncio.get_running_loop().time(), self.weather, self._dice.random()
        fault = self._fault(weather, dice)
        seen = Seen(at, request.headers[CALL], 200 if fault is None else fault, request.path)
        self._oracle.seen.append(seen)  # before the body: a call whose body never comes was seen, too
        body = await request.read()
        if fault == 0 and dice < weather.hang:
            await asyncio.sleep(30)
        if fault == 0 and dice < weather.hang + weather.reset:
            return await self._reset(request)
        if fault:
            headers = {} if weather.retry_after is None else {"Retry-After": str(weather.retry_after)}
            return web.json_response({"status": fault}, status=fault, headers=headers)
        await asyncio.sleep(weather.slow)
        if request.path == BROKEN:
            return web.json_response({"by": seen.call}, status=500)
        if request.path == "/events":
            return await self._events(request, cut=fault == 0)
        return await self._answer(request, answer_to(seen.call, body, request.path == "/large"), cut=fault == 0)

    def _fault(self, weather: Weather, dice: float) -> int | None:
        """The status, 0 for what has none; None: all is well."""
        share = weather.hang + weather.reset + weather.cut
        if dice < share:
            return 0
        for status, part in (weather.status or {}).items():
            share += part
            if dice < share:
                return status
        return None

    async def _answer(self, request: web.BaseRequest, body: bytes, *, cut: bool) -> web.StreamResponse:
        if not cut and self._dice.random() < 0.5:
            return web.Response(body=body)
        answer = web.StreamResponse()
        if not cut:
            answer.enable_chunked_encoding()
        else:
            answer.content_length = len(body)
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
        if cut:
            return await self._reset(request)
        await answer.write(body[len(body) // 2 :])
        await answer.write_eof()
        return answer

    async def _events(self, request: web.BaseRequest, *, cut: bool) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(self._dice.randrange(1, 20)):
            await answer.write(b"data: %d\n\n" % number)
            await asyncio.sleep(self._dice.uniform(0, 0.1))
        if cut:
            return await self._reset(request)
        await answer.write(LAST_EVENT)
        await answer.write_eof()
        return answer

    async def _reset(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        await asyncio.sleep(0)
        return web.Response()


def answer_to(call: str, body: bytes, large: bool) -> bytes:
    """Says for which call it was performed and with which body, and is of a length that only this call's has."""
    fill = int.from_bytes(sha256(call.encode()).digest()[:4], "big") % LONGEST_FILL if large else 0
    return json.dumps(
        {"by": call, "body": sha256(body).hexdigest(), "fill": (call + " ") * (fill // len(call))}
    ).encode()


def performer(answer: bytes, body: bytes) -> str:
    """The call that such an answer was made for. Raises ValueError where it is not the whole answer to a call with this body."""
    call = str(json.loads(answer)["by"])
    if answer not in (answer_to(call, body, large=True), answer_to(call, body, large=False)):
        raise ValueError("not what the upstream said")
    return call
