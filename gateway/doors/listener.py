"""The data plane's connections: aiohttp's own, with a bound on their number and on the time a request's head may take."""

import asyncio
from http import HTTPStatus

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import BaseRequest, Response, Server, StreamResponse
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.doors.front import Front

IDLE_KEEPALIVE = 75.0
"""Seconds an idle connection is kept (SPEC 1), as nginx does."""
LINGER = 2.0
"""Seconds to drain a body that a denial did not read, so that the client can read the denial before its write fails."""
LINE_BYTES = 16 * 1024
"""The request line, nginx's large_client_header_buffers doubled. It differs from FIELD_BYTES: the parser's error tells only the limit."""
FIELD_BYTES = 32 * 1024
"""One header: bearer tokens are long."""


class Listener(Server):
    """Makes a Connection for every accepted socket, and counts them."""

    def __init__(self, front: Front, *, max_connections: int, read_timeout: float) -> None:
        super().__init__(
            front,
            handler_cancellation=True,  # a caller that leaves must cancel the upstream call (TRAPS 13)
            keepalive_timeout=IDLE_KEEPALIVE,  # never aiohttp's 3,630 s (TRAPS 13)
            lingering_time=LINGER,
            access_log=None,  # 50 µs a call, and it prints URLs; the structured log says more
            auto_decompress=False,  # bodies go on as they came (TRAPS 6)
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
        )
        self.front = front
        self.max_connections = max_connections
        self.read_timeout = read_timeout
        self.refused = 0
        """Connections closed at once since the start, for GATEWAY_MAX_CONNECTIONS."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def crowded(self) -> bool:
        """Is this connection one too many? (It is counted already.)"""
        return len(self._connections) > self.max_connections


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_head_timer", "_listener")

    def __init__(self, listener: Listener, *, loop: asyncio.AbstractEventLoop, **kwargs: object) -> None:
        super().__init__(listener, loop=loop, **kwargs)  # type: ignore[arg-type]  # aiohttp types its options one by one
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._listener.crowded:
            self._listener.refused += 1
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._request_in_progress or self._messages:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  the parser's own text may repeat bytes of the request
    ) -> StreamResponse:
        """Malformed HTTP, no HTTP at all, or a fault of ours: answered and logged in our form."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way and can only be cut")
        response: Response = self._listener.front.broken(request, status_of(status, exc), exc)
        response.force_close()
        return response

    def _start_head_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._listener.read_timeout, self._head_too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._fail(HTTPStatus.REQUEST_TIMEOUT)

    def _fail(self, status: HTTPStatus) -> None:
        """Answers, logs and closes the way aiohttp does where its parser fails, in the place of a request that never came."""
        error = HttpProcessingError(code=status)
        self._messages.append((_ErrInfo(status, error, ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def status_of(status: int, error: BaseException | None) -> int:
    """aiohttp says 400 to all it cannot parse; the closer status where HTTP has one."""
    if isinstance(error, LineTooLong):
        return (
            HTTPStatus.REQUEST_URI_TOO_LONG
            if error.args[1] == LINE_BYTES
            else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )
    return status
