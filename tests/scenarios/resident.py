"""The memory of another process as the kernel counts it (Linux), and readers that are slow on purpose."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

MB = 1_000_000
SMALL_WINDOW = 4096
"""Bytes of the kernel's receive buffer of a slow reader: what it does not read stays with the sender."""

JSON = {"Content-Type": "application/json"}

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")


def resident(pid: int) -> int:
    """Bytes in memory now."""
    return _status(pid, "VmRSS")


def most_resident(pid: int) -> int:
    """The most it ever was."""
    return _status(pid, "VmHWM")


def has_loaded(pid: int, library: str) -> bool:
    """Is a file of that name mapped into the process?"""
    return library in Path(f"/proc/{pid}/maps").read_text()


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {key}")


class SlowReader:
    """A client that asks and then reads only when told to. Use `await SlowReader.ask(...)`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def ask(
        cls, url: str, path: str, body: bytes = b"{}", *, headers: Mapping[str, str] = JSON, times: int = 1
    ) -> "SlowReader":
        """Connects and sends the request, `times` over without waiting for answers."""
        address = urlsplit(url)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=SMALL_WINDOW)
        lines = [f"POST {path} HTTP/1.1", f"Host: {address.netloc}", *(f"{n}: {v}" for n, v in headers.items()), ""]
        head = "\r\n".join(lines)
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        writer.write(request * times)
        return cls(reader, writer)

    async def head(self) -> bytes:
        """The answer's status line and headers; of the body nothing is read."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self, size: int) -> int:
        """Reads up to `size` bytes of the body as fast as they come; how many came."""
        came = 0
        while came < size and (piece := await self.reader.read(1 << 20)):
            came += len(piece)
        return came

    async def leave(self) -> None:
        """Cuts the connection. Safe to call twice."""
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
