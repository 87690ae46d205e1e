"""An upstream that reads requests strictly: what two servers could understand differently is a flaw here, and no request."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

from gateway.hop_by_hop import HOP_BY_HOP

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
HEAD = re.compile(rb"(%b) (/[\x21-\x7e]*) HTTP/1\.1\r\n((?:%b: ?[^\x00-\x08\x0a-\x1f\x7f]*\r\n)+)\r\n" % (TOKEN, TOKEN))
CHUNK = re.compile(rb"([0-9a-f]{1,8})\r\n")
LONGEST_HEAD = 200_000
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'


class Flaw(Exception):
    """Why these bytes are not exactly one well-formed request."""


class Heard(NamedTuple):
    """One request, whole."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def summary(self) -> tuple[str, str, int]:
        return self.method, self.target, len(self.body)


def read_request(data: bytes) -> tuple[Heard, bytes] | None:
    """The first request and what follows it; None where more must come. Raises Flaw."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LONGEST_HEAD:
            raise Flaw("a head without an end")
        return None
    match = HEAD.fullmatch(data[: end + 4])
    if match is None:
        raise Flaw("a head that is not well-formed")
    lines = match[3].decode("latin-1").split("\r\n")[:-1]
    headers = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
    body = read_body([(name.lower(), value) for name, value in headers], data[end + 4 :])
    if body is None:
        return None
    return Heard(match[1].decode(), match[2].decode(), headers, body[0]), body[1]


def read_body(headers: list[tuple[str, str]], data: bytes) -> tuple[bytes, bytes] | None:
    """The body and what follows it; None where more must come. Raises Flaw."""
    names = [name for name, _ in headers]
    framing = [(name, value) for name, value in headers if name in ("content-length", "transfer-encoding")]
    if names.count("host") != 1:
        raise Flaw("not exactly one Host")
    if stray := sorted((HOP_BY_HOP - {"transfer-encoding"}).intersection(names)):
        raise Flaw(f"headers that belong to the caller's connection: {stray}")
    if len(framing) > 1:
        raise Flaw("framed twice")
    if not framing:
        return b"", data
    name, value = framing[0]
    if name == "content-length":
        if not re.fullmatch(r"[0-9]{1,12}", value):
            raise Flaw("an odd Content-Length")
        return (data[: int(value)], data[int(value) :]) if len(data) >= int(value) else None
    if value != "chunked":
        raise Flaw("an odd Transfer-Encoding")
    return read_chunks(data)


def read_chunks(data: bytes) -> tuple[bytes, bytes] | None:
    """Chunks without extensions and trailers. Raises Flaw."""
    body = b""
    while b"\r\n" in data:
        line = CHUNK.match(data)
        if line is None:
            raise Flaw("a chunk size with something beside it")
        size, start = int(line[1], 16), line.end()
        if len(data) < start + size + 2:
            return None
        if data[start + size : start + size + 2] != b"\r\n":
            raise Flaw("a chunk of another length, or a trailer")
        body, data = body + data[start : start + size], data[start + size + 2 :]
        if size == 0:
            return body, data
    return None


class StrictUpstream:
    """Answers every well-formed request with 200. `flaws` must be empty when a test ends."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.flaws: list[str] = []
        self.begun: list[bytes] = []
        """Requests whose end never came, since the gateway gave up on their callers."""
        self.connections: set[asyncio.Transport] = set()
        self.url = ""


class Connection(asyncio.Protocol):
    """One connection of the gateway's pool."""

    def __init__(self, upstream: StrictUpstream) -> None:
        self._upstream = upstream
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._upstream.connections.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            while (found := read_request(self._data)) is not None:
                heard, self._data = found
                self._upstream.heard.append(heard)
                self._transport.write(ANSWER.partition(b"{")[0] if heard.method == "HEAD" else ANSWER)
        except Flaw as flaw:
            self._upstream.flaws.append(f"{flaw}: {self._data[:500]!r}")
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self._transport)
        if self._data:
            self._upstream.begun.append(self._data)


@asynccontextmanager
async def strict_upstream() -> AsyncIterator[StrictUpstream]:
    upstream = StrictUpstream()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        for connection in upstream.connections:
            connection.abort()
        await server.wait_closed()
