"""What an operator does while the store's switches are read holds: the reply on its way is of before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from gateway.model import KillSwitch
from gateway.place import parse_place
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.link import Link
from gateway.state.stores.valkey.store import ValkeyStore
from gateway.state.stores.valkey.switches import SharedSwitches
from gateway.state.switches import parse_scope
from tests.fleet.valkey_server import ValkeyServer

ALL, SCOUT = (KillSwitch(parse_scope(scope), "too eager", "ops", time.time()) for scope in ("all", "agent:scout"))


Act = Callable[[], Awaitable[None]]


async def nobody() -> None:
    pass


class SlowLink(Link):
    """On the way to the store, and back, there is time for operators."""

    before: Act
    after: Act
    passed = 0
    """Readings of the switches before the one in whose time they come."""

    async def fetch(self, script: str, keys: tuple[str, ...], *arguments: str | int) -> str:
        if script != "SWITCHES":
            return await super().fetch(script, keys, *arguments)
        self.passed -= 1
        if self.passed == -1:
            await self.before()
        text = await super().fetch(script, keys, *arguments)
        if self.passed == -1:
            await self.after()
        return text


@dataclass
class Reader:
    """One gateway's view of the switches; another gateway's store beside it."""

    store: ValkeyStore
    keeper: Keeper
    link: SlowLink
    elsewhere: Keeper
    shared: SharedSwitches
    seen: list[set[KillSwitch]]

    async def read(self, *, passed: int = 0, before: Act = nobody, after: Act = nobody) -> set[KillSwitch]:
        self.link.passed = passed
        self.link.before, self.link.after = before, after
        await self.shared.read(self.link)
        return self.seen[-1]


@pytest.fixture
async def reader(valkey: ValkeyServer) -> AsyncIterator[Reader]:
    store = ValkeyStore(parse_place(valkey.url))
    seen: list[set[KillSwitch]] = []
    shared = SharedSwitches(store, Fleet(store.place, time.time), lambda switches: seen.append(set(switches)))
    link = SlowLink(store.place, lambda _: None)
    await link.open()
    yield Reader(store, Keeper(store), link, Keeper(ValkeyStore(store.place)), shared, seen)
    link.fail("the test is over")
    await link.closed()


@pytest.mark.parametrize("passed", [0, 1])
async def test_a_switch_that_is_put_or_lifted_while_they_are_read_is_seen_so(reader: Reader, passed: int) -> None:
    keeper = reader.keeper
    await keeper.put_switch(ALL)
    await reader.read(passed=passed, after=lambda: keeper.put_switch(SCOUT))
    assert reader.seen == [{ALL, SCOUT}]
    again = replace(ALL, since=time.time())
    await keeper.put_switch(again)
    await reader.read(passed=passed, after=lambda: keeper.delete_switch(again))
    assert reader.seen[1:] == [{SCOUT}]


async def test_one_that_was_lifted_elsewhere_while_it_was_written_here_does_not_stay(reader: Reader) -> None:
    await reader.keeper.put_switch(ALL)

    async def is_put() -> None:
        reader.store.switching(SCOUT, on=True)
        reader.link.passed, reader.link.after, reader.link.before = 0, nobody, is_lifted

    async def is_lifted() -> None:
        await asyncio.to_thread(reader.store.put_switch, SCOUT)
        await reader.elsewhere.delete_switch(SCOUT)

    assert await reader.read(passed=1, after=is_put) == {ALL, SCOUT}  # what is being written holds
    assert await reader.read() == {ALL}


async def test_one_that_was_told_and_lifted_elsewhere_is_not_written_late(reader: Reader) -> None:
    reader.store.switching(SCOUT, on=True)
    await reader.keeper.put_switch(ALL)
    assert await reader.read() == {ALL, SCOUT}
    await reader.elsewhere.delete_switch(SCOUT)
    await asyncio.to_thread(reader.store.put_switch, SCOUT)
    assert await reader.read() == {ALL}


async def test_the_end_of_an_earlier_one_ends_no_later_one_that_could_not_be_written_yet(reader: Reader) -> None:
    earlier = replace(SCOUT, until=SCOUT.since + 1)
    later = replace(SCOUT, since=SCOUT.since + 2)
    await reader.keeper.put_switch(earlier)
    assert await reader.read() == {earlier}
    reader.store.switching(later, on=True)
    await reader.keeper.delete_switch(earlier)
    assert await reader.read() == {later}
    assert not reader.store.unsaved
