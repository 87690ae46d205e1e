"""The fleet's notes as they hold here: what was set through the governed door of any gateway, looked for five times a second."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.link import Link, Unreachable
from gateway.state.stores.valkey.store import NOTES

LOOKED_FOR_EVERY = 0.2
"""Seconds."""


class SharedNotes:
    """Constructed once, by gateway/fleet.py. `adopt` is handed all of them whenever they have changed."""

    def __init__(self, fleet: Fleet, lock: asyncio.Lock, adopt: Callable[[Mapping[str, str]], None]) -> None:
        """`lock`: held by whoever writes one here, so that what is read is never older than that."""
        self._fleet = fleet
        self._lock = lock
        self._adopt = adopt
        self._version = 0
        self._held: Mapping[str, str] = {}
        self.known = asyncio.Event()
        """They were read once."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._fleet.link is not None:
                with suppress(Unreachable):
                    async with self._lock:
                        await self.read(self._fleet.link)
                    self.known.set()
            await asyncio.sleep(LOOKED_FOR_EVERY)

    async def read(self, link: Link) -> None:
        """As they stand in the store, which hears of those that it has lost. Raises Unreachable."""
        version, notes = await self._all(link)
        if version < self._version:  # a limit must not go because a store was emptied
            for name, value in self._held.items():
                await link.fetch("NOTE", NOTES, "again", name, value, self._version)
            version, notes = await self._all(link)
        if notes is not None:
            self._version, self._held = version, notes
            self._adopt(notes)

    async def _all(self, link: Link) -> tuple[int, dict[str, str] | None]:
        """None where they are those that are known."""
        version, _, text = (await link.fetch("NOTES", NOTES, self._version)).partition(" ")
        if not text:
            return int(version), None
        flat = json.loads(text)
        return int(version), dict(zip(flat[::2], flat[1::2], strict=True))
