"""One connection to an upstream and the one exchange at a time on it. aiohttp parses; what happens on the wire is decided here.

Nothing is repeated, decompressed, timed or redirected here. Failures are UpstreamErrors; bodies arrive through aiohttp's StreamReader.
"""

import asyncio
import select
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from gateway.model import UpstreamError
from gateway.small_reads import READ_AHEAD
from gateway.upstreams.heads import REPLY_HEAD, announced_length, flaw

LONGEST_HEAD = 65_536
LONGEST_FIELD = 32_768
MOST_FIELDS = 200
MOST_INTERIM = 16
"""1xx replies skipped before the real one."""


class Head(NamedTuple):
    """A reply's head, and its body as it arrives."""

    message: RawResponseMessage
    length: int | None
    body: StreamReader


class Asker(Protocol):
    """Whoever asked and does not wait for the reply: it is handed what comes, unread, and may have it read (`look_closer`)."""

    def receive(self, data: bytes) -> None:
        """More of the reply."""
        ...

    def ended(self) -> None:
        """No more will come."""
        ...


class Connection(BaseProtocol):
    """A TCP or TLS connection. `expect()` before each request, or an asker; `reusable` tells whether another one may follow."""

    def __init__(self, loop: asyncio.AbstractEventLoop, label: str) -> None:
        super().__init__(loop)
        self.label = label
        self.opened = loop.time()
        self.idle_since = self.opened
        self.on_lost: Callable[[Connection], None] | None = None
        self.writer: asyncio.Task[None] | None = None
        """Writes a streamed request body while the reply may already arrive."""
        self.error: BaseException | None = None
        """Why the body broke off: raised after the bytes that did arrive."""
        self._bodyless = False
        """The request was a HEAD."""
        self._head: asyncio.Future[Head] | None = None
        """Who waits for the reply's head."""
        self._raw = b""
        """What has come of a head that is not complete."""
        self._interim = 0
        """1xx replies skipped so far."""
        self._body: StreamReader | None = None
        self._keep = False
        """Both sides mean to keep the connection behind this reply."""
        self._missing = 0
        """Bytes of an announced length still to come; below zero something stray followed it."""
        self._came = self._framing = 0
        """Bytes of the body so far, and bytes on the wire since then."""
        self._ended = False
        """The upstream has said that it sends no more, and the reader has yet to hear of it."""
        self.asker: Asker | None = None
        """Gets what comes, while nothing else is expected."""
        self._poll: select.poll | None = None
        self._wire: asyncio.Transport | None = None
        """The TCP connection below TLS; None without TLS."""

    # -- opening

    async def encrypt(self, context: ssl.SSLContext, server_name: str) -> None:
        """The TLS handshake on a fresh TCP connection. Raises OSError (ssl.SSLError, ConnectionError)."""
        wire = self._wire = self.transport
        if wire is None:
            raise ConnectionResetError
        self.transport = await self._loop.start_tls(wire, self, context, server_hostname=server_name)

    # -- the exchange

    def expect(self, *, bodyless: bool, ahead: int = READ_AHEAD) -> asyncio.Future[Head]:
        """Prepares for one reply. `bodyless`: the request is a HEAD, whose reply announces a body that never comes. `ahead`: bytes that
        are parsed before anybody takes them.
        """
        self._parser = HttpResponseParser(
            self,
            self._loop,
            ahead,
            max_line_size=LONGEST_FIELD,
            max_field_size=LONGEST_FIELD,
            max_headers=MOST_FIELDS,
            response_with_body=not bodyless,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._bodyless = bodyless
        self._head = self._loop.create_future()
        return self._head

    def look_closer(self, came: bytes) -> asyncio.Future[Head]:
        """Reads the reply that the asker waits for as if it had been expected. `came`: as much of it as is here."""
        self.asker = None
        answer = self.expect(bodyless=False, ahead=max(READ_AHEAD, len(came)))  # or a whole reply would not look whole
        if self.transport is None:
            self._end(clean=False)
        elif came:
            self.data_received(came)
        return answer

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def drained(self) -> bool:
        """Waits while the socket takes no more; False where the connection is gone."""
        try:
            await self._drain_helper()
        except ConnectionError:
            return False
        return self.transport is not None

    def fail(self, error: BaseException) -> None:
        """Ends the exchange: the waiting send, or the reader of the body, gets the error."""
        self._parser = None
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        elif self._body is not None and not self._body.is_eof():
            self.error = error
            self._body.feed_eof()
        self.abort()

    def abort(self) -> None:
        """Closes at once. Safe at any time."""
        self._parser = self.asker = self._head = self._body = None  # the last two hold their connection
        self._keep = False
        if self.writer is not None:
            self.writer.cancel()
        if self.transport is not None:
            self.transport.abort()

    # -- may another exchange follow?

    @property
    def open(self) -> bool:
        """Not closed, as far as the loop has heard: `quiet` asks the kernel."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def whole(self) -> bool:
        """All of the reply has come."""
        return self._body is not None and self._body.is_eof() and self.error is None

    @property
    def plain(self) -> bool:
        """The reply was one head and the body it announced, and the connection stays."""
        return self._keep and self._interim == 0 and self._missing == 0

    @property
    def reusable(self) -> bool:
        """The reply is whole, nothing stray came with it, the request was written, and both sides keep the connection."""
        return (
            self._keep
            and self._missing >= 0
            and self._body is not None
            and self._body.is_eof()
            and (self.writer is None or (self.writer.done() and not self.writer.cancelled()))
            and self.open
        )

    def rest(self) -> None:
        """The exchange is over: until the next one any byte of the upstream's ends the connection."""
        self._parser = self._head = self._body = self.writer = None
        self._interim = self._missing = self._came = self._framing = 0
        self._keep = False

    def quiet(self) -> bool:
        """Neither closed nor with unexpected bytes, asked of the kernel: the loop may not have seen them yet."""
        if self.transport is None or self.transport.is_closing():
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    # -- asyncio's side

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            if self.asker is not None:
                self.asker.receive(data)
            elif data:
                self.abort()
            return
        try:
            messages, _, _ = self._parser.feed_data(data)
        except Exception:  # noqa: BLE001  whatever the parser trips over is the upstream's doing
            self._refuse("answered with something that is not HTTP")
            return
        if self._body is None:
            self._read_heads(data, messages)
        else:
            self._missing -= len(data)
            self._keep = self._keep and not messages
            self._bound_framing(len(data), self._body)
        if self._ended and not self._reading_paused:
            self._end(clean=True)

    def eof_received(self) -> None:
        if self.asker is not None:
            self.asker.ended()
        self._end(clean=True)
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.asker is not None:
            self.asker.ended()
        self._end(clean=False)
        super().connection_lost(exc)
        if self.writer is not None:
            self.writer.cancel()
        if self.on_lost is not None:
            self.on_lost(self)

    # -- the reply

    def _read_heads(self, data: bytes, messages: Sequence[tuple[RawResponseMessage, StreamReader]]) -> None:
        raw, self._raw = self._raw + data, b""
        at = 0
        for index, (message, body) in enumerate(messages):
            head = REPLY_HEAD.match(raw, at)
            if head is None:
                return self._refuse("answered with a malformed head")
            if head.end() - at > LONGEST_HEAD:
                return self._refuse("answered with an endless head")
            at = head.end()
            problem = flaw(message.code, message.version, message.headers.getall("Transfer-Encoding", []))
            if problem is not None:
                return self._refuse(problem)
            if message.code >= 200:
                return self._begin(message, body, received=len(raw) - at, alone=index == len(messages) - 1)
            self._interim += 1
            if self._interim > MOST_INTERIM:
                return self._refuse("answered with an endless head")
        self._raw = raw[at:]
        if len(self._raw) > LONGEST_HEAD or self._raw.count(b"\n") > MOST_FIELDS + 1:
            self._refuse("answered with an endless head")
        return None

    def _begin(self, message: RawResponseMessage, body: StreamReader, *, received: int, alone: bool) -> None:
        length = announced_length(message.headers)
        self._body = body
        self._keep = alone and not message.should_close
        if self._bodyless or message.code in (204, 304):
            self._missing = -received
        elif length is not None:
            self._missing = length - received
        else:
            self._missing = sys.maxsize
        if self._head is not None and not self._head.done():
            self._head.set_result(Head(message, length, body))

    def _bound_framing(self, size: int, body: StreamReader) -> None:
        """Chunk sizes, chunk extensions and trailers may be endless too, and no timer counts the work they make."""
        if body.total_bytes != self._came or self._reading_paused or body.is_eof():
            self._came, self._framing = body.total_bytes, 0
            return
        self._framing += size
        if self._framing > LONGEST_HEAD:
            self._refuse("sent endless framing")

    def _refuse(self, what: str) -> None:
        self.fail(UpstreamError("bad_response", f"{self.label} {what}", sent=True))

    def _end(self, *, clean: bool) -> None:
        """The upstream sends no more; `clean` where it said so itself. A reader that is behind still has bytes in the parser: then the
        end waits for it."""
        parser = self._parser
        if parser is None:
            return
        if self._reading_paused and (clean or self._ended):
            self._ended = True
            return
        if self._body is None:
            self.fail(UpstreamError("reset", f"{self.label} closed the connection before it answered", sent=True))
            return
        if self._body.is_eof():
            return
        try:
            whole = clean and parser.feed_eof() is None
        except Exception:  # noqa: BLE001  the parser says so when framing is unmet
            whole = False
        if not whole:
            self.fail(UpstreamError("cut", f"{self.label} broke off its answer", sent=True))

    # -- backpressure: the socket stops, not the TLS layer, in which bytes left lying are lost when the end of the connection arrives

    def _pause_transport_reading(self) -> None:
        transport = self._wire or self.transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()

    def _resume_transport_reading(self) -> None:
        transport = self._wire or self.transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()
