"""A server on a loopback socket that counts what reaches it and answers, or misbehaves, at the exact point a test says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LONGEST_TEST = 20.0
"""Seconds after which a test that waits for something that never comes fails instead of hanging."""


@dataclass
class Request:
    """One request as it arrived, and the connection it came on."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answer = Callable[[Request], Awaitable[None]]


@dataclass
class Loopback:
    """What the upstream saw."""

    answer: Answer
    read_bodies: bool = True
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    _open: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def closed(self, left: int = 0) -> None:
        """Returns when no more than so many connections are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._open <= left)

    async def connected(self, connections: int) -> None:
        """Returns when so many connections have been accepted."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.connections >= connections)

    async def seen(self, requests: int) -> None:
        """Returns when so many requests have arrived."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._open += 1
        async with self._changed:
            self._changed.notify_all()
        try:
            await self._serve(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while not writer.transport.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head[:-4].split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
            request = Request(line, headers, b"", connection, reader, writer)
            if self.read_bodies:
                request.body = await read_body(request)
            self.requests.append(request)
            async with self._changed:
                self._changed.notify_all()
            await self.answer(request)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self.closed()


async def read_body(request: Request) -> bytes:
    if request.header("Transfer-Encoding"):
        body = b""
        while size := int(await request.reader.readline(), 16):
            body += (await request.reader.readexactly(size + 2))[:-2]
        await request.reader.readexactly(2)
        return body
    return await request.reader.readexactly(int((request.header("Content-Length") or ["0"])[0]))


@asynccontextmanager
async def loopback(
    answer: Answer, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, read_bodies: bool = True
) -> AsyncIterator[Loopback]:
    served = Loopback(answer, read_bodies)
    server = await asyncio.start_server(served.serve, host, 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(LONGEST_TEST):
            yield served
    finally:
        server.close()
        await served.stop()
        await server.wait_closed()


def always(data: bytes) -> Answer:
    async def answer(request: Request) -> None:
        await request.say(data)

    return answer


def reply(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


async def never() -> None:
    await asyncio.Event().wait()


def free_port() -> int:
    """A port nobody listens on."""

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
