"""Ten times as many calls as a slow tool can take: those beyond GATEWAY_MAX_IN_FLIGHT are sent away at once, the others notice nothing."""

import asyncio
from collections import Counter
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import PATIENCE, Installation, call
from tests.scenarios.open_loop import Timed, open_loop, percentile

READ = "search.read"
PLACES = 10
"""GATEWAY_MAX_IN_FLIGHT. With HOLD seconds a call they admit 50 calls a second."""
HOLD = 0.2
ADMITTED, SHED = (200, "ok"), (503, "overloaded")


class Storm(NamedTuple):
    """What agents and probes saw."""

    before: list[Timed[tuple[int, str]]]
    during: list[Timed[tuple[int, str]]]
    health: list[Timed[int]]
    after: list[Timed[tuple[int, str]]]
    at_once: int
    """The most calls the tool had at a time."""


async def storm(installation: Installation, tool: ToolServer, *, seconds: float) -> Storm:
    """Half of what is admitted, then ten times of it, then half again."""
    at_work = most = 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(HOLD)
        at_work -= 1
        return web.json_response({})

    tool.behaviour = slow
    installation.environment |= {"GATEWAY_MAX_IN_FLIGHT": str(PLACES), "AGENT_MAX_TOOL_CALLS": "1000000"}
    await installation.begin()
    admits = PLACES / HOLD
    async with installation.agent() as agent, installation.operator() as operator:
        one = lambda: call(agent, READ)  # noqa: E731  what the load repeats
        before = await open_loop(one, per_second=admits / 2, seconds=min(seconds, 4))
        during, *health = await asyncio.gather(
            open_loop(one, per_second=10 * admits, seconds=seconds),
            open_loop(lambda: healthy(agent), per_second=10, seconds=seconds),
            open_loop(lambda: healthy(operator), per_second=10, seconds=seconds),
        )
        after = await open_loop(one, per_second=admits / 2, seconds=min(seconds, 2))
    return Storm(before, during, [each for plane in health for each in plane], after, most)


async def healthy(client: aiohttp.ClientSession) -> int:
    async with client.get("/healthz", timeout=aiohttp.ClientTimeout(PATIENCE)) as answer:
        return answer.status


async def test_calls_beyond_the_places_are_sent_away_and_the_others_notice_nothing(
    installation: Installation, tool: ToolServer
) -> None:
    seen = await storm(installation, tool, seconds=1)
    ends = Counter(each.result for each in seen.during)
    assert set(ends) == {ADMITTED, SHED}
    assert ends[ADMITTED] >= PLACES / HOLD / 4  # a quarter of the places' time, on a machine that has other work
    assert ends[SHED] > ends[ADMITTED]
    assert seen.at_once <= PLACES
    assert {each.result for each in seen.health} == {200}
    assert {each.result for each in seen.before + seen.after[-len(seen.after) // 2 :]} == {ADMITTED}
    shed = [each for each in seen.during if each.result == SHED]
    assert percentile(shed, 50) < 1000 * HOLD  # sooner than any answer of the tool's: they did not wait for one


async def test_what_is_sent_away_is_told_when_to_come_back(installation: Installation, tool: ToolServer) -> None:
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.json_response({})

    tool.behaviour = hang
    installation.environment |= {"GATEWAY_MAX_IN_FLIGHT": "1"}
    await installation.begin()
    async with installation.agent() as agent:
        admitted = asyncio.create_task(call(agent, READ))
        await tool.seen(1)
        async with agent.post(f"/tools/{READ}", json={}) as answer:
            problem = await answer.json()
            assert (answer.status, problem["reason"], problem["retryable"]) == (503, "overloaded", True)
            assert answer.headers["Retry-After"] == "1"
        assert await healthy(agent) == 200
        released.set()
        assert await admitted == ADMITTED
        assert await call(agent, READ) == ADMITTED


@pytest.mark.soak
async def test_at_ten_times_the_load_latencies_hold(installation: Installation, tool: ToolServer) -> None:
    seen = await storm(installation, tool, seconds=20)
    shed = [each for each in seen.during if each.result == SHED]
    admitted = [each for each in seen.during if each.result == ADMITTED]
    normal, stormy = percentile(seen.before, 99), percentile(admitted, 99)
    back = next(n for n in range(len(seen.after)) if all(each.result == ADMITTED for each in seen.after[n:]))
    print(  # noqa: T201  what a soak is for
        f"overload: {len(shed)} shed, p50 {percentile(shed, 50):.0f} ms, p99 {percentile(shed, 99):.0f} ms,",
        f"slowest {percentile(shed, 100):.0f} ms; {len(admitted)} admitted, p99 {stormy:.0f} ms,",
        f"{stormy / normal:.2f} x the {normal:.0f} ms before; health p99 {percentile(seen.health, 99):.0f} ms;",
        f"normal after {back * HOLD * 2 / PLACES:.2f} s",
    )
    assert len(shed) + len(admitted) == len(seen.during)
    assert percentile(shed, 99) < 50
    assert stormy < 3 * normal
    assert percentile(seen.health, 99) < 200
    assert back * HOLD * 2 / PLACES < 2
