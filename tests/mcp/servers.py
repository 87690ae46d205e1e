"""Real MCP servers as processes: our fixture server, and npm's server-everything."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import aiohttp

from tests.mcp.node_tools import node

HERE = Path(__file__).parent
NPM = HERE / "node"
EVERYTHING = NPM / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
POSTED = "Received MCP POST request\n"
"""What server-everything prints of every message that reaches it."""


class FixtureServer:
    """The fixture server as tests see it from outside."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.url = address + "/mcp"

    async def counts(self) -> dict[str, int]:
        """What has happened since `forget`, by name: tools that ran, and more (fixture_server.py)."""
        async with aiohttp.ClientSession(self.address) as session, session.get("/counts") as answer:
            counts: dict[str, int] = await answer.json()
            return counts

    async def forget(self) -> None:
        async with aiohttp.ClientSession(self.address) as session, session.delete("/counts"):
            pass

    async def reached(self, name: str, count: int = 1) -> None:
        """Waits until it has happened so often."""
        asked = {"at_least": str(count)}
        async with (
            aiohttp.ClientSession(self.address) as session,
            session.get(f"/counts/{name}", params=asked) as answer,
        ):
            assert answer.status == 200, f"{name} did not happen {count} times"

    async def add(self, name: str) -> None:
        """Lets a tool go on that waits for it."""
        async with aiohttp.ClientSession(self.address) as session, session.post(f"/counts/{name}"):
            pass


class EverythingServer:
    """npm's server-everything (handshake wire, SDK v1)."""

    def __init__(self, address: str, log: Path) -> None:
        self.url = address + "/mcp"
        self._log = log

    @property
    def posts(self) -> int:
        """Messages that have reached it."""
        return self._log.read_text().count(POSTED)


@contextmanager
def fixture_server() -> Iterator[FixtureServer]:
    command = [sys.executable, "-m", "tests.mcp.fixture_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FixtureServer(json.loads(process.stdout.readline())["url"])
        finally:
            process.kill()


@contextmanager
def everything_server(folder: Path) -> Iterator[EverythingServer]:
    """`folder`: for its output, which is read while it grows."""
    log = folder / "server-everything.log"
    command = [node(), "--import", "./loopback.mjs", str(EVERYTHING), "streamableHttp"]
    with (
        log.open("w") as out,
        log.open() as reader,
        subprocess.Popen(command, cwd=NPM, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield EverythingServer(_address(process, reader), log)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], reader: TextIO) -> str:
    line = ""
    while process.poll() is None:
        line += reader.readline()
        if line.endswith("\n"):
            if line.startswith("{"):
                address: str = json.loads(line)["url"]
                return address
            line = ""
    raise AssertionError(f"ended before it listened: {reader.read()}")
