"""The end of a run as it is answered: where it says that nothing is called in the run's name any more, no gateway does so."""

import asyncio
from typing import Any

import pytest

from tests.doors.tool_server import ToolServer
from tests.fleet.conftest import Fleet, Start
from tests.fleet.slow_way import SlowWay
from tests.fleet.test_three_gateways import answered, finish, heard
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

ON_THE_WAY = 0.1
"""Seconds until the store hears of anything. Gateways wait longer, and calls through another gateway take less."""


async def finished(fleet: Fleet) -> None:
    await finish(fleet.agents[0], "r1")


async def stop(fleet: Fleet) -> dict[str, Any]:
    async with fleet.operators[0].post("/v1/runs/default/r1/stop", json={"who": "ops"}) as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        return told


async def stopped(fleet: Fleet) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await stop(fleet))["reach"].startswith("all instances on "):
            pass


@pytest.mark.parametrize(("ends", "reason"), [(finished, "run_finished"), (stopped, "kill_switch")])
async def test_an_end_is_answered_when_no_gateway_takes_the_runs_calls_any_more(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer, ends: Any, reason: str
) -> None:
    other = (await start_fleet(gateways=1)).agents[0]
    async with SlowWay(valkey.port) as way:
        far = await start_fleet(gateways=1, state=f"valkey://127.0.0.1:{way.port}/0")
        for agent in (far.agents[0], other):
            assert await heard(agent, "search.read", "r1") == (200, "ok")
        way.delay_there = ON_THE_WAY
        await ends(far)
        assert await heard(other, "search.read", "r1") == (403, reason)
    assert tool.calls == 2


async def test_an_end_that_the_store_has_not_heard_of_holds_here_and_says_so(
    start_fleet: Start, valkey: ValkeyServer
) -> None:
    fleet = await start_fleet(gateways=2)
    assert await heard(fleet.agents[1], "search.read", "r3") == (200, "ok")
    for run in ("r1", "r2"):
        for agent in fleet.agents:
            assert await heard(agent, "search.read", run) == (200, "ok")
    here, there = fleet.agents
    await valkey.kill()
    status, _, told = await answered(here, "/_gateway/runs/r2/finish", json=None)
    assert (status, told["stop_reason"]) == (202, "finish")
    assert "on this gateway" in told["detail"]
    assert (await stop(fleet))["reach"].startswith("this instance; ")
    assert await heard(here, "search.read", "r2") == (403, "run_finished")
    status, _, told = await answered(here, "/_gateway/runs/r3/finish", json=None)  # which the other one knows of
    assert (status, told["reason"], told["retryable"]) == (503, "state_unavailable", True)
    await valkey.begin()
    await fleet.all_are(up=True)
    assert await heard(there, "search.read", "r1") == (403, "kill_switch")
    assert await heard(there, "search.read", "r2") == (403, "run_finished")
    await finish(here, "r2")
    await finish(here, "r3")
    await stopped(fleet)
    assert await heard(there, "search.read", "r3") == (403, "run_finished")


async def test_a_window_has_no_end_to_be_told(start_fleet: Start) -> None:
    """As an MCP session's is: it bounds calls and is no task, here as without a fleet."""
    fleet = await start_fleet(gateways=1)
    window = "mcp-" + 32 * "0"
    assert await heard(fleet.agents[0], "search.read", window) == (200, "ok")
    status, _, told = await answered(fleet.agents[0], f"/_gateway/runs/{window}/finish", json=None)
    assert (status, told["stop_reason"], "detail" in told) == (200, None, False)
