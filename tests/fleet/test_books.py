"""What the store says was used is what the gateways let go on, whatever became of the store and the way to it in between."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from valkey.asyncio import Valkey

from gateway.model import RunKey
from gateway.place import parse_place
from gateway.state.shared import Ask
from gateway.state.stores.valkey import scripts
from gateway.state.stores.valkey.fleet import Fleet, Share
from tests.fleet.topologies import Topology
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

RUNS = ("r1", "r2")
TOOLS = ("search.read", "notes.write")


class Books:
    """Three gateways' charges, and what they should come to."""

    def __init__(self, valkey: ValkeyServer | Topology, seed: int) -> None:
        self.valkey = valkey
        self.dice = random.Random(seed)
        place = parse_place(valkey.url)
        self.key = place.key
        self.fleets = [Fleet(place, time.time) for _ in range(3)]
        self.tasks = [asyncio.create_task(fleet.run()) for fleet in self.fleets]
        self.shares: list[Share] = []
        self._ids = count()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def all_up(self) -> None:
        async with asyncio.timeout(PATIENCE):
            for fleet in self.fleets:
                await fleet.ready.wait()

    async def all_back(self) -> None:
        """Under a later epoch than the first."""
        async with asyncio.timeout(PATIENCE):
            while not all(fleet.up and fleet._telling.epoch > 1 for fleet in self.fleets):  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)

    def ask(self, *, alone: bool) -> Ask:
        return Ask(
            id=f"c{next(self._ids)}",
            run=RunKey("scout", self.dice.choice(RUNS)),
            tool=self.dice.choice(TOOLS),
            spend=self.dice.randrange(1000),
            step=0,
            per_hour=10_000,
            spend_per_day=10**9,
            tool_per_day=10_000,
            run_calls=10_000,
            run_spend=10**9,
            run_seconds=600,
            run_tool=10_000,
            goes_on_alone=alone,
        )

    def charge(self, calls: int) -> None:
        for _ in range(calls):
            fleet = self.dice.choice(self.fleets)
            share = fleet.charge(self.ask(alone=self.dice.random() < 0.5))
            self.shares.append(share)
            if self.dice.random() < 0.2:
                share.give_back()

    def give_some_back(self) -> None:
        for share in self.shares:
            if self.dice.random() < 0.05:
                share.give_back()

    async def settled(self) -> None:
        for share in self.shares:
            await share.heard

    def expected(self) -> dict[str, int]:
        found: dict[str, int] = {"hour": 0, "day s": 0}
        for share in self.shares:
            if share.counted:
                ask = share.ask
                for name, more in (
                    (f"{ask.run.id} n", 1),
                    (f"{ask.run.id} s", ask.spend),
                    (f"{ask.run.id} c:{ask.tool}", 1),
                    ("hour", 1),
                    ("day s", ask.spend),
                    (f"day c:{ask.tool}", 1),
                ):
                    found[name] = found.get(name, 0) + more
        return {name: value for name, value in found.items() if value}

    async def found(self) -> dict[str, int]:
        async with self.valkey.client() as client:
            hashes: dict[str, Any] = {run: await _hash(client, self.key(f"tgw:{{scout}}:run:{run}")) for run in RUNS}
            hashes["day"] = {}
            for key in await client.keys(self.key("tgw:{scout}:day:*")):
                for name, value in (await _hash(client, key)).items():
                    hashes["day"][name] = int(hashes["day"].get(name, 0)) + int(value)
            found = {
                f"{of} {name}": int(value)
                for of, fields in hashes.items()
                for name, value in fields.items()
                if "|" not in name and name not in ("b", "p") and int(value)
            }
            hour = await _hash(client, self.key("tgw:{scout}:hour"))
            seconds = {name: int(value) for name, value in hour.items() if name.isdigit()}
            assert sum(seconds.values()) == int(hour.get("n", 0))
            return found | ({"hour": sum(seconds.values())} if any(seconds.values()) else {})

    async def balance(self) -> None:
        await self.all_up()
        await self.settled()
        for fleet in self.fleets:
            await fleet.flush()
        assert await self.found() == self.expected()


async def _hash(client: Valkey, key: str) -> dict[str, str]:
    found = client.hgetall(key)
    assert not isinstance(found, dict)
    return dict(await found)


@pytest.fixture
async def open_books(valkey: ValkeyServer) -> AsyncIterator[Callable[[int], Awaitable[Books]]]:
    opened: list[Books] = []

    async def open_with(seed: int) -> Books:
        books = Books(valkey, seed)
        opened.append(books)
        await books.all_up()
        return books

    yield open_with
    for books in opened:
        await books.close()


