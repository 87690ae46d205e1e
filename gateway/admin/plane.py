"""The admin plane's listener: it makes a connection of every accepted socket, and leads what is asked there through the gate."""

from collections.abc import Callable

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

from gateway.admin.connection import Connection
from gateway.admin.gate import Gate
from gateway.admin.live import Live
from gateway.admin.routes import Routes

LAST_WORDS = 1.0
"""Seconds for what is being answered when the gateway ends."""


class Plane(Server):
    """Made by `make_admin`, inside a running loop. `on_bug` is told of errors that no handler answered."""

    def __init__(self, gate: Gate, routes: Routes, live: Live, on_bug: Callable[[Exception], None]) -> None:
        super().__init__(self._serve)
        self.routes = routes
        self._gate = gate
        self._live = live
        self._on_bug = on_bug

    def __call__(self) -> RequestHandler:
        return Connection(self, self._on_bug, self._loop)

    async def _serve(self, request: BaseRequest) -> StreamResponse:
        return await self._gate.admit(request, self.routes.answer)

    async def close(self) -> None:
        """Idle connections at once, streams with their next line, the others when they are answered or LAST_WORDS are over."""
        self.pre_shutdown()
        self._live.close()
        await self.shutdown(LAST_WORDS)
