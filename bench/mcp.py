"""What the MCP door adds to a tools/call beside what the tool path door adds to the same call: one connection, one call after the other.

python -m bench.mcp [--rounds 20]   Goal: at most 1.5 times as much.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.running import Running, free_ports
from bench.subjects import BUDGETS, GATEWAY, PATH, POLICY, TOOL, Place, gateway_command
from bench.wire import JSON_HEADERS, REPLY, REPLY_BODY, REQUEST_BODY, Messages, request_for

GOAL = 1.5
CALLS = 500
"""A round of one way."""
ANSWER = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"resultType": "complete", "content": [{"type": "text", "text": REPLY_BODY.decode()}], "isError": False},
}
ARGUMENTS = {"name": TOOL, "arguments": json.loads(REQUEST_BODY)}
QUESTION = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ARGUMENTS}).encode()
SERVER = "\nmcp_servers: {bench: {url: 'http://127.0.0.1:%d/mcp'}}\n"
HEADERS = {
    **JSON_HEADERS,
    "Accept": "application/json, text/event-stream",
    "Mcp-Session-Id": "bench",
    "MCP-Protocol-Version": "2025-11-25",
}


def framed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


MCP_REPLY = framed(json.dumps(ANSWER).encode())


class Upstream(Messages):
    """A tool and an MCP server in one, at no cost of their own."""

    def message(self, message: bytes, /) -> None:
        if self.transport is not None:
            self.transport.write(MCP_REPLY if message.startswith(b"POST /mcp") else REPLY)


class Caller(Messages):
    """One connection."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: asyncio.Future[bytes] | None = None

    def message(self, message: bytes, /) -> None:
        if self.answered is not None:
            self.answered.set_result(message)

    async def call(self, request: bytes) -> bytes:
        if self.transport is None:
            raise SystemExit("not connected")
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


class Way(NamedTuple):
    name: str
    port: int
    request: bytes


def ways(place: Place) -> list[Way]:
    """Twice past the gateway, twice through it."""
    tool, mcp = (PATH, REQUEST_BODY, JSON_HEADERS), ("/mcp", QUESTION, HEADERS)
    door = ("/mcp/bench", QUESTION, HEADERS)
    return [
        Way("tool, directly", place.tool_port, request_for(tool[0], place.tool_port, "r", *tool[1:])),
        Way("tool path door", place.port, request_for(tool[0], place.port, "r", *tool[1:])),
        Way("MCP server, directly", place.tool_port, request_for(mcp[0], place.tool_port, "r", *mcp[1:])),
        Way("MCP door", place.port, request_for(door[0], place.port, "r", *door[1:])),
    ]


async def measure(among: Iterable[Way], rounds: int) -> dict[str, float]:
    """Way → median µs of a call, the rounds in turn."""
    loop = asyncio.get_running_loop()
    took: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for way in among:
            _, caller = await loop.create_connection(Caller, "127.0.0.1", way.port)
            times = took.setdefault(way.name, [])
            for _ in range(CALLS):
                began = time.perf_counter()
                answer = await caller.call(way.request)
                if number:  # the first round warms up
                    times.append((time.perf_counter() - began) * 1e6)
            if not answer.startswith(b"HTTP/1.1 200") or b"two leaves" not in answer:
                raise SystemExit(f"{way.name} did not answer rightly: {answer[:300]!r}")
            if caller.transport is not None:
                caller.transport.close()
    return {name: median(times) for name, times in took.items()}


async def compare(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        port, admin_port, tool_port = free_ports(3)
        place = Place(port, admin_port, tool_port, Path(name))
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", tool_port)
        policy = POLICY.replace(f"[{TOOL}]", f"[{TOOL}, bench.{TOOL}]") + f"    bench.{TOOL}: {{effect: read}}"
        command = gateway_command(place, policy + SERVER % tool_port)
        with Running(command._replace(environ={**command.environ, **BUDGETS}), 1, place.folder) as running:
            await asyncio.to_thread(running.wait_for_answer, GATEWAY, place)
            report(await measure(ways(place), rounds))
        server.close()


def report(took: dict[str, float]) -> None:
    for name, taken in took.items():
        print(f"{name:<24}{taken:8.0f} µs")
    tool = took["tool path door"] - took["tool, directly"]
    mcp = took["MCP door"] - took["MCP server, directly"]
    print(f"\nthe tool path door adds {tool:.0f} µs, the MCP door {mcp:.0f} µs: {mcp / tool:.2f} times (goal: {GOAL})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    uvloop.run(compare(parser.parse_args().rounds))
