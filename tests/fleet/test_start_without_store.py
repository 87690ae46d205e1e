"""A gateway that starts while its store is away knows neither what was stopped nor which API policies narrow what the folder allows."""

import asyncio
from typing import Any

from tests.doors.tool_server import ToolServer
from tests.fleet.conftest import Fleet, Start
from tests.fleet.test_governed import POLICY, ask
from tests.fleet.valkey_server import ValkeyServer
from tests.governed.sdk import KEYS
from tests.scenarios.installation import PATIENCE, call

MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "resources/list", "params": {}}


async def stop_and_narrow(fleet: Fleet) -> None:
    """What the store then holds: a kill of a tool, and an API policy that blocks another one."""
    await fleet.kill(0, "tool:notes.write")
    narrowed = {"agent_id": "default", "blocked_tools": ["search.read"]}
    await ask(fleet.gateways[0], lambda c: c.gov.upsert_policy(narrowed))
    await fleet.gateways[0].destroy()


async def first_other_answer(fleet: Fleet, tool: str) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE):
        while (answer := await call(fleet.agents[0], tool)) == (503, "state_unavailable"):
            pass
    return answer


async def test_with_deny_nothing_is_served_until_stops_and_api_policies_are_known(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer
) -> None:
    await stop_and_narrow(await start_fleet(POLICY, gateways=1, **KEYS))
    await valkey.kill()
    servers = {"mcp_servers": {"files": {"url": f"{tool.url}/mcp"}}}
    fleet = await start_fleet({**POLICY, **servers}, gateways=1, **KEYS)
    for name in ("search.read", "notes.write"):
        assert await call(fleet.agents[0], name) == (503, "state_unavailable")
    async with fleet.agents[0].post("/mcp/files", json=MESSAGE) as answer:
        assert "does not know yet what is stopped" in await answer.text()
    assert "state_unavailable" in await fleet.degraded(0)
    await valkey.begin()
    first = await asyncio.gather(*(first_other_answer(fleet, name) for name in ("search.read", "notes.write")))
    assert first == [(403, "tool_not_allowed"), (403, "kill_switch")]
    assert tool.calls == 0


async def test_with_allow_the_folder_alone_decides_until_they_are_known(
    start_fleet: Start, valkey: ValkeyServer
) -> None:
    policy: dict[str, Any] = {**POLICY, "state": {"on_unavailable": "allow"}}
    await stop_and_narrow(await start_fleet(policy, gateways=1, **KEYS))
    await valkey.kill()
    fleet = await start_fleet(policy, gateways=1, **KEYS)
    for name in ("search.read", "notes.write"):
        assert await call(fleet.agents[0], name) == (200, "ok")
    await valkey.begin()
    await fleet.all_are(up=True)
    assert await call(fleet.agents[0], "search.read") == (403, "tool_not_allowed")
    assert await call(fleet.agents[0], "notes.write") == (403, "kill_switch")
