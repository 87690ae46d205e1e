"""Calls that are left, killed and answered between any two turns of the loop: whatever a call held is given back, once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bounds import BreakerBounds, Pace, Rate
from gateway.denial import Denial, Reason
from gateway.model import (
    Attempt,
    Budgets,
    Effect,
    Event,
    Moment,
    Outcome,
    Record,
    Reply,
    RunKey,
    ToolCall,
    UpstreamError,
)
from gateway.pipeline.failures import Cut
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.policy.snapshot import Plan, Retries
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.inflight import CUT_BY_SHUTDOWN
from tests.unit.fake_time import in_fake_time, now, settled
from tests.unit.made_up import UPSTREAM, a_call, a_plan

BUDGETS = Budgets(max_steps=25, max_tool_calls=1000, max_seconds=10_000)
RUNS = ("r0", "r1", "")
ENDS = ("answer", "429", "pause", "503", "reset", "refused", "hang", "short", "long", "events", "fault")
TURNS = (0, 0, 1, 1, 2, 3, 5, 8, 13)
"""How often the loop goes round between two things that happen: most awaits are over after a few."""


def moment() -> Moment:
    return Moment(now(), now())


class World:
    """One tool under a plan of its own, an upstream that does anything, and callers that come and go."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.counts, self.buffers = Counts(1000), Buffers(1 << 30)
        self.records: list[Record] = []
        self.faults: list[Event] = []
        self.open = 0
        """Bodies that are neither read to their end nor closed."""
        self.callers: list[asyncio.Task[Outcome]] = []
        self.begun: list[str] = []
        self.plan = self._plan()
        self.pipeline = Pipeline(
            counts=self.counts, buffers=self.buffers, send=self._send, observer=self, clock=moment, dice=dice.random
        )

    def _plan(self) -> Plan:
        dice = self.dice
        return a_plan(
            effect=dice.choice([Effect.READ, Effect.WRITE]),
            retries=Retries(2, (0.5, 1.0), frozenset({429, 503})),
            cost=1,
            deadline=dice.choice([5.0, 100.0]),
            timeout=dice.choice([3.0, 50.0]),
            budgets=BUDGETS,
            pace=self.pace(),
            stream=dice.random() < 0.2,
            upstream=replace(UPSTREAM, breaker=BreakerBounds(dice.choice([1, 3]), 2.0)),
            max_identical_calls=dice.choice([0, 1000]),
        )

    def pace(self) -> Pace:
        rate = Rate(2.0, 2) if self.dice.random() < 0.3 else None
        return Pace(
            rate=rate, max_concurrency=self.dice.choice([None, 1, 2]), max_waiting=self.dice.choice([0, 3, 100])
        )

    def call_ended(self, record: Record) -> None:
        self.records.append(record)

    def happened(self, event: Event) -> None:
        if event.name == "internal_error":
            self.faults.append(event)

    def call(self) -> None:
        self.callers.append(asyncio.create_task(self._call(f"c{len(self.callers)}")))

    async def _call(self, name: str) -> Outcome:
        run, key = self.dice.choice(RUNS), self.dice.choice([None, "k1", "k1", "k2"])
        call = a_call(run, id=name, started=moment(), idempotency_key=key, args_hash="h", body=b"{}")
        self.begun.append(name)
        self.buffers.take(len(b"{}"))  # as a door does
        return await self.pipeline.handle(call, self.plan, "p", self._answer)

    async def _answer(self, call: OpenCall) -> Outcome:
        reply = call.outcome.reply
        if reply is None or reply.body is not None:
            await self._some_time()
            return call.outcome
        try:
            await call.pass_on(self._write, self._some_time)
        except Cut:
            pass
        return call.outcome

    async def _write(self, piece: bytes) -> None:
        await self._some_time()
        if self.dice.random() < 0.05:
            raise ConnectionResetError

    async def _some_time(self) -> None:
        await asyncio.sleep(self.dice.choice([0, 0, 0.1, 0.3]))

    async def _send(self, attempt: Attempt, plan: Plan, call: ToolCall) -> Reply:
        await self._some_time()
        end = self.dice.choice(ENDS)
        if end == "refused":
            raise UpstreamError("refused", "nobody listens", sent=False)
        attempt.sent = True
        await self._some_time()
        if end == "hang":
            await asyncio.sleep(1000)
        if end == "reset":
            raise UpstreamError("reset", "it broke", sent=True)
        if end == "fault":
            raise LookupError
        if end in ("short", "long", "events"):
            return self._body(end)
        asks = (("Retry-After", self.dice.choice("014")),) if end == "pause" else ()
        return Reply({"answer": 200, "503": 503}.get(end, 429), asks, b"whole")

    def _body(self, end: str) -> Reply:
        self.open += 1
        closed = False

        def close() -> None:
            nonlocal closed
            self.open -= not closed
            closed = True

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(self.dice.randrange(1, 8)):
                await self._some_time()
                yield b"x" * (60_000 if end == "long" else 10)
            close()
            if self.dice.random() < 0.3:
                raise UpstreamError("cut", "it broke off", sent=True)

        headers = (("Content-Type", "text/event-stream"),) if end == "events" else ()
        return Reply(200, headers, None, pieces(), self.dice.choice([None, 20, 70, 500_000]), close)

    async def happen(self, what: str) -> None:
        dice, in_flight = self.dice, self.counts.in_flight
        if what == "call":
            self.call()
        elif what == "leave" and self.callers:
            dice.choice(self.callers).cancel()
        elif what == "kill":
            in_flight.interrupt(lambda *_: CUT_BY_SHUTDOWN, cancel_in_flight=dice.random() < 0.7)
        elif what == "kill a run":
            killed, run = Denial(Reason.KILL_SWITCH, "Killed."), dice.choice(RUNS)
            in_flight.interrupt(lambda call, _: killed if call.run.id == run else None, cancel_in_flight=True)
        elif what == "reload":
            self.plan = replace(self.plan, pace=self.pace())
            self.counts.pacers.adopt(lambda _: self.plan.pace, now())
        elif what == "wait":
            await asyncio.sleep(dice.choice([0.05, 0.3, 1, 4]))


