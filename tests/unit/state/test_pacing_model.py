"""The Pacer against a model of it that anybody can follow: whatever comes, leaves, pauses and reloads, both say the same.

The model is a list, and time in steps of a tenth of a second: it asks at every step whether the first in the list may go.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.bounds import UNPACED, Pace, Rate
from gateway.state.pacing import Pacer, Place
from tests.unit.fake_time import START, FakeTimeLoop, settled

STEP = 0.1
"""Seconds. Every rate below gives a whole number of steps an attempt."""
FAR = 1e6
SLACK = 0.02
"""Of an attempt: what floating point, and a pacer that counts a last millisecond as passed, may differ by."""
rates = st.sampled_from([None, Rate(10, 1), Rate(5, 3), Rate(2, 2), Rate(1, 1)])
places = st.sampled_from([None, 1, 2, 4])


@dataclass
class Model:
    pace: Pace = UNPACED
    free: float = 0.0
    """Attempts that could go at once."""
    time: int = 0
    """Steps."""
    queue: list[int] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    """Of those that went after a pause."""
    gone: list[int] = field(default_factory=list)
    paused_until: int = 0
    trust: int | None = None

    def step(self) -> None:
        """Where only the rate holds the first one up, it goes within the step, before the bucket can run over."""
        rate, only_the_rate = self.pace.rate, bool(self.queue) and self.has_a_place()
        self.time += 1
        if rate is not None:
            self.free += rate.per_second * STEP
            if only_the_rate:
                self.serve()
            self.free = min(rate.burst, self.free)
        self.serve()

    def has_a_place(self) -> bool:
        return (
            (self.pace.max_concurrency is None or len(self.at_work) < self.pace.max_concurrency)
            and self.time >= self.paused_until
            and (self.trust is None or len(self.unanswered) < self.trust)
        )

    def serve(self) -> None:
        while self.queue and self.has_a_place() and (self.pace.rate is None or self.free >= 1 - SLACK):
            number = self.queue.pop(0)
            self.gone.append(number)
            self.at_work.append(number)
            if self.trust is not None:
                self.unanswered.append(number)
            self.free -= self.pace.rate is not None

    def join(self, number: int) -> None:
        self.queue.append(number)
        self.serve()

    def leave_queue(self, number: int) -> None:
        self.queue.remove(number)
        self.serve()

    def answered(self, number: int) -> None:
        if number in self.unanswered:
            self.unanswered.remove(number)
            if self.trust is not None and self.time >= self.paused_until:
                self.trust = self.trust + 1 if self.queue else None
            self.serve()

    def leave(self, number: int) -> None:
        if number in self.unanswered:
            self.unanswered.remove(number)
        self.at_work.remove(number)
        self.serve()

    def pause(self, steps: int) -> None:
        self.paused_until = max(self.paused_until, self.time + steps)
        self.trust = 1

    def adopt(self, pace: Pace) -> None:
        if pace.rate is not None and pace.rate != self.pace.rate:
            self.free = pace.rate.burst if self.pace.rate is None else min(self.free, pace.rate.burst)
        self.pace = pace
        self.serve()


class PacerAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeTimeLoop()
        self.model = Model()
        self.pacer = Pacer(UNPACED)
        self.tasks: list[asyncio.Task[None]] = []
        self.places: dict[int, Place] = {}
        self.gone: list[int] = []

    def teardown(self) -> None:
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self.pacer.waiting == 0

    def do(self, action: Callable[[], object]) -> None:
        """And lets the pacer's tasks go as far as they can without time."""
        self.loop.run_until_complete(self._do(action))

    async def _do(self, action: Callable[[], object]) -> None:
        action()
        await settled()

    @property
    def clock(self) -> float:
        return self.loop.time()

    async def _attempt(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.places[number] = self.pacer.enter(FAR, loop.time()) or await self.pacer.line_up(FAR)
        self.gone.append(number)

    async def _join(self, count: int) -> None:
        for _ in range(count):
            number = len(self.tasks)
            self.tasks.append(asyncio.create_task(self._attempt(number)))
            await settled()
            self.model.join(number)

    @rule(count=st.integers(1, 5))
    def join(self, count: int) -> None:
        self.loop.run_until_complete(self._join(count))

    @rule(steps=st.sampled_from([1, 2, 3, 10, 40]))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.model.step()
        self.loop.run_until_complete(self._sleep_until(START + self.model.time * STEP))

    async def _sleep_until(self, at: float) -> None:
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        await settled()

    @precondition(lambda self: self.model.queue)
    @rule(data=st.data())
    def one_leaves_the_queue(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.model.queue))
        self.model.leave_queue(number)
        self.do(self.tasks[number].cancel)

    @precondition(lambda self: self.model.at_work)
    @rule(data=st.data())
    def one_is_answered(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.model.at_work))
        self.model.answered(number)
        self.do(self.places[number].answered)

    @precondition(lambda self: self.model.at_work)
    @rule(data=st.data())
    def one_is_through(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.model.at_work))
        self.model.leave(number)
        self.do(self.places[number].leave)

    @rule(steps=st.sampled_from([0, 1, 5, 30]))
    def pause(self, steps: int) -> None:
        self.model.pause(steps)
        until = START + (self.model.time + steps) * STEP
        self.do(lambda: self.pacer.pause(until))

    @rule(rate=rates, max_concurrency=places)
    def reload(self, rate: Rate | None, max_concurrency: int | None) -> None:
        pace = Pace(rate, max_concurrency)
        self.model.adopt(pace)
        self.do(lambda: self.pacer.adopt(pace))

    @invariant()
    def the_same_have_gone_in_the_same_order(self) -> None:
        assert self.gone == self.model.gone
        assert self.pacer.waiting == len(self.model.queue)

    @invariant()
    def a_turn_is_known(self) -> None:
        """As far as rate and pause tell: the model's, by walking through its queue."""
        self.loop.run_until_complete(self._compare_turns())

    async def _compare_turns(self) -> None:
        model = self.model
        steps = max(0, model.paused_until - model.time)
        turn = steps * STEP
        if model.pace.rate is not None:
            free = min(model.pace.rate.burst, model.free + turn * model.pace.rate.per_second)
            missing = len(model.queue) + 1 - free
            turn += max(0.0, missing / model.pace.rate.per_second)
        assert abs(self.pacer.turn(self.clock) - turn) < SLACK


TestPacerAndModel = PacerAndModel.TestCase
