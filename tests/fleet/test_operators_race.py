"""What an operator does while the store's switches are read holds: the reply on its way is of before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from gateway.model import KillSwitch
from gateway.place import parse_place
from gateway.state.stores import StoreError
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

    async def fetch(self, script: str, keys: tuple[str, ...], *arguments: str | int) -> str:
        if script != "SWITCHES":
            return await super().fetch(script, keys, *arguments)
        act, self.before = self.before, nobody
        await act()
        text = await super().fetch(script, keys, *arguments)
        act, self.after = self.after, nobody
        await act()
        return text


class SlowStore(ValkeyStore):
    """Hears late that something is written."""

    meanwhile: Callable[[], object] = list

    def _ask(self, *commands: tuple[str | bytes | int, ...]) -> list[object]:
        replies = super()._ask(*commands)
        self.meanwhile()
        return replies


@dataclass
class Reader:
    """One gateway's view of the switches; another gateway's store beside it."""

    store: SlowStore
    keeper: Keeper
    link: SlowLink
    elsewhere: Keeper
    shared: SharedSwitches
    seen: list[set[KillSwitch]]

    async def read(self, before: Act = nobody, after: Act = nobody) -> set[KillSwitch]:
        self.link.before, self.link.after = before, after
        await self.shared.read(self.link)
        return self.seen[-1]


@pytest.fixture
async def reader(valkey: ValkeyServer) -> AsyncIterator[Reader]:
    store = SlowStore(parse_place(valkey.url))
    seen: list[set[KillSwitch]] = []
    shared = SharedSwitches(store, Fleet(store.place, time.time), lambda switches: seen.append(set(switches)))
    link = SlowLink(store.place, lambda _: None)
    await link.open()
    yield Reader(store, Keeper(store), link, Keeper(ValkeyStore(store.place)), shared, seen)
    link.fail("the test is over")
    await link.closed()


async def test_a_switch_that_is_put_or_lifted_while_they_are_read_is_seen_so(reader: Reader) -> None:
    keeper = reader.keeper
    await keeper.put_switch(ALL)
    await reader.read(after=lambda: keeper.put_switch(SCOUT))
    assert reader.seen == [{ALL, SCOUT}]
    again = replace(ALL, since=time.time())
    await keeper.put_switch(again)
    await reader.read(after=lambda: keeper.delete_switch(again))
    assert reader.seen[1:] == [{SCOUT}]


async def test_one_that_was_lifted_elsewhere_while_it_was_written_here_does_not_stay(reader: Reader) -> None:
    await reader.keeper.put_switch(ALL)

    async def is_put() -> None:
        reader.store.switching(SCOUT, on=True)
        reader.link.before = is_lifted

    async def is_lifted() -> None:
        await asyncio.to_thread(reader.store.put_switch, SCOUT)
        await reader.elsewhere.delete_switch(SCOUT)

    assert await reader.read(after=is_put) == {ALL, SCOUT}  # what is being written holds
    assert await reader.read() == {ALL}


async def test_no_reading_overtakes_what_is_still_to_be_written(reader: Reader) -> None:
    await reader.keeper.put_switch(ALL)
    reader.store.switching(SCOUT, on=True)
    assert await reader.read() == {ALL, SCOUT}
    await reader.elsewhere.delete_switch(SCOUT)  # of which nobody has heard
    reader.store.switching(SCOUT, on=False)
    later = replace(SCOUT, since=time.time())
    reader.store.switching(later, on=True)
    assert await reader.read() == {ALL, later}
    for write, switch in (
        (reader.store.put_switch, SCOUT),
        (reader.store.delete_switch, SCOUT),
        (reader.store.put_switch, later),
    ):
        await asyncio.to_thread(write, switch)
        assert await reader.read() == {ALL, later}
    assert reader.store.unwritten.unsaved == reader.store.unwritten.unlifted == {}


async def test_a_store_that_is_emptied_while_it_is_read_and_told_hears_everything(
    reader: Reader, valkey: ValkeyServer
) -> None:
    await reader.keeper.put_switch(ALL)

    async def is_emptied() -> None:
        async with valkey.client() as client:
            await client.flushall()

    async def is_emptied_once_told() -> None:
        reader.link.before = is_emptied

    async def is_put_and_emptied() -> None:
        await reader.keeper.put_switch(SCOUT)
        await is_emptied()
        reader.link.before = is_emptied_once_told

    assert await reader.read(after=is_put_and_emptied) == {ALL, SCOUT}
    assert await reader.read() == {ALL, SCOUT}


async def test_what_was_just_written_to_a_store_that_is_emptied_is_told_again(
    reader: Reader, valkey: ValkeyServer
) -> None:
    await reader.keeper.put_switch(ALL)
    await reader.read()
    store, loop = reader.store, asyncio.get_running_loop()

    async def is_emptied_and_read() -> None:
        async with valkey.client() as client:
            await client.flushall()
        await reader.read()

    store.meanwhile = lambda: asyncio.run_coroutine_threadsafe(is_emptied_and_read(), loop).result()
    await reader.keeper.put_switch(SCOUT)
    assert await reader.read() == {ALL, SCOUT}


async def test_the_end_of_an_earlier_one_ends_no_later_one_that_could_not_be_written_yet(reader: Reader) -> None:
    earlier = replace(SCOUT, until=SCOUT.since + 1)
    later = replace(SCOUT, since=SCOUT.since + 2)
    await reader.keeper.put_switch(earlier)
    assert await reader.read() == {earlier}
    place, reader.store.place = reader.store.place, parse_place("valkey://127.0.0.1:1")
    with pytest.raises(StoreError):
        await reader.keeper.put_switch(later)
    reader.store.place = place
    await reader.keeper.delete_switch(earlier)
    assert await reader.read() == {later}
    assert reader.store.unwritten.unsaved == {}
