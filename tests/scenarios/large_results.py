"""Both ends of calls with large results, each in a process of its own, so that a test's event loop does not slow what is measured.

python -m tests.scenarios.large_results tool | agents URL CALLS_PER_SECOND SECONDS
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

from tests.scenarios.open_loop import open_loop

RESULT = b'{"page": "%b"}' % (b"all that the tool found, in full, " * (1_000_000 // 34))
LARGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(RESULT), RESULT)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
QUESTION = json.dumps({"q": "what is tea? " * 400}).encode()
"""5 KB: it stands in the log, too."""


class Tool(asyncio.Protocol):
    """Answers with RESULT where the query says `large`, else with a little."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not registered as such
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        head = self._came.find(b"\r\n\r\n")
        if head >= 0 and len(self._came) >= head + 4 + len(QUESTION):
            large = b"?large" in self._came.partition(b"\r\n")[0]
            self._came = b""
            self._transport.write(LARGE if large else SMALL)


class Agent(asyncio.BufferedProtocol):
    """One keep-alive connection. Bodies are counted, not kept."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(1 << 18))
        self._missing = -1
        """Bytes of the answer still to come; -1: its head has not come."""
        self._head = b""
        self._answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not registered as such

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing < 0:
            self._head += self._buffer[:nbytes]
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head, nbytes = b"", len(body)
            expected = b"content-length: %d" % len(RESULT)
            if not head.startswith(b"HTTP/1.1 200 ") or expected not in head.lower():
                self.connection_lost(AssertionError(f"no result: {head!r}"))
                return
            self._missing = len(RESULT)
        self._missing -= nbytes
        if self._missing == 0 and self._answer is not None:
            self._missing = -1
            self._answer.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer was whole"))

    async def call(self, request: bytes) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answer


@dataclass
class Agents:
    """As many connections as calls are open at a time."""

    url: str
    idle: list[Agent] = field(default_factory=list)

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        head = f"POST {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(QUESTION)}\r\n\r\n".encode() + QUESTION

    async def call(self) -> None:
        agent = self.idle.pop() if self.idle else await self._connect()
        await agent.call(self._request)
        self.idle.append(agent)

    async def _connect(self) -> Agent:
        _, agent = await asyncio.get_running_loop().create_connection(Agent, self._host, self._port)
        return agent


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Tool, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  who starts it reads it
    await server.serve_forever()


async def load(url: str, per_second: float, seconds: float) -> None:
    """Prints how many seconds each call took, in their order."""
    timed = await open_loop(Agents(url).call, per_second=per_second, seconds=seconds)
    print(json.dumps([each.seconds for each in timed]), flush=True)  # noqa: T201  who starts it reads it


if __name__ == "__main__":
    if sys.argv[1] == "tool":
        uvloop.run(serve())
    else:
        uvloop.run(load(sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
