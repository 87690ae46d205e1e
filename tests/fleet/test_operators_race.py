"""What an operator does while the store's switches are read holds: the reply on its way is of before."""

import time
from collections.abc import Awaitable, Callable

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


class LateLink(Link):
    """Hands out the store's switches only after an operator was here."""

    meanwhile: Callable[[], Awaitable[None]] | None = None
    passed = 0
    """Readings of the switches before the one that is late."""

    async def fetch(self, script: str, keys: tuple[str, ...], *arguments: str | int) -> str:
        text = await super().fetch(script, keys, *arguments)
        if script == "SWITCHES" and self.meanwhile is not None:
            self.passed -= 1
            if self.passed < 0:
                operate, self.meanwhile = self.meanwhile, None
                await operate()
        return text


@pytest.mark.parametrize("passed", [0, 1])
async def test_a_switch_that_is_put_or_lifted_while_they_are_read_is_seen_so(valkey: ValkeyServer, passed: int) -> None:
    store = ValkeyStore(parse_place(valkey.url))
    keeper = Keeper(store)
    seen: list[set[KillSwitch]] = []
    fleet = Fleet(store.place, time.time)
    shared = SharedSwitches(store, fleet, lambda switches: seen.append(set(switches)))
    link = LateLink(store.place, lambda _: None)
    await link.open()
    link.passed = passed

    await keeper.put_switch(ALL)
    link.meanwhile = lambda: keeper.put_switch(SCOUT)
    await shared.read(link)
    assert seen == [{ALL, SCOUT}]

    link.passed = passed
    await keeper.put_switch(ALL)
    link.meanwhile = lambda: keeper.delete_switch(ALL)
    await shared.read(link)
    assert seen[1:] == [{SCOUT}]

    link.fail("the test is over")
    await link.closed()
