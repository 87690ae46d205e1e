"""One request and its Reply on one connection, whichever upstream it belongs to."""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp.streams import StreamReader

from gateway.model import Attempt, BodyStream, Reply, UpstreamError
from gateway.upstreams.connection import Connection, Head
from gateway.upstreams.heads import RequestHeads, end_to_end, framing

GiveBack = Callable[[Connection], None]

_ONE_WRITE = 65_536
"""Bytes of a body that are joined to the head: one packet less outweighs the copy."""


async def exchange(connection: Connection, heads: RequestHeads, attempt: Attempt, give_back: GiveBack) -> Reply:
    """Sends the attempt and returns its Reply as soon as the head is there. `give_back` gets the connection when the exchange is over.

    Raises UpstreamError, ValueError for a head that HTTP forbids, and whatever a streamed body raises; then the connection is closed.
    """
    try:
        body = attempt.body
        size = len(body) if isinstance(body, bytes) else getattr(body, "length", None)
        head = heads.head(attempt.method, attempt.target, attempt.headers, framing(attempt.method, size))
        answer = connection.expect(bodyless=attempt.method == "HEAD")
        if isinstance(body, bytes):
            attempt.sent = True
            if len(body) <= _ONE_WRITE:
                connection.write(head + body)
            else:
                connection.write(head)
                connection.write(body)
        else:
            connection.writer = asyncio.create_task(_write(connection, attempt, head, body, size))
            connection.writer.add_done_callback(lambda writer: _written(connection, writer))
    except BaseException:
        connection.abort()
        raise
    return await going_on(connection, answer, attempt, give_back)


async def going_on(
    connection: Connection, answer: asyncio.Future[Head], attempt: Attempt, give_back: GiveBack
) -> Reply:
    """The rest of an exchange whose request is written, or being written."""
    try:
        return reply_of(connection, await answer, give_back)
    except UpstreamError as error:
        connection.abort()
        error.sent = attempt.sent
        raise
    except BaseException:
        connection.abort()
        raise


async def _write(connection: Connection, attempt: Attempt, head: bytes, body: BodyStream, size: int | None) -> None:
    """Writes a streamed request as fast as the upstream takes it. The head waits for the first piece: until then nothing is sent."""
    written = 0
    async for piece in body:
        written += len(piece)
        if size is not None and written > size:
            break
        if piece:
            attempt.sent = True
            connection.write(head + (piece if size is not None else b"%x\r\n%b\r\n" % (len(piece), piece)))
            head = b""
            if not await connection.drained():
                return
    if size is not None and written != size:
        raise ValueError("the body is not as long as its announced length")
    attempt.sent = True
    connection.write(head + (b"" if size is not None else b"0\r\n\r\n"))


def _written(connection: Connection, writer: asyncio.Task[None]) -> None:
    error = None if writer.cancelled() else writer.exception()
    if error is not None:
        connection.fail(error)


def reply_of(connection: Connection, head: Head, give_back: GiveBack) -> Reply:
    """The Reply that begins with `head`: with its body where all of that has come, else with the pieces to come."""
    message, length, stream = head
    headers = end_to_end(message.headers.items(), message.headers.getall("Connection", []))
    if message.code >= 300 and connection.writer is not None:
        connection.writer.cancel()  # refused, say with 413: the rest of the request is not wanted
    if stream.is_eof() and connection.error is None:
        body = stream.read_nowait()
        give_back(connection)
        return Reply(message.code, headers, body, length=length)
    pieces = _Pieces(connection, stream, give_back)
    return Reply(message.code, headers, None, pieces, length, pieces.close)


class _Pieces(AsyncIterator[bytes]):
    """A body as it arrives. The connection is given back at its end, and closed where the reader stops before."""

    def __init__(self, connection: Connection, stream: StreamReader, give_back: GiveBack) -> None:
        self._connection = connection
        self._stream = stream
        self._give_back = give_back
        self._over = False
        self._error: BaseException | None = None

    async def __anext__(self) -> bytes:
        piece = b""
        if not self._over:
            try:
                piece = await self._stream.readany()
            except BaseException:
                self.close()
                raise
            if self._stream.at_eof():
                self._finish()
        if piece:
            return piece
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._connection.abort()

    def _finish(self) -> None:
        self._over = True
        self._error = self._connection.error
        self._give_back(self._connection)
