"""A gateway's membership of a fleet: what runs beside the calls where gateways share their GATEWAY_STATE. Imported only there."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.model import Event, KillSwitch, Moment
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.shared import SharedCharges
from gateway.state.counts import Counts
from gateway.state.stores import Store
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.valkey.answers import SharedAnswers
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.notes import SharedNotes
from gateway.state.stores.valkey.store import ValkeyStore
from gateway.state.stores.valkey.switches import SharedSwitches

READY_WITHIN = 2.0
"""Seconds a start waits for the store. One that is out of reach longer is reported, and the gateway serves what it can."""


class Member:
    """Constructed once, by app.py."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        counts: Counts,
        pipeline: Pipeline,
        clock: Callable[[], Moment],
        adopt: Callable[[tuple[KillSwitch, ...]], None],
        noting: asyncio.Lock,
        adopt_notes: Callable[[Mapping[str, str]], None],
        emit: Callable[[Event], None],
    ) -> None:
        if not isinstance(store, ValkeyStore):
            raise TypeError("no store that gateways share")
        self._clock = clock
        self._emit = emit
        self._fleet = Fleet(store.place, lambda: clock().wall)
        self._switches = SharedSwitches(store, self._fleet, adopt)
        self._notes = SharedNotes(store, self._fleet, noting, adopt_notes, self._unreadable)
        self._chores: list[asyncio.Task[None]] = []
        self._keeper = keeper
        keeper.beside = lambda: self._fleet.problem
        self._answers = SharedAnswers(self._fleet, counts.answers)
        pipeline.share_answers(self._answers)
        self._fleet.heeds = self._switches.read, self._notes.read, self._answers.renew
        pipeline.shared = SharedCharges(self._fleet, counts, clock, pipeline.run_finished)

    async def join(self) -> None:
        """Returns when calls can be charged, which is when the switches are known, or when that takes too long."""
        self._chores = [
            asyncio.create_task(part.run()) for part in (self._fleet, self._switches, self._notes, self._answers)
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN):
                await self._fleet.ready.wait()

    async def leave(self) -> None:
        """What was given back last is told first."""
        await self._fleet.flush()
        problem = self._fleet.problem
        self._keeper.beside = lambda: problem  # letting the connection go is none
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)

    def _unreadable(self, problem: str) -> None:
        self._emit(Event("state_unreadable", self._clock(), {"problem": problem}))
