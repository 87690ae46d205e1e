"""What all gateways hold is more than what any one of them has seen: a store that was emptied hears it from each, whoever comes first."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from gateway.model import KillSwitch
from gateway.place import parse_place
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.notes import SharedNotes
from gateway.state.stores.valkey.store import ValkeyStore
from gateway.state.stores.valkey.switches import SharedSwitches
from gateway.state.switches import parse_scope
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE


class Member:
    """One gateway's view of switches and notes, which looks when it is told to."""

    def __init__(self, valkey: ValkeyServer) -> None:
        self.store = ValkeyStore(parse_place(valkey.url))
        self.keeper = Keeper(self.store)
        self.fleet = Fleet(self.store.place, time.time)
        self.held: tuple[KillSwitch, ...] = ()
        self.noted: Mapping[str, str] = {}
        self.told: list[str] = []
        self._switches = SharedSwitches(self.store, self.fleet, self._hold)
        self._notes = SharedNotes(self.store, self.fleet, asyncio.Lock(), self._note, self.told.append)
        self._running = asyncio.create_task(self.fleet.run())

    async def put(self, scope: str, since: float = 0.0) -> None:
        await self.keeper.put_switch(_switch(scope, since or time.time()))

    async def lift(self, scope: str) -> None:
        (switch,) = [one for one in self.held if str(one.scope) == scope]
        await self.keeper.delete_switch(switch)

    async def note(self, name: str, value: str | None) -> None:
        await self.keeper.put_note(name, value)

    async def look(self) -> None:
        await self.fleet.ready.wait()
        assert self.fleet.link is not None
        await self._switches.read(self.fleet.link)
        await self._notes.read(self.fleet.link)

    @property
    def scopes(self) -> set[str]:
        return {str(switch.scope) for switch in self.held}

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _hold(self, switches: tuple[KillSwitch, ...]) -> None:
        self.held = switches

    def _note(self, notes: Mapping[str, str]) -> None:
        if "unreadable" in notes.values():
            raise StoreError("a note cannot be read")
        self.noted = notes


def _switch(scope: str, since: float) -> KillSwitch:
    return KillSwitch(parse_scope(scope), "too eager", "ops", since)


@pytest.fixture
async def members(valkey: ValkeyServer) -> AsyncIterator[list[Member]]:
    found = [Member(valkey) for _ in range(3)]
    async with asyncio.timeout(PATIENCE):
        for member in found:
            await member.look()
    yield found
    for member in found:
        await member.close()


async def look(*members: Member) -> None:
    """Each as often as it takes until all have heard of each other."""
    for _ in range(2):
        for member in members:
            await member.look()


async def flush(valkey: ValkeyServer) -> None:
    async with valkey.client() as client:
        await client.flushall()


async def test_who_has_seen_less_and_tells_first_hides_nothing_that_another_has_seen(
    members: list[Member], valkey: ValkeyServer
) -> None:
    behind, ahead, later = members
    await ahead.put("tool:search.read")
    await ahead.note("policy", "old")
    await look(*members)
    await ahead.put("agent:scout")
    await ahead.note("disabled", "scout")
    await ahead.note("policy", "new")
    await ahead.look()
    await flush(valkey)
    await behind.look()
    await behind.put("tool:notes.write")
    await look(later, *members)
    for member in members:
        assert member.scopes == {"tool:search.read", "agent:scout", "tool:notes.write"}
        assert member.noted == {"policy": "new", "disabled": "scout"}


async def test_what_was_lifted_in_an_emptied_store_stays_lifted(members: list[Member], valkey: ValkeyServer) -> None:
    one, other, later = members
    await one.put("all")
    await one.put("agent:scout")
    await one.note("disabled", "scout")
    await look(*members)
    await flush(valkey)
    await one.lift("all")
    await one.note("disabled", None)
    await look(other, later, one)
    for member in members:
        assert (member.scopes, member.noted) == ({"agent:scout"}, {})
    await one.put("all")  # again, at a later time
    await look(*members)
    assert other.scopes == {"all", "agent:scout"}


async def test_what_an_operator_did_before_the_store_was_read_again_outlives_its_emptying(
    members: list[Member], valkey: ValkeyServer
) -> None:
    one, other, _ = members
    await one.put("all")
    await one.look()
    await one.put("agent:scout")
    await one.lift("all")
    await flush(valkey)
    await look(one, other)
    assert one.scopes == other.scopes == {"agent:scout"}


async def test_a_note_that_cannot_be_read_is_told_of_once_and_changes_nothing(members: list[Member]) -> None:
    one, other, _ = members
    await one.note("policy", "strict")
    await other.look()
    await one.note("policy", "unreadable")
    await one.note("disabled", "scout")
    await other.look()
    await one.note("disabled", None)
    await other.look()
    assert (other.noted, other.told) == ({"policy": "strict"}, ["a note cannot be read"])
    await one.note("policy", "lax")
    await other.look()
    assert (other.noted, len(other.told)) == ({"policy": "lax"}, 1)


async def test_what_an_operator_has_stopped_is_known_before_the_first_call_is_charged(
    members: list[Member], valkey: ValkeyServer
) -> None:
    await members[0].put("all")
    fleet = Fleet(parse_place(valkey.url), time.time)
    known: list[object] = []

    async def heed(link: object) -> None:
        assert not fleet.up
        known.append(link)

    fleet.heeds = (heed,)
    running = asyncio.create_task(fleet.run())
    await fleet.ready.wait()
    assert len(known) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_switch_that_no_gateway_wrote_stops_nobody_from_reading_the_others(
    members: list[Member], valkey: ValkeyServer
) -> None:
    async with valkey.client() as client:
        pipe = client.pipeline(transaction=True)
        pipe.hset("tgw:switches", "all", "no JSON")
        readable = {"scope": "agent:scout", "reason": "", "who": "", "since": 1}
        pipe.hset("tgw:switches", "agent:scout", json.dumps(readable))
        pipe.set("tgw:switches:version", "another.1")
        await pipe.execute()
    await members[0].look()
    assert members[0].scopes == {"agent:scout"}
    await members[0].put("all")
    await members[1].look()
    assert members[1].scopes == {"agent:scout", "all"}
