"""Calls that share a performance, by hand and in every order that hypothesis can think of: the books are right whoever leaves when."""

import asyncio
import gc
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.denial import Reason
from gateway.model import Attempt, Budgets, Effect, Event, Moment, Outcome, Record, Reply, ToolCall, UpstreamError
from gateway.pipeline.lingering import MOST_REPLAYED, REPLAYED
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.policy.snapshot import Plan, Retries
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.ended import Ended
from tests.unit.fake_time import in_fake_time, now, settled
from tests.unit.made_up import a_call, a_plan

BUDGETS = Budgets(max_steps=25, max_tool_calls=100, max_seconds=10_000)
WRITE = a_plan(
    effect=Effect.WRITE, retries=Retries(1, (1.0,), frozenset({429})), deadline=1000.0, timeout=900.0, budgets=BUDGETS
)
RUNS = ("r0", "r1")


def moment() -> Moment:
    return Moment(now(), now())


class Stage:
    """A pipeline with an upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.counts = Counts(1000)
        self.buffers = Buffers(1 << 30)
        self.records: list[Record] = []
        self.faults: list[Event] = []
        self.at_work: list[asyncio.Future[Reply | UpstreamError]] = []
        self.attempts = 0
        self.calls = 0
        self.closing = asyncio.Event()
        """Unset: a connection that is cut takes its time."""
        self.closing.set()
        self.pipeline = Pipeline(
            counts=self.counts,
            buffers=self.buffers,
            send=self._send,
            observer=self,
            clock=moment,
            dice=lambda: 0.5,
        )

    def call_ended(self, record: Record) -> None:
        self.records.append(record)

    def happened(self, event: Event) -> None:
        if event.name == "internal_error":
            self.faults.append(event)

    def call(self, run: str = "r1", key: str = "k", *, lingers: bool = False) -> asyncio.Task[Outcome]:
        return asyncio.create_task(self._call(run, key, lingers=lingers))

    async def _call(self, run: str, key: str, *, lingers: bool) -> Outcome:
        self.calls += 1
        call = a_call(run, id=f"c{self.calls}", started=moment(), idempotency_key=key, args_hash="h", lingers=lingers)
        self.buffers.take(2)  # its body, as a door does
        return await self.pipeline.handle(call, WRITE, "p", self._answer)

    def charged(self, run: str) -> int:
        return BUDGETS.max_tool_calls - self.counts.ledger.remaining(a_call(run).run, BUDGETS, moment()).tool_calls

    def answer(self, reply: Reply | UpstreamError) -> None:
        """The oldest attempt comes back; too late where it has just been cut."""
        waiting = self.at_work.pop(0)
        if not waiting.done():
            waiting.set_result(reply)

    async def _answer(self, call: OpenCall) -> Outcome:
        return call.outcome

    async def _send(self, attempt: Attempt, plan: Plan, call: ToolCall) -> Reply:
        self.attempts += 1
        attempt.sent = True
        waiting: asyncio.Future[Reply | UpstreamError] = asyncio.get_running_loop().create_future()
        self.at_work.append(waiting)
        try:
            came_back = await waiting
        except asyncio.CancelledError:
            if waiting in self.at_work:  # else its answer has just come
                self.at_work.remove(waiting)
            await self.closing.wait()
            raise
        if isinstance(came_back, UpstreamError):
            raise came_back
        return came_back


def ok(body: bytes = b"done", status: int = 200) -> Reply:
    return Reply(status, (), body)


@in_fake_time
async def test_who_comes_while_the_attempt_is_being_cut_is_not_cut_with_it() -> None:
    stage = Stage()
    stage.closing.clear()
    first = stage.call()
    await settled()
    first.cancel()
    await settled()
    second = stage.call()
    await settled()
    assert stage.attempts == 2
    stage.closing.set()
    stage.answer(ok())
    assert (await second).reason is Reason.OK
    assert (await stage.call()).reason is Reason.DEDUP
    assert [record.reason for record in stage.records] == [Reason.CLIENT_GONE, Reason.OK, Reason.DEDUP]


@in_fake_time
async def test_a_first_caller_that_left_is_settled_once_and_at_the_end() -> None:
    stage = Stage()
    first = stage.call()
    await settled()
    second = stage.call("r2")
    await settled()
    first.cancel()
    await settled()
    assert (stage.records, len(stage.counts.in_flight)) == ([], 2)
    stage.answer(ok())
    assert (await second).reason is Reason.DEDUP
    assert {(record.call_id, record.reason, record.attempts) for record in stage.records} == {
        ("c1", Reason.OK, 1),
        ("c2", Reason.DEDUP, 0),
    }
    assert len(stage.counts.in_flight) == 0


@in_fake_time
async def test_the_charge_goes_to_the_run_of_the_first() -> None:
    stage = Stage()
    calls = [stage.call("r1"), stage.call("r2"), stage.call("r2")]
    await settled()
    stage.answer(ok())
    await asyncio.gather(*calls)
    assert (stage.charged("r1"), stage.charged("r2")) == (1, 0)
    assert stage.counts.ledger.find(a_call("r2").run, BUDGETS, moment()) is None


@in_fake_time
async def test_a_pending_retry_waits_for_nobody_but_is_made_for_anybody() -> None:
    stage = Stage()
    first = stage.call()
    await settled()
    second = stage.call()
    await settled()
    stage.answer(Reply(429, (), b""))
    await settled()
    first.cancel()
    await asyncio.sleep(2)
    stage.answer(ok())
    assert (await second).reason is Reason.DEDUP
    assert stage.attempts == 2


@in_fake_time
async def test_a_retry_that_nobody_waits_for_is_not_made() -> None:
    stage = Stage()
    first = stage.call()
    await settled()
    stage.answer(Reply(429, (), b""))
    await settled()
    first.cancel()
    await asyncio.sleep(2)
    assert stage.attempts == 1
    assert len(stage.counts.in_flight) == 0


@in_fake_time
async def test_how_a_lingering_call_ended_is_told_for_some_seconds_and_within_some_memory() -> None:
    stage, size = Stage(), 200_000
    for n in range(95):
        call = stage.call(key=f"k{n}", lingers=True)
        await settled()
        stage.answer(ok(bytes(size)))
        assert (await call).reason is Reason.OK
    assert (await stage.call(key="k94", lingers=True)).reason is Reason.DEDUP
    del call
    gc.collect()
    assert 50 < sum(isinstance(found, Ended) for found in gc.get_objects()) <= MOST_REPLAYED / size
    await asyncio.sleep(REPLAYED + 1)
    late = stage.call(key="k94", lingers=True)
    await settled()
    stage.answer(ok())
    assert (await late).reason is Reason.OK


COMING_BACK: dict[str, Callable[[], Reply | UpstreamError]] = {
    "answer": ok,
    "busy": lambda: Reply(429, (), b""),
    "break": lambda: UpstreamError("reset", "it broke", sent=True),
}
STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "call", "leave", "stop", "pass", *COMING_BACK]), st.integers(0, 5)), max_size=25
)


@settings(max_examples=300)
@given(STEPS)
def test_whoever_leaves_when_the_books_are_right(steps: list[tuple[str, int]]) -> None:
    in_fake_time(_play)(steps)


async def _play(steps: list[tuple[str, int]]) -> None:
    stage = Stage()
    callers: list[asyncio.Task[Outcome]] = []
    for step, number in steps:
        if step == "call":
            callers.append(stage.call(RUNS[number % 2]))
        elif step == "leave" and callers:
            callers[number % len(callers)].cancel()
        elif step == "pass":
            await asyncio.sleep(number)
        elif step == "stop":
            stage.counts.in_flight.cut_all()
        elif step in COMING_BACK and stage.at_work:
            stage.answer(COMING_BACK[step]())
        if number % 2:
            await settled()
        assert sum(not waiting.done() for waiting in stage.at_work) <= 1
    await _all_answered(stage)
    await asyncio.sleep(5)  # a retry that waited
    await _all_answered(stage)
    for end in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(end, (Outcome, asyncio.CancelledError)), end
    _the_books_are_right(stage)


async def _all_answered(stage: Stage) -> None:
    await settled()
    while stage.at_work:
        stage.answer(ok())
        await settled()


def _the_books_are_right(stage: Stage) -> None:
    assert stage.faults == []
    assert sorted(record.call_id for record in stage.records) == sorted(f"c{n + 1}" for n in range(stage.calls))
    assert sum(record.attempts for record in stage.records) == stage.attempts
    assert (stage.buffers.held, len(stage.counts.in_flight)) == (0, 0)
    for run in RUNS:
        assert stage.charged(run) == sum(1 for record in stage.records if record.attempts and record.run_id == run)