async def cut_connections(valkey: ValkeyServer) -> None:
    """As a failing network does, in the middle of whatever is under way."""
    async with valkey.client() as client:
        with suppress(Exception):
            await client.client_kill_filter(_type="normal", skipme=True)


async def pause_and_go_on(valkey: ValkeyServer) -> None:
    """Whatever was written meanwhile lies in its sockets, and is read when it goes on."""
    valkey.pause()
    await asyncio.sleep(0.3)  # longer than anyone waits for a reply
    valkey.go_on()


async def kill_and_begin_again(valkey: ValkeyServer) -> None:
    await valkey.kill()
    await valkey.begin()


async def begin_again_empty(valkey: ValkeyServer) -> None:
    await valkey.kill()
    await valkey.begin(empty=True)


async def fall_back_to_a_replica_that_lagged(valkey: ValkeyServer) -> None:
    """What it had at an earlier time, whole charges missing."""
    earlier = Path(f"{valkey.folder}.earlier")
    await valkey.kill()
    if earlier.exists():  # noqa: ASYNC240  a test's own folder
        shutil.rmtree(valkey.folder)
        shutil.copytree(earlier, valkey.folder)
    else:
        shutil.copytree(valkey.folder, earlier)
    await valkey.begin()


async def forget_everything(valkey: ValkeyServer) -> None:
    async with valkey.client() as client:
        await client.flushall()


MISFORTUNES = [
    cut_connections,
    pause_and_go_on,
    kill_and_begin_again,
    begin_again_empty,
    fall_back_to_a_replica_that_lagged,
    forget_everything,
]


@pytest.mark.parametrize("misfortune", MISFORTUNES, ids=lambda one: one.__name__)
async def test_after_a_misfortune_no_charge_is_doubled_or_dropped(
    open_books: Callable[[int], Awaitable[Books]],
    valkey: ValkeyServer,
    misfortune: Callable[[ValkeyServer], Coroutine[Any, Any, None]],
) -> None:
    books = await open_books(1)
    for _ in range(3):
        books.charge(40)
        await books.settled()
        books.charge(20)  # under way while it happens
        happening = asyncio.create_task(misfortune(valkey))
        for _ in range(20):
            books.charge(3)
            books.give_some_back()
            await asyncio.sleep(0.01)  # the pace of the calls
        await happening
        await books.all_up()
        books.charge(20)
    await books.settled()
    # A store that has lost everything unseen says so with the next charge.
    books.charge(30)
    await books.settled()
    await books.balance()
    assert sum(share.counted for share in books.shares) > 50


async def test_one_misfortune_after_another(
    open_books: Callable[[int], Awaitable[Books]], valkey: ValkeyServer
) -> None:
    books = await open_books(7)
    for _ in range(8):
        books.charge(30)
        happening: asyncio.Task[None] = asyncio.create_task(books.dice.choice(MISFORTUNES)(valkey))
        while not happening.done():
            books.charge(2)
            books.give_some_back()
            await asyncio.sleep(0.01)
        await happening
    await books.all_up()
    books.charge(30)
    await books.settled()
    await books.balance()


async def test_what_nobody_asks_for_any_more_is_told_anew_too(
    open_books: Callable[[int], Awaitable[Books]], valkey: ValkeyServer
) -> None:
    books = await open_books(3)
    books.charge(60)
    await books.settled()
    await begin_again_empty(valkey)
    await books.all_back()
    await books.balance()


async def test_what_an_earlier_connection_left_unread_is_not_listened_to(
    open_books: Callable[[int], Awaitable[Books]], valkey: ValkeyServer
) -> None:
    books = await open_books(4)
    books.charge(30)
    await books.settled()
    async with valkey.client() as client:
        names = dict(await _hash(client, "tgw:{scout}:epochs"))
        keys = [f"tgw:{{scout}}:{key}" for key in ("epochs", "hour", "day:", "call:late", "run:r1")]
        limits = (100, -1, -1, 5, "search.read", 0, 100, -1, 60_000, -1, 60_000)
        late = await client.execute_command(  # type: ignore[no-untyped-call]  # the client has no types there
            "EVAL", scripts.CHARGE, len(keys), *keys, next(iter(names)), 0, "late", 0, 1, 1, *limits
        )
    assert late == "stale"
    await books.balance()
