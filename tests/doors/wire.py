"""HTTP as bytes: for requests that no client library would send, and for answers that must be seen as they are on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 10.0
"""Seconds after which a test fails instead of hanging."""


class Answer(NamedTuple):
    """One answer, its chunks put together."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for given, value in self.headers if given.lower() == name.lower()), None)

    def problem(self) -> dict[str, Any]:
        assert self.header("Content-Type") == "application/problem+json"
        return json.loads(self.body)  # type: ignore[no-any-return]  # JSON is Any


class Wire:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.poured = 0
        """Bytes a test has got rid of, for those that pour until nothing more is taken."""

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return int(lines[0].split(" ")[1]), fields

    async def answer(self, *, bodyless: bool = False) -> Answer:
        """The next answer, whole. Raises IncompleteReadError or ConnectionError where it is cut."""
        status, headers = await self.head()
        found = Answer(status, headers, b"")
        async with asyncio.timeout(PATIENCE):
            if bodyless or status in (204, 304) or status < 200:
                return found
            if (length := found.header("Content-Length")) is not None:
                return found._replace(body=await self.reader.readexactly(int(length)))
            if found.header("Transfer-Encoding") == "chunked":
                return found._replace(body=b"".join([chunk async for chunk in self.chunks()]))
            return found._replace(body=await self.reader.read())

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body, as they come."""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")

    async def rest(self) -> bytes:
        """Everything until the gateway closes; a reset ends it as well."""
        found = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while piece := await self.reader.read(65_536):
                    found += piece
            except ConnectionError:
                pass
        return found

    def leave(self) -> None:
        """The caller is gone, at once."""
        self.writer.transport.abort()


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[Wire]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request with a Host and, where there is a body, its Content-Length."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "\r\n"]).encode() + body


async def ask(url: str, data: bytes, *, bodyless: bool = False) -> Answer:
    """One request on a connection of its own."""
    async with dial(url) as wire:
        await wire.say(data)
        return await wire.answer(bodyless=bodyless)
