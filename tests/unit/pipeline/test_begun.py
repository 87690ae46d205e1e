"""Calls that are begun without a task: left, killed, answered and handed over between any two turns of the loop, they give back all."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bounds import BreakerBounds
from gateway.model import Attempt, Outcome, Reply
from gateway.pipeline.begun import Begun
from gateway.state.breaker import BreakerState
from gateway.state.inflight import CUT_BY_SHUTDOWN
from tests.unit.fake_time import in_fake_time, now, settled
from tests.unit.made_up import UPSTREAM, a_call, a_plan
from tests.unit.pipeline.test_cancelled_anywhere import (
    BUDGETS,
    RUNS,
    TURNS,
    World,
    _nothing_is_held,
    _the_books_are_right,
    moment,
)

BODY = b"{}"
WHOLE = Reply(200, (), b"whole")


class FakeExchange:
    """Stands for a request on its way."""

    def __init__(self, world: "Lane", attempt: Attempt) -> None:
        self.world, self.attempt = world, attempt
        self.ended = False

    def hand_over(self) -> None:
        pass

    async def arrive(self) -> Reply:
        assert not self.ended
        self.ended = True
        return await self.world.come_back(self.attempt)

    def abort(self) -> None:
        self.ended = True


class Lane(World):
    """What the fast lane does with calls, in any order."""

    def __init__(self, dice: Random) -> None:
        super().__init__(dice)
        self.at_work: list[Begun] = []
        self.unsent: list[Begun] = []
        self.sent: set[str] = set()

    def begin(self) -> None:
        dice, name = self.dice, f"l{len(self.begun)}"
        call = a_call(dice.choice(RUNS), id=name, started=moment(), args_hash="h", body=BODY)
        self.buffers.take(len(BODY))
        begun = self.pipeline.begin(call, self.plan, "p")
        if begun is None:
            self.buffers.give(len(BODY))
            return
        self.begun.append(name)
        begun.exchange = FakeExchange(self, begun.attempt)
        begun.wait.scope = Interrupted(self, begun)
        self.at_work.append(begun)
        self.unsent.append(begun)

    def send(self) -> None:
        """All that was begun in this turn."""
        self.pipeline.written()
        for begun in self.unsent:
            if begun in self.at_work:
                begun.attempt.sent = self.dice.random() < 0.9  # or its connection is gone
                if begun.attempt.sent:
                    self.sent.add(begun.progress.call.id)
        self.unsent = []

    def end(self, begun: Begun, how: str) -> None:
        self.at_work.remove(begun)
        begun.wait.scope = None
        if how == "withdraw" and not begun.attempt.sent:
            self.pipeline.withdraw(begun)
            self.begun.remove(begun.progress.call.id)
        elif how == "leave":
            self.pipeline.abandon(begun)
        elif how == "answer" and begun.attempt.sent and self._completed(begun):
            self.pipeline.settle(begun.progress, begun.wait, moment())
        else:
            self._go_on(begun)

    def _go_on(self, begun: Begun) -> None:
        """In a task, which its caller's leaving may end before it has begun: then the connection abandons the call."""
        handed_over = [begun]

        async def handle() -> Outcome:
            handed_over.clear()
            return await self.pipeline.resume(begun, self._answer)

        task = asyncio.create_task(handle())
        task.add_done_callback(lambda _: self.pipeline.abandon(handed_over.pop()) if handed_over else None)
        self.callers.append(task)

    def _completed(self, begun: Begun) -> bool:
        assert WHOLE.body is not None
        reply = Reply(self.dice.choice([200, 200, 404, 429]), (), WHOLE.body)
        if self.pipeline.complete(begun, reply, WHOLE.body, moment()) is not None:
            begun.exchange.abort()
            return True
        return False

    async def come_back(self, attempt: Attempt) -> Reply:
        """What a begun attempt comes to that is waited for."""
        plan: Any = self.plan
        sent, attempt.sent = attempt.sent, False
        try:
            return await self._send(attempt, plan, a_call())
        finally:
            attempt.sent = sent

    async def happen(self, what: str) -> None:
        if what == "begin":
            self.begin()
        elif what == "send":
            self.send()
        elif what in ("answer", "leave", "go on", "withdraw") and self.at_work:
            self.end(self.dice.choice(self.at_work), what)
        else:
            await super().happen(what)


class Interrupted:
    """The scope of a begun call: a stop hands it over."""

    def __init__(self, lane: Lane, begun: Begun) -> None:
        self.lane, self.begun = lane, begun

    def interrupt(self) -> None:
        self.lane.end(self.begun, "go on")

    def reschedule(self, when: float | None) -> None:
        pass


