"""One performance of a call with an Idempotency-Key, whichever gateways of the fleet are asked for it."""

import asyncio
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.doors.tool_server import ToolServer, hang, status
from tests.fleet.conftest import Fleet, Start
from tests.fleet.slow_way import SlowWay
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE, POLICY, call, ended

KEY = {"Idempotency-Key": "payment-4711"}
LIMITED: dict[str, Any] = {"agents": {"default": {"max_actions_per_hour": 10}}}


async def pay(agent: aiohttp.ClientSession, amount: int = 10, key: str = "payment-4711") -> tuple[int, str, Any]:
    body, headers = {"amount": amount}, {"Idempotency-Key": key}
    async with agent.post("/runs/r1/tools/notes.write", json=body, headers=headers) as answer:
        return answer.status, answer.headers["Tool-Gateway-Reason"], await answer.json()


async def paid(request: web.Request) -> web.StreamResponse:
    return web.json_response({"payment": id(request)}, status=201)


async def claim_of(valkey: ValkeyServer) -> dict[str, str]:
    """One that is held."""
    async with valkey.client() as client:
        for key in await client.keys("tgw:*answer:*"):
            found = client.hgetall(key)
            assert not isinstance(found, dict)
            claim = dict(await found)
            if "end" not in claim:
                return claim
    return {}


async def watched(valkey: ValkeyServer) -> None:
    """Waits until a call is claimed, and waited for from elsewhere."""
    async with asyncio.timeout(PATIENCE):
        while "w" not in await claim_of(valkey):  # noqa: ASYNC110  what another process did sets no event of ours
            await asyncio.sleep(0.01)


