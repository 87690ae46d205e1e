"""An agent's calls in any hour as the store counts them: by the second, so that very many take no more room and telling than few."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.model import RunKey
from gateway.place import parse_place
from gateway.state.shared import Answer, Ask
from gateway.state.stores.valkey.fleet import Fleet, Share
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

HOUR = "tgw:{scout}:hour"


@pytest.fixture
async def fleet(valkey: ValkeyServer) -> AsyncIterator[Fleet]:
    fleet = Fleet(parse_place(valkey.url), time.time)
    running = asyncio.create_task(fleet.run())
    async with asyncio.timeout(PATIENCE):
        await fleet.ready.wait()
    yield fleet
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def charge(fleet: Fleet, call: str, per_hour: int) -> tuple[Share, Answer]:
    share = fleet.charge(Ask(id=call, run=RunKey("scout", ""), tool="search.read", spend=0, step=0, per_hour=per_hour))
    await share.heard
    assert share.answer is not None
    return share, share.answer


async def begin_anew(fleet: Fleet, hour: dict[int, int]) -> None:
    """Under a new connection, with other calls than the store knows."""
    fleet._own.agents["scout"].hour = hour
    assert fleet.link is not None
    fleet.link.fail("is cut for the test")
    async with asyncio.timeout(PATIENCE):
        await fleet.ready.wait()


async def test_an_hour_full_of_calls_is_told_like_any_other(fleet: Fleet, valkey: ValkeyServer) -> None:
    await charge(fleet, "first", 10**6)
    now = int(time.time())
    await begin_anew(fleet, dict.fromkeys(range(now - 3590, now), 100))
    _, answer = await charge(fleet, "next", 10**6)
    assert (answer.word, answer.hour_used) == ("ok", 359_001)
    async with valkey.client() as client:
        assert await client.memory_usage(HOUR) < 400_000


async def test_a_refusal_tells_when_a_call_leaves_the_hour(fleet: Fleet, valkey: ValkeyServer) -> None:
    await charge(fleet, "first", 10)
    now = int(time.time())
    await begin_anew(fleet, {now - 3700: 5, now - 1000: 2, now - 10: 1})
    async with valkey.client() as client:
        assert sorted(await client.hkeys(HOUR))[:2] == [f"{now - 1000}", f"{now - 10}"]  # type: ignore[misc]  # the client's types know both of its kinds
    for limit, second in ((3, now - 1000), (2, now - 1000), (1, now - 10)):
        _, answer = await charge(fleet, f"beyond-{limit}", limit)
        assert (answer.word, answer.charged, answer.hour_used) == ("hour", False, 3)
        assert answer.hour_wait == pytest.approx(second + 3601 - answer.at / 1000)
    share, answer = await charge(fleet, "within", 4)
    assert (answer.word, answer.hour_used) == ("ok", 4)
    share.give_back()
    assert (await charge(fleet, "within-again", 4))[1].hour_used == 4


async def test_what_is_older_than_an_hour_leaves_the_sum(fleet: Fleet, valkey: ValkeyServer) -> None:
    await charge(fleet, "first", 10)
    now = int(time.time())
    async with valkey.client() as client:
        for key in (HOUR, f"{HOUR}|{fleet._telling._name}"):
            await client.delete(key)
            fields = {"n": "7", "o": f"{now - 4000}", f"{now - 4000}": "4", f"{now - 3700}": "1", f"{now - 10}": "2"}
            await client.hset(key, mapping=fields)  # type: ignore[misc]  # the client's types know both of its kinds
        assert (await charge(fleet, "next", 10))[1].hour_used == 3
        for key in await client.keys(f"{HOUR}*"):
            found = await client.hgetall(key)  # type: ignore[misc]  # as above
            assert (found.pop("n"), found.pop("o")) == ("3", f"{now - 10}")
            assert sum(map(int, found.values())) == 3
            assert 0 < await client.pttl(key) <= 3_602_000