WHAT = (
    ["begin"] * 5
    + ["send"] * 3
    + ["answer"] * 3
    + ["go on", "leave", "withdraw", "call", "kill", "kill a run", "reload", "wait"]
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(WHAT), st.sampled_from(TURNS)), max_size=40), st.integers(0, 2**32))
def test_whatever_a_begun_call_held_is_given_back_once(story: list[tuple[str, int]], seed: int) -> None:
    in_fake_time(_play)(story, Random(seed))


async def _play(story: list[tuple[str, int]], dice: Random) -> None:
    lane = Lane(dice)
    for what, turns in story:
        await lane.happen(what)
        for _ in range(turns):
            await asyncio.sleep(0)
    for begun in [*lane.at_work]:
        lane.end(begun, dice.choice(["answer", "leave", "go on", "withdraw"]))
    for end in await asyncio.gather(*lane.callers, return_exceptions=True):
        assert isinstance(end, (Outcome, asyncio.CancelledError, ConnectionResetError)), repr(end)
    await settled()
    _nothing_is_held(lane)
    _the_books_are_right(lane)
    assert lane.sent <= {record.call_id for record in lane.records if record.cost_micro_usd}
    assert not [half_open for half_open in lane.counts.breakers._open.values() if half_open.latest is not None]


def one_more(lane: Lane) -> Begun | None:
    """A call like the others, begun."""
    call = a_call("r0", id=f"l{len(lane.begun)}", started=moment(), args_hash="h", body=BODY)
    lane.buffers.take(len(BODY))
    begun = lane.pipeline.begin(call, lane.plan, "p")
    if begun is None:
        lane.buffers.give(len(BODY))
        return None
    lane.begun.append(call.id)
    begun.exchange = FakeExchange(lane, begun.attempt)
    return begun


async def a_probe() -> tuple[Lane, Begun]:
    """Begun while the upstream's breaker is half-open."""
    bounds = BreakerBounds(failures=1, open_for=2.0)
    lane = Lane(Random(0))
    lane.plan = a_plan(upstream=replace(UPSTREAM, breaker=bounds), budgets=BUDGETS)
    trial = lane.counts.breakers.begin(UPSTREAM.name, bounds, now())
    assert trial is not None
    trial.failed(now(), 0.5)
    assert one_more(lane) is None
    await asyncio.sleep(2.5)
    probe = one_more(lane)
    assert probe is not None
    assert one_more(lane) is None, "there is one probe at a time"
    return lane, probe


@in_fake_time
async def test_a_probe_whose_charge_was_not_written_down_makes_way_for_the_next() -> None:
    lane, probe = await a_probe()
    lane.pipeline.withdraw(probe)
    assert one_more(lane) is not None


@in_fake_time
async def test_a_probe_that_is_answered_closes_the_breaker() -> None:
    lane, probe = await a_probe()
    probe.attempt.sent = True
    assert lane.pipeline.complete(probe, WHOLE, b"whole", moment()) is not None
    lane.pipeline.settle(probe.progress, probe.wait, moment())
    assert lane.counts.breakers.state(UPSTREAM.name, now()) is BreakerState.CLOSED
    assert [one_more(lane) is not None for _ in range(2)] == [True, True]


@in_fake_time
async def test_a_call_that_was_stopped_is_not_answered_with_the_reply_that_came_all_the_same() -> None:
    lane = Lane(Random(0))
    lane.plan = a_plan(budgets=BUDGETS)
    begun = one_more(lane)
    assert begun is not None
    begun.attempt.sent = True
    begun.wait.stop(CUT_BY_SHUTDOWN)
    assert lane.pipeline.complete(begun, WHOLE, b"whole", moment()) is None
    outcome = await lane.pipeline.resume(begun, lane._answer)
    assert outcome.denial is not None


@in_fake_time
async def test_a_call_that_is_left_before_it_was_sent_made_no_attempt_and_costs_nothing() -> None:
    lane = Lane(Random(0))
    lane.plan = a_plan(budgets=BUDGETS, cost=1)
    begun = one_more(lane)
    assert begun is not None
    lane.pipeline.abandon(begun)
    (record,) = lane.records
    assert (record.attempts, record.cost_micro_usd) == (0, 0)
    _nothing_is_held(lane)
    _the_books_are_right(lane)


@in_fake_time
async def test_a_call_whose_charge_was_not_written_down_is_no_repeat_of_itself() -> None:
    """It is made again in the ordinary way, and that one is counted, or refused with a Retry-After."""
    lane = Lane(Random(0))
    lane.plan = a_plan(budgets=BUDGETS, max_identical_calls=1)
    for _ in range(3):
        begun = one_more(lane)
        assert begun is not None
        lane.pipeline.withdraw(begun)
    _nothing_is_held(lane)
