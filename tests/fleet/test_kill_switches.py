"""An operator's stop on one gateway stops the fleet."""

import asyncio
import json
import time

from tests.fleet.conftest import Fleet, Start
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE, call, eventually

HOLDS_WITHIN = 0.25


async def until_all_answer(fleet: Fleet, status: int) -> float:
    """Seconds until each has refused a call (or let one pass)."""
    began = time.monotonic()

    async def one(number: int) -> float:
        async with asyncio.timeout(PATIENCE):
            while (await call(fleet.agents[number], "search.read"))[0] != status:  # noqa: ASYNC110  of another process
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    return max(await asyncio.gather(*(one(number) for number in range(len(fleet.agents)))))


async def test_a_kill_on_one_gateway_holds_on_all_and_says_so(start_fleet: Start, valkey: ValkeyServer) -> None:
    fleet = await start_fleet()
    took = []
    for _ in range(3):
        told = await fleet.kill(0, "tool:search.read")
        assert told["reach"] == f"all instances on {valkey.url}"
        took.append(await until_all_answer(fleet, 403))
        await fleet.restore(2, "tool:search.read")
        await until_all_answer(fleet, 200)
    assert min(took) < HOLDS_WITHIN

    # Each gateway's log tells of each flip once.
    def flips() -> list[list[str]]:
        return [[line["action"] for line in gateway.lines("kill_switch")] for gateway in fleet.gateways]

    await eventually(lambda: flips() == [["on", "off"] * 3] * 3)


async def test_a_kill_that_nobody_announces_is_found(start_fleet: Start, valkey: ValkeyServer) -> None:
    fleet = await start_fleet()
    switch = {"scope": "all", "reason": "too eager", "who": "ops", "since": time.time()}
    async with valkey.client() as client:
        pipe = client.pipeline(transaction=True)
        pipe.hset("tgw:switches", "all", json.dumps(switch))
        pipe.set("tgw:switches:version", "another.1")
        await pipe.execute()
    await until_all_answer(fleet, 403)


async def test_a_gateway_that_starts_later_knows_of_it_from_its_first_call_on(start_fleet: Start) -> None:
    fleet = await start_fleet(gateways=1)
    await fleet.kill(0, "all")
    later = await start_fleet(gateways=2)
    for agent in later.agents:
        assert await call(agent, "search.read") == (403, "kill_switch")


async def test_a_kill_outlives_a_store_that_loses_everything(start_fleet: Start, valkey: ValkeyServer) -> None:
    fleet = await start_fleet(gateways=2)
    await fleet.kill(0, "all")
    await until_all_answer(fleet, 403)
    await valkey.kill()
    await valkey.begin(empty=True)
    await fleet.all_are(up=True)
    later = await start_fleet(gateways=1)
    for agent in (*fleet.agents, *later.agents):
        assert await call(agent, "search.read") == (403, "kill_switch")
    await fleet.restore(1, "all")
    await until_all_answer(fleet, 200)
    await until_all_answer(later, 200)


async def test_a_kill_while_the_store_is_gone_holds_here_and_everywhere_once_it_is_back(
    start_fleet: Start, valkey: ValkeyServer
) -> None:
    fleet = await start_fleet(gateways=2)
    await valkey.kill()
    told = await fleet.kill(0, "all")
    assert told["reach"].startswith("this instance; ")
    assert await call(fleet.agents[0], "search.read") == (403, "kill_switch")
    assert await call(fleet.agents[1], "search.read") == (200, "ok")
    await valkey.begin()
    await until_all_answer(fleet, 403)
