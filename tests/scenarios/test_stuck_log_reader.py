"""The incident of test_full_trace_logging.py over the whole gateway: its stdout is a pipe whose reader has stopped, and calls go on."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.scenarios.installation import PATIENCE, Installation, eventually
from tests.scenarios.large_results import QUESTION, RESULT
from tests.scenarios.open_loop import Timed, percentile
from tests.scenarios.resident import MB, most_resident, needs_proc, resident

pytestmark = needs_proc

READ = "search.read"
ROOT = Path(__file__).parents[2]
LARGE_RESULTS = (sys.executable, "-m", "tests.scenarios.large_results")
ROUNDS, SECONDS = 5, 8


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
async def elsewhere() -> AsyncIterator[str]:
    """The URL of a tool in a process of its own."""
    tool = await asyncio.create_subprocess_exec(*LARGE_RESULTS, "tool", cwd=ROOT, stdout=PIPE)
    assert tool.stdout is not None
    yield f"http://127.0.0.1:{int(await tool.stdout.readline())}"
    tool.kill()
    await tool.communicate()


@pytest.fixture
async def seen(installation: Installation, elsewhere: str) -> AsyncIterator[Seen]:
    """A gateway that logs every result, whole, to stdout."""
    installation.write_policy(
        {
            "tools": {"allowlist": [READ], "definitions": {READ: {"effect": "read"}}},
            "observability": {"result_sample_rate": 1.0, "max_log_bytes_per_second": 1 << 30},
        }
    )
    installation.upstream = elsewhere
    installation.environment |= {"GATEWAY_LOG": "-", "AGENT_MAX_TOOL_CALLS": "1000000"}
    process = await installation.spawn("serve")
    console = Console(process)
    await eventually(lambda: console.named("gateway_started"))
    installation.data = console.named("gateway_started")[0]["listen"]
    yield Seen(process.pid, console, process)
    await console.stop()  # only one may read what is left


async def end(seen: Seen) -> tuple[Counter[str], Counter[str]]:
    """With the reader reading on, the gateway ends. By reason, the calls that were written; by kind, what the log says it dropped."""
    await eventually(lambda: seen.console.named("log_dropped"))
    seen.process.terminate()
    await seen.console.end()
    assert seen.console.named("gateway_stopped")
    dropped: Counter[str] = Counter()
    for line in seen.console.named("log_dropped"):
        dropped.update(line["dropped"])
    return Counter(line["reason"] for line in seen.console.named("tool_call")), dropped


async def read(agent: aiohttp.ClientSession, *, large: bool) -> int:
    async with agent.post(f"/tools/{READ}", data=QUESTION, params={"large": ""} if large else {}) as answer:
        assert answer.status == 200
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
        return size


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
    written, dropped = await end(seen)
    assert dropped["payload"] > 0
    assert written["ok"] + dropped["ok"] == 20 + 100 + 1600


async def agents(url: str, per_second: int, seconds: float) -> list[Timed[None]]:
    """What as many calls took, made in a process of their own."""
    command = (*LARGE_RESULTS, "agents", f"{url}/tools/{READ}?large", str(per_second), str(seconds))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(seconds + PATIENCE):
        made, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return [Timed(None, took) for took in json.loads(made)]


@pytest.mark.soak
async def test_two_hundred_results_of_1_mb_a_second_past_a_reader_that_stopped(
    installation: Installation, seen: Seen
) -> None:
    """The reader reads and stops in turns. Compared are the quietest: other work slows some turns, the log would slow all."""
    await agents(installation.data, 200, SECONDS)
    before = resident(seen.pid)
    flowing, stuck = [], []
    for _ in range(ROUNDS):
        flowing.append(await agents(installation.data, 200, SECONDS))
        await seen.console.stop()
        stuck.append(await agents(installation.data, 200, SECONDS))
        seen.console.go_on()
    grown = most_resident(seen.pid) - before
    written, dropped = await end(seen)
    print(f"200 results of 1 MB a second, nobody reads the log: memory +{grown / MB:.1f} MB; dropped {dict(dropped)}")  # noqa: T201  what a soak is for
    for percent in (50, 99, 99.9):
        read, unread = (min(percentile(each, percent) for each in turns) for turns in (flowing, stuck))
        print(f"  {percent} in 100 calls within {read:.1f} ms while it is read, {unread:.1f} ms while it is not")  # noqa: T201  what a soak is for
        assert read < 100, "this machine is too busy to carry 200 MB a second: nothing can be told"
        assert unread < read + 10
    assert grown < 32 * MB
    assert dropped["payload"] > 0
    assert written["ok"] + dropped["ok"] == 200 * SECONDS * (1 + 2 * ROUNDS)
