"""A tool as the gateway meets it: a real HTTP server on loopback that counts what it receives and does as it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ToolServer:
    """`replies` are used up first, one a request; then `behaviour` answers."""

    received: list[Received] = field(default_factory=list)
    cancelled: int = 0
    replies: list[Behaviour] = field(default_factory=list)
    behaviour: Behaviour | None = None
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        # handler_cancellation shows whether a caller that leaves takes the upstream call with it
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def calls(self) -> int:
        return len(self.received)

    async def seen(self, calls: int = 1) -> None:
        """Waits until so many requests have arrived."""
        await self._until(lambda: self.calls >= calls)

    async def left(self, calls: int = 1) -> None:
        """Waits until the caller has left so many requests before they were answered."""
        await self._until(lambda: self.cancelled >= calls)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(true)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received(request.method, request.raw_path, dict(request.headers), body))
        await self._tell()
        behaviour = self.replies.pop(0) if self.replies else self.behaviour or ok
        try:
            return await behaviour(request)  # type: ignore[arg-type]  # a low-level server hands out BaseRequests
        except asyncio.CancelledError:
            self.cancelled += 1
            self._telling = asyncio.create_task(self._tell())
            raise


async def ok(request: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})


def status(code: int, **headers: str) -> Behaviour:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"status": code}, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return reply


async def reset(request: web.Request) -> web.StreamResponse:
    """Closes the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.sleep(0)
    return web.Response()


def hang(until: asyncio.Event) -> Behaviour:
    async def reply(request: web.Request) -> web.StreamResponse:
        await until.wait()
        return web.json_response({"late": True})

    return reply
