"""Reading request bodies in bounded memory and bounded time: whole up to a bound, as a stream beyond it."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest

from gateway.denial import Denial, Reason
from gateway.doors.refusal import Refusal
from gateway.model import UpstreamError
from gateway.pipeline.failures import no_memory
from gateway.policy.snapshot import Plan
from gateway.state.buffers import Buffers

WHOLE_BODY = 64 * 1024
"""Bytes: up to here a body is held whole, so that it can be sent again (SPEC 5). A tool with an arguments schema holds all of it."""
PIECE = 64 * 1024
"""Each piece of this size (or the rest) must come within GATEWAY_READ_TIMEOUT."""


class Pace:
    """The time a caller has for its body: so many seconds for each 64 KiB. Only waiting for the caller counts."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds
        self._missing = PIECE
        self._begun = False

    async def piece(self, request: BaseRequest) -> bytes:
        """The next bytes of the body, b"" at its end. Raises Refusal: too slow, broken framing."""
        content = request.content
        try:
            if content.is_eof():  # all of it has come: no wait, no timer
                return content.read_nowait(PIECE)
            self._continue(request)
            clock = asyncio.get_running_loop().time
            before = clock()
            async with asyncio.timeout(self._left):
                piece = await content.read(PIECE)
        except TimeoutError:
            detail = (
                f"The body came too slowly: no 64 KiB (or the rest) within {self._seconds:g} s (GATEWAY_READ_TIMEOUT)."
            )
            raise Refusal(_unreadable(detail, 408)) from None
        except (HttpProcessingError, RequestPayloadError):
            raise Refusal(_unreadable("The body's framing is broken.")) from None
        self._missing -= len(piece)
        self._left -= clock() - before
        if self._missing <= 0:
            self._missing, self._left = PIECE, self._seconds
        return piece

    def _continue(self, request: BaseRequest) -> None:
        """Answers `Expect: 100-continue` when the body is first waited for (RFC 9110, 10.1.1); HTTP/1.0 knows no such thing."""
        if not self._begun and "Expect" in request.headers and request.version >= HttpVersion11 and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._begun = True


class StreamedBody:
    """A BodyStream of model.py: what was read so far, then the rest as it comes. Raises UpstreamError where the caller fails."""

    def __init__(self, request: BaseRequest, first: list[bytes], limit: int, pace: Pace) -> None:
        self.started = False
        self.size = 0
        self.length: int | None = request.content_length
        self._request = request
        self._first = first
        self._limit = limit
        self._pace = pace
        self._hash = sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.started = True
        for piece in self._first:
            yield self._count(piece)
        self._first = []
        while not self._request.content.at_eof():
            try:
                piece = await self._pace.piece(self._request)
            except Refusal as refusal:
                kind = "request_timeout" if refusal.denial.status == 408 else "request_cut"
                raise UpstreamError(kind, refusal.denial.detail, sent=True) from None
            if piece:
                yield self._count(piece)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _count(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self.size > self._limit:
            raise UpstreamError("request_too_large", _too_large(self._limit), sent=True)
        self._hash.update(piece)
        return piece


async def read_body(
    request: BaseRequest, plan: Plan, buffers: Buffers, read_timeout: float, *, keyed: bool = False
) -> bytes | StreamedBody:
    """The body, whole where it is small or must be judged: by a schema, or as that of a `keyed` call, which may be known already.
    What it holds is taken from `buffers`: the caller gives it back.

    Raises Refusal: too large, too slow, broken off, or no memory for it.
    """
    if not request.body_exists:
        return b""
    length, limit = request.content_length, plan.max_request_bytes
    if length is not None and length > limit:
        raise Refusal(Denial(Reason.REQUEST_TOO_LARGE, _too_large(limit)))
    whole = limit if keyed or plan.arguments is not None else min(WHOLE_BODY, limit)
    if length is not None and length > whole:
        return StreamedBody(request, [], limit, Pace(read_timeout))
    content = request.content
    if (
        length is not None and content.is_eof() and content.exception() is None
    ):  # nearly every body: it came with its head
        body = content.read_nowait()
        if not buffers.take(len(body)):
            raise Refusal(no_memory())
        return body
    return await _read_pieces(request, whole, limit, buffers, Pace(read_timeout))


async def _read_pieces(
    request: BaseRequest, whole: int, limit: int, buffers: Buffers, pace: Pace
) -> bytes | StreamedBody:
    """A body that is still arriving: whole where it ends within so many bytes, else as a stream that begins with them."""
    pieces, size = await _gather(request, whole, buffers, pace)
    if size <= whole:
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    buffers.give(size)
    if size > limit:
        raise Refusal(Denial(Reason.REQUEST_TOO_LARGE, _too_large(limit)))
    return StreamedBody(request, pieces, limit, pace)


async def _gather(request: BaseRequest, whole: int, buffers: Buffers, pace: Pace) -> tuple[list[bytes], int]:
    """What comes until the body ends or has more than `whole` bytes, taken from `buffers`, and its size."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= whole and not request.content.at_eof():
            piece = await pace.piece(request)
            if not buffers.take(len(piece)):
                raise Refusal(no_memory())
            pieces.append(piece)
            size += len(piece)
    except BaseException:
        buffers.give(size)
        raise
    return pieces, size


async def read_whole(request: BaseRequest, limit: int, buffers: Buffers, read_timeout: float) -> bytes:
    """A body that has to be judged whole, taken from `buffers` as above. Raises Refusal."""
    too_large = Denial(Reason.REQUEST_TOO_LARGE, f"The request body is larger than {limit} bytes. Send less.")
    if (request.content_length or 0) > limit:
        raise Refusal(too_large)
    if not request.body_exists:
        return b""
    pieces, size = await _gather(request, limit, buffers, Pace(read_timeout))
    if size > limit:
        buffers.give(size)
        raise Refusal(too_large)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_small_body(request: BaseRequest, limit: int, read_timeout: float) -> bytes:
    """A body of a few bytes for the gateway itself; of a longer one at most a piece more than `limit`. Raises Refusal."""
    pace, body = Pace(read_timeout), b""
    while len(body) <= limit and request.body_exists and not request.content.at_eof():
        body += await pace.piece(request)
    return body


def _too_large(limit: int) -> str:
    return f"The request body is larger than this tool's limit of {limit} bytes (max_request_bytes). Send less."


def _unreadable(detail: str, status: int | None = None) -> Denial:
    return Denial(Reason.INVALID_REQUEST, detail, status_override=status, closes_connection=True)
