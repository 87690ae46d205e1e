"""An announced kill is heard at once: nobody has to look for it. (That it is found without, test_kill_switches.py shows.)"""

import asyncio
import time

import pytest

from gateway.model import KillSwitch
from gateway.place import parse_place
from gateway.state.stores.valkey import switches
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.store import ValkeyStore
from gateway.state.stores.valkey.switches import SharedSwitches
from gateway.state.switches import parse_scope
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

NOW = time.time()
ALL = KillSwitch(parse_scope("all"), 'too "eager" \u2013 really', "ops", NOW, until=NOW + 60, cancel_in_flight=True)


async def subscribed(valkey: ValkeyServer) -> bool:
    async with valkey.client() as client:
        return bool((await client.pubsub_numsub("tgw:switches:version"))[0][1])


async def test_an_announcement_is_enough(monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer) -> None:
    monkeypatch.setattr(switches, "LOOKED_FOR_EVERY", 3600.0)
    store, other = ValkeyStore(parse_place(valkey.url)), ValkeyStore(parse_place(valkey.url))
    heard: asyncio.Queue[tuple[KillSwitch, ...]] = asyncio.Queue()
    fleet = Fleet(store.place, time.time)
    ears = SharedSwitches(store, fleet, heard.put_nowait)
    running = [asyncio.create_task(fleet.run()), asyncio.create_task(ears.run())]
    async with asyncio.timeout(PATIENCE):
        await fleet.ready.wait()
        while not await subscribed(valkey):  # noqa: ASYNC110  what another process did sets no event of ours
            await asyncio.sleep(0.01)
        await asyncio.to_thread(other.put_switch, ALL)
        while (switches_heard := await heard.get()) == ():
            pass
        assert switches_heard == (ALL,)
        await asyncio.to_thread(other.delete_switch, ALL)
        assert await heard.get() == ()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    store.close()
    other.close()