WHAT = ["call"] * 4 + ["leave"] * 3 + ["kill", "kill a run", "reload", "wait", "wait"]


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(WHAT), st.sampled_from(TURNS)), max_size=30), st.integers(0, 2**32))
def test_whatever_a_call_held_is_given_back_once(story: list[tuple[str, int]], seed: int) -> None:
    in_fake_time(_play)(story, Random(seed))


async def _play(story: list[tuple[str, int]], dice: Random) -> None:
    world = World(dice)
    for what, turns in story:
        await world.happen(what)
        for _ in range(turns):
            await asyncio.sleep(0)
    for end in await asyncio.gather(*world.callers, return_exceptions=True):
        assert isinstance(end, (Outcome, asyncio.CancelledError, ConnectionResetError)), repr(end)
    await settled()
    _nothing_is_held(world)
    _the_books_are_right(world)


def _nothing_is_held(world: World) -> None:
    counts, sharing = world.counts, world.pipeline._sharing
    assert (world.open, world.buffers.held, len(counts.in_flight), len(sharing._at_work)) == (0, 0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for pacer in counts.pacers._pacers.values():
        assert (pacer.idle, pacer._unanswered) == (True, 0)


def _the_books_are_right(world: World) -> None:
    faults: list[Any] = [event.fields["where"] for event in world.faults]
    assert all(where.startswith("LookupError at test_cancelled_anywhere.py") for where in faults)
    assert sorted(record.call_id for record in world.records) == sorted(world.begun)
    for run in RUNS:
        known = world.counts.ledger.find(RunKey(a_call().agent, run), BUDGETS, moment())
        charged = [record for record in world.records if (record.run_id or "") == run and record.cost_micro_usd]
        counted = (known.tool_calls, known.spend) if known else (0, 0)
        assert counted == (len(charged), len(charged))
