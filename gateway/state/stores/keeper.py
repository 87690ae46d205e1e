"""The rim between the loop and the store: opens it, and lets one worker thread do all that blocks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from gateway.model import KillSwitch, Moment
from gateway.place import FORM, is_shared, parse_place
from gateway.state.history import Historian
from gateway.state.idempotency import Answers
from gateway.state.ledger import Changes, Ledger
from gateway.state.stores import Saved, Store, StoreError
from gateway.state.stores.journal import FileJournal
from gateway.state.stores.memory import MemoryStore
from gateway.state.stores.replay import replay
from gateway.state.stores.sqlite import SqliteStore


def open_store(url: str) -> Store:
    """`memory:`, `sqlite:PATH`, or what several gateways share. Raises StoreError."""
    scheme, _, rest = url.partition(":")
    if is_shared(url):
        # Its client takes 15 MB, which no other gateway has to hold.
        from gateway.state.stores.valkey.store import ValkeyStore

        return ValkeyStore(parse_place(url))
    if url == "memory:":
        return MemoryStore()
    if scheme == "sqlite" and rest:
        return SqliteStore(rest)
    # Not repeated: a URL may hold a password.
    raise StoreError(f"GATEWAY_STATE: no such store; use memory:, sqlite:PATH or {FORM}")


class Fold(NamedTuple):
    """What is to be moved from the journal into the store, in one transaction."""

    changes: Changes
    covered: int
    """The journal's files up to this one hold nothing that is not in the changes or in the store."""


class Keeper:
    """Keeps what must outlive the process. Switches and notes are written before it is said that they hold. Counts stand in the
    journal before a call goes on (the ledger sees to that) and are folded into the store once in a while.
    """

    def __init__(self, store: Store, tell: Callable[[str | None], None] | None = None) -> None:
        self.reach = store.reach
        self.warnings: list[str] = []
        """What `begin` noticed."""
        self._store = store
        self._journal = None if store.path is None else FileJournal(store.path)
        self._fold: Fold | None = None
        """Not confirmed by the store yet. While one is on its way no other is made: a journal that cannot be folded has two files."""
        self._failure: str | None = None
        self.beside: Callable[[], str | None] = lambda: None
        """What is wrong with a store that others share: it is asked by the calls themselves."""
        self._tell = tell
        self._told = True
        self._answers: Answers | None = None
        self.historian: Historian | None = None
        """Asked for what has changed whenever counts are saved."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="state")

    @property
    def problem(self) -> str | None:
        """Why the last write failed, or nothing is written down any more."""
        return self._failure or (self._journal.problem if self._journal else self.beside())

    @property
    def up(self) -> bool:
        """Whatever is written is kept."""
        return self.problem is None

    def load(self) -> Saved:
        """Blocks: for the start, before there is a loop to hold up. Raises StoreError, and lets the store go then."""
        try:
            return self._store.load()
        except StoreError:
            self._store.close()
            raise

    def begin(self, ledger: Ledger, saved: Saved, now: Moment, answers: Answers | None = None) -> None:
        """Blocks, once, after `load`: brings an empty ledger to where the process before was, and lets it write its journal. Kept
        answers come back as they were last flushed, and are flushed from now on.

        Raises StoreError where a journal cannot be read. What cannot be written is reported like any later failure.
        """
        ledger.restore(saved.runs, now, saved.counts)
        journal = self._journal
        if journal is None:
            return
        if answers is not None:
            answers.restore(saved.answers, now)
            self._answers = answers
        try:
            for found, warning in journal.left(saved.covered):
                replay(found, ledger, now)
                if warning:
                    self.warnings.append(warning)
        except StoreError:
            self._store.close()
            raise
        if journal.unsaved:
            self._fold = Fold(ledger.changed(now), journal.last)
        try:
            journal.prepare()
            journal.rotate()
            self._write_fold(self._fold)
            self._fold = None
        except StoreError as error:
            self._failure = str(error)
        ledger.journal = journal

    async def put_switch(self, switch: KillSwitch) -> None:
        """Raises StoreError: the switch holds in this process all the same, but would not survive it."""
        self._store.switching(switch, on=True)
        await self._write(lambda: self._store.put_switch(switch))

    async def delete_switch(self, switch: KillSwitch) -> None:
        """Raises StoreError: the switch would come back at a restart."""
        self._store.switching(switch, on=False)
        await self._write(lambda: self._store.delete_switch(switch))

    async def put_note(self, name: str, value: str | None) -> None:
        """Keeps a word under a name, for the next process's `Saved.notes`; None deletes it. Raises StoreError."""
        await self._write(lambda: self._store.put_note(name, value))

    async def flush(self, ledger: Ledger, now: Moment, *, at_end: bool = False) -> None:
        """Moves what changed into the store. A failure is told, and what it held back is written with a later flush."""
        self._notice()
        journal = self._journal
        if journal is None:
            ledger.changed(now)
            return
        if self._fold is None and journal.ready:
            changes = ledger.changed(now, at_end=at_end)
            # Rotated without an await in between: what is charged from here on is in the next file.
            if any(changes) or journal.unsaved or not self.up:
                # A new file of the journal has no problem, but what was held back is not written yet.
                self._failure = self.problem
                self._fold = Fold(changes, journal.rotate())
        fold = self._fold
        try:
            await self._write(lambda: self._write_fold(fold))
            if self._fold is fold:
                self._fold = None
            await self._flush_answers()
            await self._flush_history()
        except StoreError:
            return
        self._failure = None
        self._notice()

    async def close(self, ledger: Ledger, now: Moment) -> None:
        """The orderly end: writes what every live run has used, then lets the store go."""
        if self._fold is not None:
            await self.flush(ledger, now)
        await self.flush(ledger, now, at_end=True)
        await asyncio.get_running_loop().run_in_executor(self._worker, self._let_go)
        self._worker.shutdown()

    def _write_fold(self, fold: Fold | None) -> None:
        """In the worker. Raises StoreError."""
        if self._journal is None:
            return
        self._store.look()
        if fold is not None:
            self._store.save(*fold)
            self._journal.drop(fold.covered)
        self._journal.prepare()

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._store.close()

    async def _flush_answers(self) -> None:
        """After the counts, which matter more. An answer that a crash takes is performed, and charged, once more."""
        answers = self._answers
        changes = None if answers is None else answers.changes()
        if answers is not None and changes is not None:
            await self._write(lambda: self._store.save_answers(changes))
            answers.written(changes)

    async def _flush_history(self) -> None:
        """Last: no limit hangs on it."""
        historian = self.historian
        changes = None if historian is None else historian.changes()
        if historian is not None and changes is not None:
            try:
                await self._write(lambda: self._store.save_history(changes))
            except StoreError:
                historian.put_back(changes)
                raise

    async def _write(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, write)
        except StoreError as error:
            self._failure = str(error)
            self._notice()
            raise

    def _notice(self) -> None:
        """Tells of a problem when it has come, and when it has gone."""
        if self.up != self._told:
            self._told = self.up
            if self._tell is not None:
                self._tell(self.problem)
