"""What is done once a second beside the calls: expired switches lifted, late runs ended, counts saved, the candidate judged."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.admin.operations import NotFound, Operations
from gateway.admin.views import switch_event
from gateway.model import Moment, Source
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.state.counts import Counts
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import Keeper

SECONDS = 1.0


class Housekeeping:
    """Constructed once, by app.py."""

    def __init__(
        self,
        counts: Counts,
        keeper: Keeper,
        pipeline: Pipeline,
        rollout: Rollout,
        operations: Operations,
        clock: Callable[[], Moment],
    ) -> None:
        self._counts = counts
        self._keeper = keeper
        self._pipeline = pipeline
        self._rollout = rollout
        self._operations = operations
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. One chore that fails is told and keeps no other from being done, now or later."""
        while True:
            await asyncio.sleep(SECONDS)
            for chore in (self._lift_expired, self._end_runs, self._save, self._judge_candidate):
                try:
                    await chore()
                except Exception as error:  # noqa: BLE001  a bug here must not end the saving of counts for good
                    self._operations.failed(error)

    async def _lift_expired(self) -> None:
        now = self._clock()
        for switch in self._counts.switches.expire(now):
            self._operations.observer.happened(switch_event("expired", switch, now))
            if switch.source is Source.RUNTIME:
                with suppress(StoreError):  # it lapses by its own date at the next start
                    await self._keeper.delete_switch(switch)

    async def _end_runs(self) -> None:
        now = self._clock()
        for run in self._counts.ledger.expire(now, self._rollout.budgets_of):
            self._pipeline.run_finished(run, now)

    async def _save(self) -> None:
        now = self._clock()
        self._counts.answers.expire(now)
        await self._keeper.flush(self._counts.ledger, now)

    async def _judge_candidate(self) -> None:
        loss = self._rollout.loss(self._clock())
        if loss is not None:
            with suppress(NotFound):
                await self._operations.roll_back(loss, "the gateway")
