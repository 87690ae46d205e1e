"""The plain answer: a whole reply with a body, to an HTTP/1.1 caller that stays. Nearly every answer is one.

It is written as one piece of bytes. aiohttp's Response would build the same ones, and ask about cookies, compression, chunks and ranges on
the way.
"""

from http import HTTPStatus
from typing import Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.hdrs import CONTENT_TYPE
from aiohttp.http import HttpVersion11
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from gateway.model import Reply

BODILESS: Final = frozenset({204, 205, 304})
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}


class Relayed(StreamResponse):
    """A reply passed on by aiohttp, which would make up a Content-Type where the upstream names none."""

    async def _prepare_headers(self) -> None:
        named = CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not named:
            self.headers.pop(CONTENT_TYPE, None)


class RelayedWhole(Relayed, Response):
    """A reply passed on by aiohttp, with its whole body."""


class PlainAnswer(StreamResponse):
    """What aiohttp is handed to write: head and body are in `written`, nothing is in `headers`."""

    def __init__(self, status: int, written: bytes) -> None:
        super().__init__(status=status)
        self.written = written

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Writes all of it. Raises ConnectionResetError where the caller is gone."""
        self._keep_alive = True
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller is gone")
        transport.write(self.written)
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: `prepare` has written all."""


def is_plain(request: BaseRequest, reply: Reply) -> bool:
    """May the reply be written so?"""
    return (
        bool(reply.body)
        and request.version == HttpVersion11
        and request.keep_alive
        and request.method != "HEAD"
        and reply.status not in BODILESS
    )
