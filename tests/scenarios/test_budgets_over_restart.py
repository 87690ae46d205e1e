"""The incident: a restart in the middle of a task handed the looping agent a fresh budget."""

import asyncio
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

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


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_an_agents_hour_and_day_go_on_however_the_gateway_ended(
    installation: Installation, tool: ToolServer, how: signal.Signals
) -> None:
    limits = {"max_actions_per_hour": 9, "max_spend_usd_per_day": 0.0065, "max_calls_per_tool": {"notes.write": 2}}
    definitions = {"search.read": {"effect": "read", "cost_usd": 0.001}, "notes.write": {"effect": "write"}}
    installation.write_policy(
        {
            "runs": {"max_started_per_hour": 11, "max_usd": 0.0035},
            "tools": {"allowlist": [*definitions], "definitions": definitions},
            "agents": {"default": limits},
        }
    )
    ends: Counter[str] = Counter()
    for run in ("r1", "r2"):
        process = await installation.begin()
        async with installation.agent() as agent:
            calls = [call(agent, "search.read", run) for _ in range(5)]
            calls += [call(agent, "notes.write", f"{run}-{n}") for n in range(2)]
            ends.update(reason for _, reason in await asyncio.gather(*calls))
        await ended(process, how)
    assert ends == {"ok": 8, "max_usd": 4, "max_calls_per_tool": 2}
    await installation.begin()
    async with installation.agent() as agent:
        last = [await call(agent, "search.read", f"r3-{n}") for n in range(3)]
    assert [reason for _, reason in last] == ["max_spend_usd_per_day"] * 3
    async with installation.operator() as operator, operator.get("/v1/status") as answer:
        [used] = (await answer.json())["agents"]
    assert (used["actions_this_hour"]["used"], used["usd_today"]["used"]) == (8, 0.006)
    assert used["runs_started_this_hour"]["used"] == 4
    assert used["calls_today"] == {"notes.write": {"used": 2, "limit": 2}}
    assert tool.calls == 8


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
