"""The fleet's kill switches as they hold here: heard of over pub/sub, and looked for five times a second in case that fails."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from gateway.model import KillSwitch
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.link import CONNECT_WITHIN, Link, Unreachable
from gateway.state.stores.valkey.primary import FAILURES, connect, disconnect
from gateway.state.stores.valkey.store import SWITCHES, ValkeyStore, read, written
from gateway.state.stores.valkey.version import NOTHING_READ, follows, new_era

LOOKED_FOR_EVERY = 0.2
"""Seconds."""
LISTENS_AGAIN_AFTER = 1.0
"""Seconds, where the subscription was lost."""


class SharedSwitches:
    """Constructed once, by app.py. `adopt` is handed all of them whenever they have changed."""

    def __init__(self, store: ValkeyStore, fleet: Fleet, adopt: Callable[[tuple[KillSwitch, ...]], None]) -> None:
        self._store = store
        self._fleet = fleet
        self._adopt = adopt
        self._changed = asyncio.Event()
        self._unsure = False
        """Something was being written while they were read last: what another gateway did to it then is not known."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._look())

    async def read(self, link: Link) -> None:
        """As they stand in the store, which hears of those here that it has not (or no longer). Raises Unreachable."""
        store, unwritten = self._store, self._store.unwritten
        known = store.version
        while True:
            # Being written just now: what is read next may be of before, and all the more where an operator comes while it is read.
            coming, going, switched = {**unwritten.unsaved}, {**unwritten.unlifted}, unwritten.switched
            version, switches = await self._all(link)
            lost = not follows(version, known)
            if lost:  # what holds here goes on holding, everywhere
                unwritten.owe_what_holds()
            elif version == store.version and not (unwritten.unsaved or unwritten.unlifted or self._unsure):
                return
            if not unwritten.owed and unwritten.switched == switched:
                break
            known = await self._tell(link, NOTHING_READ if lost else version)
        store.version, self._unsure = version, bool(coming or going)
        standing = {
            scope: switch
            for switch in switches
            if (scope := str(switch.scope)) not in going or going[scope].since < switch.since
        }
        unwritten.held = {**standing, **coming}
        self._adopt((*unwritten.held.values(),))

    async def _tell(self, link: Link, known: str) -> str:
        """Tells what is owed. The version that has come of the known one."""
        store, unwritten = self._store, self._store.unwritten
        for on, marked in ((True, unwritten.unsaved), (False, unwritten.unlifted)):
            for scope, switch in [*marked.items()]:
                if switch in unwritten.owed:
                    how, what = ("again", written(switch)) if on else ("off", repr(switch.since))
                    version = await link.fetch("SWITCH", SWITCHES, how, scope, what, store.version, new_era())
                    unwritten.stored(switch, on=on)
                    if not follows(version, known):  # and what was told before this is lost
                        unwritten.owe_what_holds()
                    known = version
        return known

    async def _all(self, link: Link) -> tuple[str, list[KillSwitch]]:
        version, _, values = (await link.fetch("SWITCHES", SWITCHES)).partition(" ")
        found = [read(text) for text in json.loads(values)]
        return version, [switch for switch in found if switch is not None]

    async def _look(self) -> None:
        while True:
            self._changed.clear()
            if self._fleet.link is not None:
                with suppress(Unreachable):
                    await self.read(self._fleet.link)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOKED_FOR_EVERY):
                    await self._changed.wait()

    async def _listen(self) -> None:
        """Each message says only that there is something to read."""
        while True:
            with suppress(*FAILURES):
                async with asyncio.timeout(CONNECT_WITHIN):
                    connection = await connect(self._fleet.place)
                try:
                    await connection.send_command("SUBSCRIBE", self._fleet.place.key(SWITCHES[1]))
                    while True:
                        await connection.read_response()
                        self._changed.set()
                finally:
                    await disconnect(connection)
            await asyncio.sleep(LISTENS_AGAIN_AFTER)
