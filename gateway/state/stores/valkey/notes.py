"""The fleet's notes as they hold here: what was set through the governed door of any gateway, looked for five times a second."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.state.stores import StoreError
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.link import Link, Unreachable
from gateway.state.stores.valkey.store import NOTES, ValkeyStore, unstamped
from gateway.state.stores.valkey.version import follows, new_era

LOOKED_FOR_EVERY = 0.2
"""Seconds."""


class SharedNotes:
    """Constructed once, by gateway/fleet.py. `adopt` is handed all of them whenever they have changed; it raises StoreError where it cannot
    read one, and then goes on with what it had. `tell` is told why, once.
    """

    def __init__(
        self,
        store: ValkeyStore,
        fleet: Fleet,
        lock: asyncio.Lock,
        adopt: Callable[[Mapping[str, str]], None],
        tell: Callable[[str], None],
    ) -> None:
        """`lock`: held by whoever writes one here, so that what is read is never older than that."""
        self._store = store
        self._fleet = fleet
        self._lock = lock
        self._adopt = adopt
        self._tell = tell
        self._told: str | None = None
        self._held: Mapping[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._fleet.link is not None:
                with suppress(Unreachable):
                    await self.read(self._fleet.link)
            await asyncio.sleep(LOOKED_FOR_EVERY)

    async def read(self, link: Link) -> None:
        """As they stand in the store, which hears of those that it has lost. Raises Unreachable."""
        async with self._lock:
            known = self._store.notes_version
            version, notes = await self._all(link, known)
            if not follows(version, known):  # a limit must not go because a store was emptied
                for name, value in self._held.items():
                    link.run("NOTE", NOTES, ("again", name, value, known, new_era()), lambda _: None)
                version, notes = await self._all(link, known)
            if notes is not None:
                self._store.notes_version, self._held = version, notes
                self._take_up(notes)

    async def _all(self, link: Link, known: str) -> tuple[str, dict[str, str] | None]:
        """None where they are those that are known."""
        version, _, text = (await link.fetch("NOTES", NOTES, known)).partition(" ")
        if not text:
            return version, None
        flat = json.loads(text)
        return version, dict(zip(flat[::2], flat[1::2], strict=True))

    def _take_up(self, notes: Mapping[str, str]) -> None:
        problem = None
        try:
            self._adopt(unstamped(notes))
        except StoreError as error:
            problem = str(error)
            if problem != self._told:
                self._tell(problem)
        self._told = problem