async def renewed(valkey: ValkeyServer) -> None:
    """Waits until its gateway has renewed it and, since it does so again, has heard the reply."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            until = (await claim_of(valkey))["until"]
            while (await claim_of(valkey)).get("until") == until:  # noqa: ASYNC110  as above
                await asyncio.sleep(0.01)
        assert await claim_of(valkey)


async def kill_the_process(fleet: Fleet, number: int) -> None:
    await ended(fleet.gateways[number]._processes[-1], signal.SIGKILL)


async def test_parallel_calls_over_three_gateways_are_performed_and_charged_once(
    start_fleet: Start, tool: ToolServer, valkey: ValkeyServer
) -> None:
    fleet, go_on = await start_fleet(LIMITED), asyncio.Event()
    tool.replies = [hang(go_on)]
    calls = [asyncio.create_task(pay(fleet.agents[n % 3])) for n in range(90)]
    await tool.seen()
    await watched(valkey)
    assert (await pay(fleet.agents[1], amount=11))[:2] == (400, "invalid_request")
    go_on.set()
    told = await asyncio.gather(*calls)
    assert Counter(reason for _, reason, _ in told) == {"ok": 1, "dedup": 89}
    assert {str(body) for _, _, body in told} == {"{'late': True}"}
    for agent in fleet.agents:
        assert (await pay(agent))[1] == "dedup"
        assert (await pay(agent, amount=11))[:2] == (400, "invalid_request")
    assert tool.calls == 1
    found = Counter([await call(fleet.agents[n % 3], "search.read", "r1") for n in range(12)])
    assert found == {(200, "ok"): 9, (403, "max_actions_per_hour"): 3}


async def test_an_answer_outlives_the_gateway_that_got_it(start_fleet: Start, tool: ToolServer) -> None:
    tool.behaviour = paid
    fleet = await start_fleet(gateways=2)
    first = await pay(fleet.agents[0])
    await kill_the_process(fleet, 0)
    assert await pay(fleet.agents[1]) == (201, "dedup", first[2])
    await fleet.gateways[0].begin()
    async with fleet.gateways[0].agent() as agent:
        assert await pay(agent) == (201, "dedup", first[2])
        # A replay is asked what an operator has stopped, and nothing of budgets.
        await fleet.kill(1, "tool:notes.write")
        async with asyncio.timeout(PATIENCE):
            while (await pay(agent))[:2] != (403, "kill_switch"):  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)
    assert tool.calls == 1


async def test_who_waits_elsewhere_hears_how_it_ended_and_nobody_who_comes_later(
    start_fleet: Start, tool: ToolServer, valkey: ValkeyServer
) -> None:
    policy = {"tools": {**POLICY["tools"], "retries": {"max": 0}}}
    fleet, go_on = await start_fleet(policy, gateways=2), asyncio.Event()

    async def fails(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await status(500)(request)

    tool.replies = [fails]
    calls = [asyncio.create_task(pay(agent)) for agent in fleet.agents]
    await watched(valkey)
    go_on.set()
    assert Counter([told[:2] for told in await asyncio.gather(*calls)]) == {(500, "tool_error"): 1, (500, "dedup"): 1}
    assert (await pay(fleet.agents[0]))[:2] == (200, "ok")
    assert tool.calls == 2


async def test_the_last_caller_of_all_gateways_ends_the_attempt(
    start_fleet: Start, tool: ToolServer, valkey: ValkeyServer
) -> None:
    fleet, go_on = await start_fleet(gateways=2), asyncio.Event()
    tool.behaviour = hang(go_on)
    first = asyncio.create_task(pay(fleet.agents[0]))
    await tool.seen()
    second = asyncio.create_task(pay(fleet.agents[1]))
    await watched(valkey)
    await renewed(valkey)
    first.cancel()
    third = asyncio.create_task(pay(fleet.agents[1]))
    await renewed(valkey)  # it would be gone
    assert tool.cancelled == 0
    second.cancel()
    third.cancel()
    await tool.left()
    tool.behaviour = None
    assert (await pay(fleet.agents[1]))[:2] == (200, "ok")
    assert tool.calls == 2


async def test_an_answer_that_streams_goes_to_the_first_caller_of_all_gateways(
    start_fleet: Start, tool: ToolServer
) -> None:
    fleet, go_on = await start_fleet(gateways=2), asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: 1\n\n")
        await go_on.wait()
        return answer

    tool.behaviour = events
    async with fleet.agents[0].post("/tools/notes.write", json={}, headers=KEY) as answer:
        assert await answer.content.readline() == b"data: 1\n"
        assert await call(fleet.agents[1], "notes.write", headers=KEY) == (424, "response_too_large")
        go_on.set()
        await answer.read()
    assert tool.calls == 1


async def test_a_write_whose_gateway_died_is_made_by_no_other_and_a_read_is(
    start_fleet: Start, tool: ToolServer, valkey: ValkeyServer
) -> None:
    fleet, never = await start_fleet(), asyncio.Event()
    tool.behaviour = hang(never)
    left = [asyncio.create_task(call(fleet.agents[0], name, headers=KEY)) for name in ("notes.write", "search.read")]
    await tool.seen(2)
    waiting = [asyncio.create_task(call(fleet.agents[1], name, headers=KEY)) for name in ("notes.write", "search.read")]
    await watched(valkey)
    await kill_the_process(fleet, 0)
    await asyncio.gather(*left, return_exceptions=True)
    tool.behaviour = None
    assert await asyncio.gather(*waiting) == [(424, "outcome_unknown"), (502, "upstream_failed")]
    for agent in fleet.agents[1:]:
        assert await call(agent, "notes.write", headers=KEY) == (424, "outcome_unknown")
    assert await call(fleet.agents[2], "search.read", headers=KEY) == (200, "ok")
    assert await call(fleet.agents[1], "search.read", headers=KEY) == (200, "dedup")
    assert await call(fleet.agents[1], "notes.write", headers={"Idempotency-Key": "another"}) == (200, "ok")
    assert tool.calls == 4


@pytest.mark.parametrize("decides", ["deny", "allow"])
async def test_what_becomes_of_calls_with_a_key_while_the_store_stands_still(
    start_fleet: Start, tool: ToolServer, valkey: ValkeyServer, decides: str
) -> None:
    fleet, go_on = await start_fleet({"state": {"on_unavailable": decides}}, gateways=2), asyncio.Event()
    one, other = fleet.agents
    assert (await pay(one, key="before"))[1] == "ok"
    tool.replies = [hang(go_on)]
    at_work = [asyncio.create_task(pay(one, key="at-work"))]
    await tool.seen(2)
    elsewhere = asyncio.create_task(pay(other, key="at-work"))
    await watched(valkey)
    valkey.pause()
    assert (await pay(one, key="before"))[1] == "dedup"
    assert (await pay(other, key="new"))[:2] == ((200, "ok") if decides == "allow" else (503, "state_unavailable"))
    at_work += [asyncio.create_task(pay(one, key="at-work")) for _ in range(3)]
    assert (await elsewhere)[:2] == ((424, "outcome_unknown") if decides == "allow" else (503, "state_unavailable"))
    go_on.set()
    assert Counter([reason for _, reason, _ in await asyncio.gather(*at_work)]) == {"ok": 1, "dedup": 3}
    valkey.go_on()
    await fleet.all_are(up=True)
    calls = tool.calls
    assert (await pay(other, key="at-work"))[1] == "dedup"
    assert (await pay(one, key="new"))[1] == ("dedup" if decides == "allow" else "ok")
    assert (await pay(other, key="new"))[1] == "dedup"
    assert tool.calls == calls + (decides == "deny")


async def test_the_claim_and_the_charge_together_wait_no_longer_than_one_of_them_may(
    start_fleet: Start, valkey: ValkeyServer, tool: ToolServer
) -> None:
    async with SlowWay(valkey.port) as way:
        policy = {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 12}}}
        fleet = await start_fleet(policy, gateways=1, state=f"valkey://127.0.0.1:{way.port}/0")
        way.delay = 0.14  # of each reply: one is in time, two are not
        assert (await pay(fleet.agents[0]))[:2] == (503, "state_unavailable")
        way.delay = 0.0
        async with asyncio.timeout(PATIENCE):
            while (await pay(fleet.agents[0]))[0] != 200:  # noqa: ASYNC110  as above
                await asyncio.sleep(0.01)
        await asyncio.gather(*(call(fleet.agents[0], "search.read", "r1") for _ in range(20)))
    assert tool.calls == 12


async def test_calls_without_a_key_or_refused_anyway_ask_nobody(start_fleet: Start, valkey: ValkeyServer) -> None:
    fleet = await start_fleet(gateways=1)
    assert await call(fleet.agents[0], "notes.write") == (200, "ok")
    assert await call(fleet.agents[0], "shell.run", headers=KEY) == (403, "tool_not_allowed")
    async with valkey.client() as client:
        assert await client.keys("tgw:{*") == []
