"""The admin plane's connections: aiohttp's own, but what is no HTTP is answered in our form and printed nowhere.

aiohttp would send the bytes back and log them with a traceback: whoever reaches the port could fill stderr with what they like.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

from gateway.admin.problems import Refused, sealed

KEEPALIVE = 15.0
"""Seconds an idle connection is kept: operators and probes come and go."""
MOST_CONNECTIONS = 100
"""Beyond it the oldest goes. Refusing the newest would let an agent that shares our address keep the operator out by holding them."""


class Connection(RequestHandler):
    """One client connection. `on_bug` is told of errors that no handler answered."""

    __slots__ = ("_on_bug", "_server")

    def __init__(self, server: Server, on_bug: Callable[[Exception], None], loop: asyncio.AbstractEventLoop) -> None:
        no_log: Any = None  # which aiohttp takes, though its types do not say so
        super().__init__(server, loop=loop, access_log=no_log, keepalive_timeout=KEEPALIVE)
        self._on_bug = on_bug
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        oldest, *others = self._server.connections
        if len(others) >= MOST_CONNECTIONS:
            oldest.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  the parser's own text repeats bytes of the request
    ) -> StreamResponse:
        """The answer to a request that could not be read, or whose handler failed before it could answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way and can only be cut")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._on_bug(exc if isinstance(exc, Exception) else RuntimeError())
            refused = Refused(status, "The gateway failed to answer; its log has the place (internal_error).")
        else:
            refused = Refused(status, "The request is not valid HTTP/1.1.")
        response = sealed(refused.response())
        response.force_close()
        return response
