"""The rim between the loop and the store: opens it, and lets one worker thread do all that blocks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.model import KillSwitch, Moment, RunKey
from gateway.state.ledger import Ledger
from gateway.state.run import SavedRun
from gateway.state.stores import Saved, Store, StoreError
from gateway.state.stores.memory import MemoryStore
from gateway.state.stores.sqlite import SqliteStore


def open_store(url: str) -> Store:
    """`memory:` or `sqlite:PATH`. Raises StoreError."""
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        return MemoryStore()
    if scheme == "sqlite" and rest:
        return SqliteStore(rest)
    # Not repeated: a URL may hold a password.
    raise StoreError("GATEWAY_STATE: this store is not built in this version; use memory: or sqlite:PATH")


class Keeper:
    """Keeps what must outlive the process. Switches are written before it is said that they hold; runs once in a while."""

    def __init__(self, store: Store) -> None:
        self.reach = store.reach
        self.up = True
        """The last write succeeded."""
        self.problem: str | None = None
        """Why it did not."""
        self._store = store
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._unsaved: dict[RunKey, SavedRun | None] = {}
        """What no write has confirmed yet, by key; None: to be forgotten."""

    def load(self) -> Saved:
        """Blocks: for the start, before there is a loop to hold up. Raises StoreError, and lets the store go then."""
        try:
            return self._store.load()
        except StoreError:
            self._store.close()
            raise

    async def put_switch(self, switch: KillSwitch) -> None:
        """Raises StoreError: the switch holds in this process all the same, but would not survive it."""
        await self._write(lambda: self._store.put_switch(switch))

    async def delete_switch(self, switch: KillSwitch) -> None:
        """Raises StoreError: the switch would come back at a restart."""
        await self._write(lambda: self._store.delete_switch(switch))

    async def flush(self, ledger: Ledger, now: Moment, *, at_end: bool = False) -> None:
        """Writes the runs that changed. A failure is kept in `problem`, and its runs are written with the next flush."""
        saved, forgotten, _ = ledger.changed(now, at_end=at_end)
        self._unsaved.update((run.key, run) for run in saved)
        self._unsaved.update((key, None) for key in forgotten)
        if not self._unsaved:
            return
        batch = dict(self._unsaved)
        runs = [run for run in batch.values() if run is not None]
        keys = [key for key, run in batch.items() if run is None]
        try:
            await self._write(lambda: self._store.save_runs(runs, keys))
        except StoreError:
            return
        for key, run in batch.items():
            if key in self._unsaved and self._unsaved[key] is run:  # nothing newer came meanwhile
                del self._unsaved[key]

    async def close(self, ledger: Ledger, now: Moment) -> None:
        """The orderly end: writes what every live run has used, then lets the store go."""
        await self.flush(ledger, now, at_end=True)
        await asyncio.get_running_loop().run_in_executor(self._worker, self._store.close)
        self._worker.shutdown()

    async def _write(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, write)
        except StoreError as error:
            self.up, self.problem = False, str(error)
            raise
        self.up, self.problem = True, None
