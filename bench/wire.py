"""What goes over the wire: the one request and reply of all measurements, and HTTP messages cut out of a raw stream."""

import asyncio
import re
from collections.abc import Mapping
from typing import cast

JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)

REQUEST_BODY = b'{"q": "%b"}' % (b"green tea, " * 40)[:291]
REPLY_BODY = b'{"results": ["%b"]}' % (b"two leaves and a bud, " * 40)[:583]
assert (len(REQUEST_BODY), len(REPLY_BODY)) == (300, 600), (len(REQUEST_BODY), len(REPLY_BODY))

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(REPLY_BODY),
    REPLY_BODY,
)


class Messages(asyncio.Protocol):
    """Cuts what arrives into HTTP messages with Content-Length framing."""

    def __init__(self) -> None:
        self._read = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not registered as such

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (head := self._read.find(HEAD_END)) >= 0:
            length = LENGTH.search(self._read, 0, head + 2)
            end = head + len(HEAD_END) + (int(length[1]) if length else 0)
            if len(self._read) < end:
                return
            message, self._read = self._read[:end], self._read[end:]
            self.message(message)

    def message(self, message: bytes, /) -> None:
        raise NotImplementedError


class Tool(Messages):
    """The upstream: every request gets the same reply."""

    def message(self, _message: bytes, /) -> None:
        if self.transport is not None:
            self.transport.write(REPLY)


def request_for(
    path: str, port: int, run: str, body: bytes = REQUEST_BODY, headers: Mapping[str, str] = JSON_HEADERS
) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: bench",
        "Accept: */*",
        f"Agent-Run-Id: {run}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
