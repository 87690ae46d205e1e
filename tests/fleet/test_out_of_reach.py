"""The incident: the store that all gateways share is gone, stands still, is read-only or has forgotten everything."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.doors.tool_server import ToolServer
from tests.fleet.conftest import Start
from tests.fleet.test_books import begin_again_empty
from tests.fleet.topologies import rights
from tests.fleet.valkey_server import ValkeyServer, free_port
from tests.scenarios.installation import call, eventually

CALLS_12: dict[str, Any] = {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 12}}}
ALLOW: dict[str, Any] = {**CALLS_12, "state": {"on_unavailable": "allow"}}
NO_LONGER = 0.25
"""Seconds that any call waits for the store."""


async def stands_still(valkey: ValkeyServer) -> None:
    valkey.pause()


async def goes_on(valkey: ValkeyServer) -> None:
    valkey.go_on()


async def is_killed(valkey: ValkeyServer) -> None:
    await valkey.kill()


async def is_begun_again(valkey: ValkeyServer) -> None:
    await valkey.begin()


async def becomes_a_replica(valkey: ValkeyServer) -> None:
    async with valkey.client() as client:
        await client.replicaof("127.0.0.1", free_port())


async def becomes_the_primary(valkey: ValkeyServer) -> None:
    async with valkey.client() as client:
        await client.replicaof("NO", "ONE")


Happening = Callable[[ValkeyServer], Awaitable[None]]
OUTAGES: list[tuple[Happening, Happening]] = [
    (is_killed, is_begun_again),
    (is_killed, begin_again_empty),
    (stands_still, goes_on),
    (becomes_a_replica, becomes_the_primary),
]
outages = pytest.mark.parametrize(("goes", "comes"), OUTAGES, ids=lambda one: one.__name__)


@outages
async def test_deny_refuses_what_cannot_be_charged_at_once_and_serves_the_rest(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer, goes: Happening, comes: Happening
) -> None:
    fleet = await start_fleet(CALLS_12)
    for number in range(6):
        assert await call(fleet.agents[number % 3], "search.read", "r1") == (200, "ok")
    await goes(valkey)
    took = []
    for number in range(9):
        began = time.monotonic()
        assert await call(fleet.agents[number % 3], "search.read", "r1") == (503, "state_unavailable")
        took.append(time.monotonic() - began)
        assert await call(fleet.agents[number % 3], "search.read") == (200, "ok")  # of no run: nobody is asked
    assert sorted(took)[4] < NO_LONGER
    await fleet.all_are(up=False)
    await comes(valkey)
    await fleet.all_are(up=True)
    calls = (call(fleet.agents[n % 3], "search.read", "r1") for n in range(30))
    assert Counter(await asyncio.gather(*calls)) == {(200, "ok"): 6, (403, "max_tool_calls"): 24}
    assert tool.calls == 12 + 9


@outages
async def test_allow_holds_each_gateway_to_its_own_limits_and_all_to_the_sum_afterwards(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer, goes: Happening, comes: Happening
) -> None:
    fleet = await start_fleet(ALLOW)
    for number in range(3):
        assert await call(fleet.agents[number], "search.read", "r1") == (200, "ok")
    await goes(valkey)
    for number in (0, 0, 0, 1):
        assert await call(fleet.agents[number], "search.read", "r1") == (200, "ok")
    # What was known of the others is not forgotten; more is not known.
    found = Counter([await call(fleet.agents[0], "search.read", "r2") for _ in range(14)])
    assert found == {(200, "ok"): 12, (403, "max_tool_calls"): 2}
    await comes(valkey)
    await fleet.all_are(up=True)
    calls = (call(fleet.agents[n % 3], "search.read", "r1") for n in range(30))
    assert Counter(await asyncio.gather(*calls)) == {(200, "ok"): 5, (403, "max_tool_calls"): 25}
    assert await call(fleet.agents[2], "search.read", "r2") == (403, "max_tool_calls")
    assert tool.calls == 3 + 4 + 12 + 5


async def test_a_gateway_starts_without_its_store_and_takes_part_once_it_is_there(
    start_fleet: Start, valkey: ValkeyServer
) -> None:
    await valkey.kill()
    fleet = await start_fleet(CALLS_12, gateways=1)
    # Whether an operator has stopped all calls is known to the store alone, so far.
    assert await call(fleet.agents[0], "search.read") == (503, "state_unavailable")
    await eventually(lambda: fleet.gateways[0].lines("state_unavailable"))
    await valkey.begin()
    await fleet.all_are(up=True)
    assert await call(fleet.agents[0], "search.read", "r1") == (200, "ok")
    await eventually(lambda: fleet.gateways[0].lines("state_available"))


async def test_the_rights_of_the_guide_are_enough_and_no_password_is_ever_told(
    start_fleet: Start, valkey: ValkeyServer
) -> None:
    async with valkey.client() as client:
        await client.execute_command("ACL", "SETUSER", "gateway", "on", ">hunter2", *rights())  # type: ignore[no-untyped-call]  # the client has no types there
    state = valkey.url.replace("//", "//gateway:hunter2@")
    fleet = await start_fleet(CALLS_12, gateways=1, state=state)
    assert await call(fleet.agents[0], "search.read", "r1") == (200, "ok")
    said = json.dumps(await fleet.kill(0, "tool:notes.write"))
    async with valkey.client() as client:
        await client.acl_deluser("gateway")
    await fleet.all_are(up=False)
    await eventually(lambda: "user or password of GATEWAY_STATE" in fleet.gateways[0].log.read_text())
    async with fleet.operators[0].get("/v1/status") as answer:
        said += await answer.text()
    said += fleet.gateways[0].log.read_text()
    assert f"all instances on {valkey.url}" in said
    assert "hunter2" not in said
