"""The incident of test_full_trace_logging.py over the whole gateway: its stdout is a pipe whose reader has stopped, and calls go on."""

import asyncio
import json
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import PATIENCE, Installation, eventually
from tests.scenarios.open_loop import Timed, open_loop, percentile
from tests.scenarios.resident import MB, most_resident, needs_proc, resident

pytestmark = needs_proc

READ = "search.read"
QUESTION = {"q": "what is tea? " * 400}
RESULT = b'{"page": "%b"}' % (b"all that the tool found, in full, " * (MB // 34))


class Console:
    """The reader of a process's stdout, which stops and goes on as it is told."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._reading = asyncio.create_task(self._read())
        self.lines: list[dict[str, Any]] = []

    async def _read(self) -> None:
        while line := await self._stdout.readline():
            self.lines.append(json.loads(line))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    async def stop(self) -> None:
        """asyncio reads on until its own buffer is full, then nobody does."""
        self._reading.cancel()
        await asyncio.wait([self._reading])

    def go_on(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def end(self) -> None:
        """To the end of the pipe."""
        await asyncio.wait_for(self._reading, PATIENCE)


class Seen(NamedTuple):
    pid: int
    console: Console
    process: Process


@pytest.fixture
async def seen(installation: Installation, tool: ToolServer) -> AsyncIterator[Seen]:
    """A gateway that logs every result, whole, to stdout."""
    installation.write_policy(
        {
            "tools": {"allowlist": [READ], "definitions": {READ: {"effect": "read"}}},
            "observability": {"result_sample_rate": 1.0, "max_log_bytes_per_second": 1 << 30},
        }
    )
    installation.environment |= {"GATEWAY_LOG": "-", "AGENT_MAX_TOOL_CALLS": "1000000"}
    process = await installation.spawn("serve")
    console = Console(process)
    await eventually(lambda: console.named("gateway_started"))
    installation.data = console.named("gateway_started")[0]["listen"]

    async def all_of_it(request: web.Request) -> web.StreamResponse:
        return web.Response(body=RESULT if "large" in request.query else b"{}", content_type="application/json")

    tool.behaviour = all_of_it
    yield Seen(process.pid, console, process)
    await console.stop()  # only one may read what is left


async def read(agent: aiohttp.ClientSession, *, large: bool) -> int:
    async with agent.post(f"/tools/{READ}", json=QUESTION, params={"large": ""} if large else {}) as answer:
        assert answer.status == 200
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
        return size


def reported(console: Console) -> Counter[str]:
    """What the log says it dropped, by kind."""
    total: Counter[str] = Counter()
    for line in console.named("log_dropped"):
        total.update(line["dropped"])
    return total


async def flood(agent: aiohttp.ClientSession, calls: int) -> None:
    """Calls with small results without pause, eight at a time."""

    async def several() -> None:
        for _ in range(calls // 8):
            await read(agent, large=False)

    await asyncio.gather(*(several() for _ in range(8)))


async def test_a_reader_that_stops_costs_lines_and_neither_calls_nor_memory(
    installation: Installation, seen: Seen
) -> None:
    async with installation.agent() as agent:
        assert set(await asyncio.gather(*(read(agent, large=True) for _ in range(20)))) == {len(RESULT)}
        before = resident(seen.pid)
        await seen.console.stop()
        for _ in range(10):
            assert set(await asyncio.gather(*(read(agent, large=True) for _ in range(10)))) == {len(RESULT)}
        await flood(agent, 1600)
    assert most_resident(seen.pid) - before < 32 * MB
    seen.console.go_on()
    await eventually(lambda: seen.console.named("log_dropped"))
    seen.process.terminate()
    await seen.console.end()
    written = Counter(line["reason"] for line in seen.console.named("tool_call"))
    dropped = reported(seen.console)
    assert dropped["payload"] > 0
    assert written["ok"] + dropped["ok"] == 20 + 100 + 1600
    assert seen.console.named("gateway_stopped")


@pytest.mark.soak
@pytest.mark.parametrize("per_second", [50, 100])
async def test_results_of_1_mb_past_a_reader_that_stopped(
    installation: Installation, seen: Seen, per_second: int
) -> None:

    async def rounds(agent: aiohttp.ClientSession) -> list[Timed[int]]:
        return await open_loop(lambda: read(agent, large=True), per_second=per_second, seconds=20)

    async with installation.agent() as agent:
        await open_loop(lambda: read(agent, large=True), per_second=per_second, seconds=3)
        flowing = await rounds(agent)
        before = resident(seen.pid)
        await seen.console.stop()
        stuck = await rounds(agent)
        grown = most_resident(seen.pid) - before
    seen.console.go_on()
    await eventually(lambda: seen.console.named("log_dropped"))
    seen.process.terminate()
    await seen.console.end()
    print(  # noqa: T201  what a soak is for
        f"stuck reader at {per_second}/s of 1 MB: memory +{grown / MB:.1f} MB; p50 {percentile(flowing, 50):.1f} ms read,",
        f"{percentile(stuck, 50):.1f} ms stuck; p99 {percentile(flowing, 99):.1f} ms read, {percentile(stuck, 99):.1f} ms stuck;",
        f"dropped {dict(reported(seen.console))}",
    )
    assert {each.result for each in flowing + stuck} == {len(RESULT)}
    assert grown < 32 * MB
    assert percentile(stuck, 99) < percentile(flowing, 99) + 10
    assert reported(seen.console)["payload"] > 0
