"""Both ends of the wire, as raw protocols so that neither is the bottleneck: a tool that answers and agents that ask again, at once."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

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


@dataclass
class Tally:
    """What the agents of one round saw."""

    counting: bool = False
    failed: int = 0
    latencies: list[float] = field(default_factory=list)


class Agent(Messages):
    """One keep-alive connection that calls without pause."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        super().__init__()
        self._request = request
        self._tally = tally
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._call()

    def message(self, message: bytes, /) -> None:
        tally = self._tally
        if tally.counting:
            tally.latencies.append(time.perf_counter() - self._sent)
            if not message.startswith(b"HTTP/1.1 200 ") or not message.endswith(REPLY_BODY):
                tally.failed += 1
        self._call()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self._tally.failed += self._tally.counting

    def _call(self) -> None:
        if self.transport is not None:
            self._sent = time.perf_counter()
            self.transport.write(self._request)


class Load(NamedTuple):
    """One round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    calls: int


def request_for(path: str, port: int, run: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\nAgent-Run-Id: {run}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(REQUEST_BODY)}\r\n\r\n"
    )
    return head.encode() + REQUEST_BODY


async def load(
    port: int,
    path: str,
    *,
    connections: int,
    seconds: float,
    warm_up: float,
    before: Callable[[], None] = lambda: None,
) -> Load:
    """Keeps `connections` calls under way for `seconds`. Raises AssertionError where one was not answered with the tool's reply."""
    loop, tally = asyncio.get_running_loop(), Tally()
    transports = []
    for number in range(connections):
        request = request_for(path, port, f"bench-{number}")
        transport, _ = await loop.create_connection(partial(Agent, request, tally), "127.0.0.1", port)
        transports.append(transport)
    await asyncio.sleep(warm_up)
    before()
    began, tally.counting = time.perf_counter(), True
    await asyncio.sleep(seconds)
    took, tally.counting = time.perf_counter() - began, False
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0.05)
    assert tally.failed == 0, f"{tally.failed} of {len(tally.latencies)} calls failed"
    latencies = sorted(tally.latencies)
    return Load(
        len(latencies) / took,
        1000 * latencies[len(latencies) // 2],
        1000 * latencies[len(latencies) * 99 // 100],
        len(latencies),
    )
