"""The data plane's listener: it makes a connection of every accepted socket, and bounds their number."""

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server

from gateway.doors.connection import IDLE_KEEPALIVE
from gateway.doors.front import Front
from gateway.doors.junction import Junction
from gateway.doors.lane import Lane
from gateway.doors.learner import FIELD_BYTES, LINE_BYTES
from gateway.small_reads import READ_AHEAD
from gateway.state.buffers import Buffers

LINGER = 2.0
"""Seconds to drain a body that a denial did not read, so that the client can read the denial before its write fails."""


class Listener(Server):
    """Constructed once, by app.py."""

    def __init__(
        self, front: Front, lane: Lane, *, buffers: Buffers, max_connections: int, read_timeout: float
    ) -> None:
        super().__init__(
            self._serve,
            handler_cancellation=True,  # a caller that leaves must cancel the upstream call (TRAPS 13)
            keepalive_timeout=min(read_timeout / 2, IDLE_KEEPALIVE),  # a first look; see Connection._process_keepalive
            lingering_time=LINGER,
            access_log=None,  # 50 µs a call, and it prints URLs; the structured log says more
            read_bufsize=READ_AHEAD,
            auto_decompress=False,  # bodies go on as they came (TRAPS 6)
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
        )
        self.front = front
        self.lane: Lane | None = lane
        """None: every call takes the ordinary way."""
        self.buffers = buffers
        self.max_connections = max_connections
        self.read_timeout = read_timeout
        self.refused = 0
        """Connections closed at once since the start, for GATEWAY_MAX_CONNECTIONS."""
        self.closed = False

    def __call__(self) -> RequestHandler:
        return Junction(self, loop=self._loop, **self._kwargs)

    async def _serve(self, request: BaseRequest) -> StreamResponse:
        """aiohttp's handler: for a new call, or to go on with one that the lane has begun."""
        connection: Junction = request.protocol  # type: ignore[assignment]  # __call__ makes no others
        call, connection.handed_over = connection.handed_over, None
        if call is None:
            return await self.front(request)
        return await call.lane.resume(call, request)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  the signature is aiohttp's
        """aiohttp closes the connections there are. Those that were on their way to being accepted come only now.

        A call at work has `timeout` seconds to tell its end; aiohttp would give them to an idle connection too.
        """
        self.closed = True
        for connection in self.connections:
            if isinstance(connection, Junction) and connection.idle:
                connection.close()
        await super().shutdown(timeout)

    @property
    def crowded(self) -> bool:
        """Is this connection one too many? (It is counted already.)"""
        return len(self._connections) > self.max_connections
