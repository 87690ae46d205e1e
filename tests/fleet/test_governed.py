"""What is set through the governed door of one gateway holds on all."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from onceonly import OnceOnly  # type: ignore[import-untyped]  # it ships no types
from onceonly.exceptions import ApiError  # type: ignore[import-untyped]  # the same

from gateway.state.stores.valkey import setting_scripts
from gateway.state.stores.valkey.store import NOTES
from tests.doors.tool_server import ToolServer
from tests.fleet.conftest import Start
from tests.fleet.valkey_server import ValkeyServer
from tests.governed.sdk import ADMIN_KEY, KEYS
from tests.scenarios.installation import PATIENCE, Installation

POLICY = {"governed": {"enabled": True, "api_key": "${env:API_KEY}", "admin_key": "${env:ADMIN_KEY}"}}


async def ask(gateway: Installation, question: Callable[[Any], Any]) -> Any:
    def once() -> Any:
        with OnceOnly(api_key=ADMIN_KEY, base_url=gateway.data, timeout=15) as client:
            return question(client)

    return await asyncio.to_thread(once)


async def until(gateway: Installation, reason: str, arguments: list[int]) -> None:
    """A call of another one each time: repeats are not performed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            arguments.append(len(arguments))
            res = await ask(gateway, run(arguments[-1]))
            if res.policy_reason == reason:
                return


def run(argument: int) -> Callable[[Any], Any]:
    return lambda c: c.ai.run_tool(agent_id="a1", tool="search.read", args={"n": argument})


async def test_policies_and_stops_hold_on_all_gateways_and_outlive_a_store_that_was_emptied(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer
) -> None:
    used: list[int] = []
    one, other = (await start_fleet(POLICY, gateways=2, **KEYS)).gateways
    for kept_by_each in (lambda c: c.check_lock("k"), lambda c: c.ai.lease("k")):
        with pytest.raises(ApiError, match="not built for a fleet"):
            await ask(one, kept_by_each)
    await ask(one, lambda c: c.gov.upsert_policy({"agent_id": "a1", "blocked_tools": ["search.read"]}))
    await until(other, "tool_explicitly_blocked", used)
    await ask(other, lambda c: c.gov.upsert_policy({"agent_id": "a1"}))
    await until(one, "ok", used)
    await ask(one, lambda c: c.gov.disable_agent("a1"))
    await until(other, "agent_disabled", used)
    async with valkey.client() as client:
        await client.flushall()
    later = (await start_fleet(POLICY, gateways=1, **KEYS)).gateways[0]
    await until(later, "agent_disabled", used)
    assert (await ask(other, lambda c: c.gov.enable_agent("a1"))).is_enabled
    for gateway in (one, later):
        await until(gateway, "ok", used)


async def test_whoever_sets_and_takes_away_all_day_long_does_not_fill_the_store(valkey: ValkeyServer) -> None:
    async with valkey.client() as client, client.pipeline(transaction=False) as asked:
        for number in range(5100):
            asked.eval(setting_scripts.NOTE, len(NOTES), *NOTES, "off", f"governed.disabled:{number}", "", "", "era")
        await asked.execute()
        kept = set(await client.hkeys(NOTES[2]))  # type: ignore[misc]  # the client's types know both of its kinds
    assert {f"governed.disabled:{number}" for number in range(3000, 5100)} <= kept
    assert len(kept) <= 5000
