"""Policies reloaded again and again, half of them bad, while calls run: each is judged by one whole policy, and nothing is lost."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.model import Record
from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer

RULES = (
    {"tools": {"allowlist": ["search.read"], "definitions": {"search.read": {"effect": "read"}}}},
    {"tools": {"allowlist": ["notes.write"], "definitions": {"search.read": {"effect": "read"}}}},
)
BAD = (
    "tools: {allowlist: 3}",
    "",
    "mode: [",
    "\0",
    "unknown: 1\n" * 2000,
    "tools: &a {definitions: *a}",
    "mode: " + "9" * 5000,
)
CALLERS = 8
MOST_GROWTH = 8 << 20


@dataclass
class Answers:
    """What callers were told, and by which policy."""

    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    recorded: int = 0
    over: bool = False

    async def call(self, running: Running, number: int) -> None:
        while not self.over:
            async with running.agent.post(f"/runs/{number}/tools/search.read", json={}) as answer:
                await answer.read()
                self.seen[answer.headers["Tool-Gateway-Policy"], answer.status] += 1

    def count(self, records: list[Record]) -> None:
        """Counts the records and lets them go, so that only the gateway's own memory is left to grow."""
        self.recorded += len(records)
        records.clear()


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def put(gateway: Gateway, file: Path, content: str) -> tuple[str, ...]:
    file.with_suffix(".new").write_text(content)
    file.with_suffix(".new").rename(file)
    return await gateway.policies.reload()


async def reload_under_load(start: StartGateway, tool: ToolServer, folder: Path, reloads: int, every: float) -> None:
    running = await start(json.dumps(RULES[0]), AGENT_MAX_TOOL_CALLS="1000000", AGENT_MAX_SECONDS="3600")
    gateway, file = running.gateway, folder / "policies" / "policy.yaml"
    expected = {gateway.policies.snapshot.version: 200}
    answers = Answers()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(answers.call(running, number))
        warm = 0
        begin = loop.time()
        for number in range(reloads):
            if number % 2:
                assert await put(gateway, file, BAD[number // 2 % len(BAD)])
            else:
                which = (number // 2 + 1) % 2
                assert await put(gateway, file, json.dumps(RULES[which])) == ()
                expected[gateway.policies.snapshot.version] = 403 if which else 200
            answers.count(running.seen.records)
            tool.received.clear()
            if number == reloads // 2:
                warm = resident()
            await asyncio.sleep(begin + (number + 1) * every - loop.time())
        answers.over = True
    answers.count(running.seen.records)
    growth = resident() - warm
    print(f"{reloads} reloads, {answers.recorded} calls, memory +{growth / 1e6:.1f} MB since half of them")  # noqa: T201  a soak tells its figures
    assert len(expected) == 2
    assert {version for version, _ in answers.seen} == set(expected)
    assert [answer for answer in answers.seen if expected[answer[0]] != answer[1]] == []
    assert answers.recorded == answers.seen.total()
    assert growth < MOST_GROWTH


async def test_each_answer_of_many_reloads_is_judged_by_one_policy(
    start: StartGateway, tool: ToolServer, tmp_path: Path
) -> None:
    await reload_under_load(start, tool, tmp_path, reloads=60, every=0.03)


@pytest.mark.soak
async def test_a_thousand_reloads_in_a_minute(start: StartGateway, tool: ToolServer, tmp_path: Path) -> None:
    await reload_under_load(start, tool, tmp_path, reloads=1000, every=0.06)
