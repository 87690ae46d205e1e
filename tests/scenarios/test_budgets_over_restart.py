"""The incident: a restart in the middle of a task handed the looping agent a fresh budget."""

import asyncio
import signal
import time
from typing import Any

import aiohttp

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation, call, ended


async def counts(agent: aiohttp.ClientSession, run: str) -> Any:
    async with agent.get(f"/_gateway/runs/{run}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_a_run_has_twelve_tool_calls_whatever_happens_between_them(
    installation: Installation, tool: ToolServer
) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        before = await asyncio.gather(*(call(agent, "search.read", "r1") for _ in range(7)))
        async with agent.post("/_gateway/runs/r1/steps") as answer:
            assert answer.status == 200
    assert (await ended(process, signal.SIGTERM)).code == 0
    await installation.begin()
    async with installation.agent() as agent:
        body = await counts(agent, "r1")
        assert (body["counts"]["tool_calls"], body["counts"]["steps"], body["stop_reason"]) == (7, 1, None)
        after = await asyncio.gather(*(call(agent, "search.read", "r1") for _ in range(8)))
        other = await call(agent, "search.read", "r2")
    assert before == [(200, "ok")] * 7
    assert sorted(after) == [(200, "ok")] * 5 + [(403, "max_tool_calls")] * 3
    assert other == (200, "ok")
    assert tool.calls == 12 + 1


async def test_a_run_grows_older_while_the_gateway_is_down(installation: Installation) -> None:
    installation.environment["AGENT_MAX_SECONDS"] = "600"
    process = await installation.begin()
    sent = time.time()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")
    answered = time.time()
    await ended(process, signal.SIGTERM)
    await installation.begin()
    asked = time.time()
    async with installation.agent() as agent:
        body = await counts(agent, "r1")
    assert asked - answered <= body["counts"]["seconds"] + 0.001  # it is told in whole milliseconds
    assert body["counts"]["seconds"] <= time.time() - sent + 0.001


async def test_a_run_whose_time_ran_out_while_the_gateway_was_down_is_over(
    installation: Installation, tool: ToolServer
) -> None:
    installation.environment["AGENT_MAX_SECONDS"] = "1"
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")
    over = time.time() + 1
    await ended(process, signal.SIGTERM)
    await asyncio.sleep(over - time.time())
    await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (403, "max_seconds")
        assert await call(agent, "search.read", "r2") == (200, "ok")
    assert tool.calls == 2


async def test_a_finished_run_stays_finished(installation: Installation) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        await call(agent, "search.read", "r1")
        async with agent.post("/_gateway/runs/r1/finish") as answer:
            assert answer.status == 200
    await ended(process, signal.SIGTERM)
    await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (403, "run_finished")
        assert (await counts(agent, "r1"))["stop_reason"] == "finish"
