"""A client connection: aiohttp's own, with a bound on the time that a request's head and the reader of an answer may take."""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web_protocol
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from gateway.doors.learner import END_OF_HEAD, LINE_BYTES

if TYPE_CHECKING:
    from gateway.doors.listener import Listener  # which makes them

IDLE_KEEPALIVE = 75.0
"""Seconds an idle connection is kept (SPEC 1), as nginx does."""

web_protocol.MAX_MSG_QUEUE_SIZE = 4
"""Requests sent on without waiting for answers that are parsed ahead. aiohttp's 32 are 200 KB a connection, and it has no option for it."""


class Connection(RequestHandler):
    """A connection whose requests all take the ordinary way; Junction also offers them to the fast lane."""

    __slots__ = ("_head_timer", "_listener", "_reader_timer", "_unread", "peer")

    def __init__(self, listener: "Listener", *, loop: asyncio.AbstractEventLoop, **kwargs: object) -> None:
        super().__init__(listener, loop=loop, **kwargs)  # type: ignore[arg-type]  # aiohttp types its options one by one
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._unread = 0
        """Bytes of a whole answer that its reader has yet to take. Its call has ended; those of one at work are in the call's room."""
        self.peer: str | None = None
        """The caller's address."""

    @property
    def read_timeout(self) -> float:
        """Seconds (GATEWAY_READ_TIMEOUT)."""
        return self._listener.read_timeout

    async def take_over(self, protocol: asyncio.BaseProtocol) -> tuple[asyncio.Transport, bytes]:
        """Behind a CONNECT `protocol` reads and writes, which hands on the connection's end. The transport, and what came already.

        Raises ConnectionResetError where it is gone.
        """
        await self._drain_helper()  # an earlier answer may still be on its way
        if self.transport is None:
            raise ConnectionResetError("the caller is gone")
        early, self._message_tail = self._message_tail, b""
        self.transport.set_protocol(protocol)
        self.transport.resume_reading()  # aiohttp holds it where much came early
        return self.transport, early

    async def start(self) -> None:
        """aiohttp's loop over the requests. Closing waits until the last bytes are out: for ever, where they are not read."""
        transport = self.transport
        try:
            await super().start()
        finally:
            if transport is not None and transport.get_write_buffer_size():
                self._loop.call_later(self._listener.read_timeout, transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.set_write_buffer_limits(0)  # whoever writes waits until all is with the kernel
            name = self.transport.get_extra_info("peername")
            self.peer = str(name[0]) if isinstance(name, tuple) else None if name is None else str(name)
        if self._listener.closed and self.transport is not None:
            self.transport.abort()
        elif self._listener.crowded:
            self._listener.refused += 1
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._stop_reader_timer()
        self._count_unread(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._doubt_what_follows()
        if self._waiter is None or self._messages:
            self._stop_head_timer()  # no head is waited for: what comes is a body, or stands behind a request
        elif self._head_timer is None:
            self._start_head_timer()

    def _doubt_what_follows(self) -> None:
        """Some requests are the last ones, because aiohttp's parser does not tell well what stands behind them: it loses what comes in one
        piece with the body of a request for an upgrade, and takes a trailer behind chunks for a header of the next request. What stands
        behind a CONNECT is for its target, and no request.
        """
        for at, (message, payload) in enumerate(self._messages):
            if payload is EMPTY_PAYLOAD or isinstance(message, _ErrInfo):
                continue
            if message.upgrade or message.chunked:
                self._messages[at] = (message._replace(should_close=True), payload)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_reader_timer(self.transport)
        if self._current_request is None and self.transport is not None:
            self._count_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stop_reader_timer()
        self._count_unread(0)
        super().resume_writing()

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

    def _process_keepalive(self) -> None:
        """Looks at an idle connection now and then: has part of a head come behind the last request? Is its time up?

        The first look is at half of the read timeout, so that with a whole one a head that drips from then on is still in time.
        """
        self._keepalive_handle = None
        if self._force_close or not self._keepalive or self._waiter is None or self._messages:
            return
        now, first_look, pause = self._loop.time(), self._next_keepalive_close_time, self._keepalive_timeout
        end = first_look - pause + IDLE_KEEPALIVE
        next_look = first_look if now < first_look else min(now + pause, max(end, now))
        if self._head_timer is not None:
            next_look = max(next_look, now + pause)  # part of a head has come, and its own timer runs
        elif now >= first_look and self._within_head():
            self._head_too_slow()
            return
        elif now >= end:
            self.force_close()
            return
        self._keepalive_handle = self._loop.call_at(next_look, self._process_keepalive)

    def _within_head(self) -> bool:
        """Between two requests a parser skips empty lines, anywhere else they end or break a head. Not to be survived by one."""
        if self._parser is None or self._upgraded:
            return False
        try:
            messages, _, _ = self._parser.feed_data(END_OF_HEAD)
        except HttpProcessingError:
            return True
        return bool(messages)

    def _start_reader_timer(self, transport: asyncio.WriteTransport | None) -> None:
        if transport is not None:
            seconds = self._listener.read_timeout
            self._reader_timer = self._loop.call_later(seconds, self._reader_too_slow, transport)

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _count_unread(self, size: int) -> None:
        self._listener.buffers.owe(size - self._unread)
        self._unread = size

    def _reader_too_slow(self, transport: asyncio.WriteTransport) -> None:
        """A call that is still at work ends by its own deadline; for a whole answer nothing else would."""
        if self._current_request is None:
            transport.abort()
        else:
            self._start_reader_timer(transport)

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
