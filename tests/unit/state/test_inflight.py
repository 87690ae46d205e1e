"""A stop reaches a call wherever it waits, and is never mistaken for a timeout or for the caller's leaving: the races by hand."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gateway.denial import Denial, Reason
from gateway.model import Attempt, Effect, ToolCall
from gateway.state.inflight import InFlight, Stopped, Wait
from tests.unit.made_up import a_call

KILLED = Denial(Reason.KILL_SWITCH, "Stopped.")
LONG = 3600.0
NewLoop = Callable[[], asyncio.AbstractEventLoop]
BOTH_LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
"""The gateway runs on uvloop; whose turn comes when is each loop's own affair."""


def kill(call: ToolCall, effect: Effect) -> Denial:
    return KILLED


def an_attempt(*, sent: bool) -> Attempt:
    return Attempt(1, "POST", "/", [], b"", sent)


def now() -> float:
    return asyncio.get_running_loop().time()


async def started(work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    """A task that has run up to its first wait."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def end_of(task: asyncio.Task[object]) -> object:
    """What the task returns or raises, as long as it ends at all."""
    done, _ = await asyncio.wait([task], timeout=10)
    assert done, "it still waits"
    return await task


async def waits_for_ever(wait: Wait) -> None:
    with wait.pausing():
        await asyncio.Event().wait()


async def test_a_call_counts_from_its_entry_until_it_leaves() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    assert len(calls) == 1
    calls.leave(wait, asyncio.get_running_loop().time())
    calls.leave(wait, asyncio.get_running_loop().time())
    assert len(calls) == 0


async def test_the_scopes_own_time_is_a_timeout() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)
    with pytest.raises(TimeoutError), wait.limit(now() - 1):
        await asyncio.Event().wait()
    assert wait.stopped is None


async def test_what_is_done_in_time_is_not_disturbed() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)
    with wait.limit(now() + LONG):
        await asyncio.sleep(0)
    with wait.limit(None):
        await asyncio.sleep(0)


async def test_a_kill_wakes_a_call_that_waits() -> None:
    calls = InFlight()
    task = await started(waits_for_ever(calls.enter(a_call(), Effect.READ)))
    calls.interrupt(kill, cancel_in_flight=False)
    with pytest.raises(Stopped) as stopped:
        await end_of(task)
    assert stopped.value.denial is KILLED
    assert task.cancelling() == 0


async def test_a_kill_asks_about_each_call_and_stops_only_those_objected_to() -> None:
    calls = InFlight()
    read, write = calls.enter(a_call(), Effect.READ), calls.enter(a_call(), Effect.WRITE)
    calls.interrupt(lambda call, effect: KILLED if effect is Effect.WRITE else None, cancel_in_flight=True)
    assert (read.stopped, write.stopped) == (None, KILLED)


@pytest.mark.parametrize("cancel_in_flight", [False, True])
async def test_an_attempt_that_was_sent_is_cut_only_when_asked_for(cancel_in_flight: bool) -> None:
    calls = InFlight()
    wait, may_end = calls.enter(a_call(), Effect.READ), asyncio.Event()

    async def attempt() -> str:
        with wait.attempting(an_attempt(sent=True), now() + LONG):
            await may_end.wait()
        return "answer"

    task = await started(attempt())
    assert not wait.waiting
    calls.interrupt(kill, cancel_in_flight=cancel_in_flight)
    await asyncio.sleep(0)
    may_end.set()
    if cancel_in_flight:
        with pytest.raises(Stopped):
            await end_of(task)
    else:
        assert await end_of(task) == "answer"


async def test_an_attempt_that_still_queues_for_a_connection_is_waiting() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    attempt = an_attempt(sent=False)

    async def queue() -> None:
        with wait.attempting(attempt, now() + LONG):
            await asyncio.Event().wait()

    task = await started(queue())
    calls.interrupt(kill, cancel_in_flight=False)
    with pytest.raises(Stopped):
        await end_of(task)


async def test_a_call_waits_before_its_first_attempt_and_between_two_but_not_while_its_reply_streams() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)
    waiting = [wait.waiting]
    for scope in (wait.attempting(an_attempt(sent=True), None), wait.limit(None)):
        with scope:
            waiting.append(wait.waiting)
    with wait.pausing():
        waiting.append(wait.waiting)
    assert waiting == [True, False, False, True]


async def test_a_call_stopped_before_it_waits_does_not_begin_to() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    calls.interrupt(kill, cancel_in_flight=False)
    entered = False
    with pytest.raises(Stopped), wait.attempting(an_attempt(sent=False), None):
        entered = True
    assert not entered


async def test_the_first_stop_counts() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    calls.interrupt(kill, cancel_in_flight=False)
    calls.cut_all()
    assert wait.stopped is KILLED


async def test_the_shutdown_cuts_every_call_as_draining() -> None:
    calls = InFlight()
    waits = [calls.enter(a_call(), Effect.READ) for _ in range(3)]

    async def stream(wait: Wait) -> None:
        with wait.attempting(an_attempt(sent=True), None):
            pass
        with wait.limit(None):
            await asyncio.Event().wait()

    tasks = [await started(stream(wait)) for wait in waits]
    calls.cut_all()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end.denial.reason for end in ends if isinstance(end, Stopped)] == [Reason.DRAINING] * 3


def leaves(calls: InFlight, wait: Wait, task: "asyncio.Task[object]") -> None:
    task.cancel()


def is_killed(calls: InFlight, wait: Wait, task: "asyncio.Task[object]") -> None:
    calls.interrupt(kill, cancel_in_flight=True)


def runs_out_of_time(calls: InFlight, wait: Wait, task: "asyncio.Task[object]") -> None:
    wait.reschedule(0)


Happens = Callable[[InFlight, Wait, "asyncio.Task[object]"], None]


@pytest.mark.parametrize(
    "events",
    [(leaves, is_killed), (is_killed, leaves), (leaves, runs_out_of_time), (runs_out_of_time, leaves)],
    ids=lambda events: " ".join(event.__name__ for event in events),
)
@pytest.mark.parametrize("turns", [0, 1, 2])
@BOTH_LOOPS
def test_a_caller_that_leaves_is_never_taken_for_anything_else(
    new_loop: NewLoop, events: tuple[Happens, ...], turns: int
) -> None:
    """`turns` of the loop between the two, while the task cleans up slowly: the second comes during the first one's unwinding."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(the_caller_leaves(events, turns))


async def the_caller_leaves(events: tuple[Happens, ...], turns: int) -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)

    async def cleans_up_slowly() -> None:
        with wait.pausing():
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)

    task = await started(cleans_up_slowly())
    first, second = events
    first(calls, wait, task)
    for _ in range(turns):
        await asyncio.sleep(0)
    second(calls, wait, task)
    with pytest.raises(asyncio.CancelledError):
        await end_of(task)
    assert task.cancelled()


@pytest.mark.parametrize("turns", [0, 1, 3])
@BOTH_LOOPS
def test_a_stop_that_meets_the_timeout_is_a_stop(new_loop: NewLoop, turns: int) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(a_stop_meets_the_timeout(turns))


async def a_stop_meets_the_timeout(turns: int) -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    task = await started(waits_for_ever(wait))
    wait.reschedule(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    calls.interrupt(kill, cancel_in_flight=True)
    # With three turns in between the timeout had its effect before the stop came.
    with pytest.raises(TimeoutError if turns == 3 else Stopped):
        await end_of(task)


async def test_a_stop_just_as_the_wait_ends_keeps_the_next_one_from_beginning() -> None:
    calls = InFlight()
    wait, done = calls.enter(a_call(), Effect.READ), asyncio.Event()
    entered: list[str] = []

    async def two_waits() -> None:
        with wait.pausing():
            await done.wait()
        with wait.pausing():
            entered.append("the second")

    task = await started(two_waits())
    done.set()
    calls.interrupt(kill, cancel_in_flight=True)
    with pytest.raises(Stopped):
        await end_of(task)
    assert entered == []
    assert task.cancelling() == 0


async def test_a_timer_that_moves_on_cannot_undo_a_stop() -> None:
    """The stop comes between two pieces of a stream, and the piece is handled before the stop's own turn of the loop."""
    calls = InFlight()
    wait, pieces = calls.enter(a_call(), Effect.READ), asyncio.Queue[int]()

    async def stream() -> None:
        with wait.limit(now() + LONG):
            while True:
                await pieces.get()
                wait.reschedule(now() + LONG)

    task = await started(stream())
    pieces.put_nowait(1)
    calls.interrupt(kill, cancel_in_flight=True)
    with pytest.raises(Stopped):
        await end_of(task)


async def test_each_piece_of_a_stream_moves_its_silence_timer() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)

    async def stream() -> None:
        with wait.limit(now() + LONG):
            wait.reschedule(now() + 2 * LONG)
            await asyncio.sleep(0)
            wait.reschedule(0)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await stream()


async def test_moving_the_timer_outside_of_any_scope_does_nothing() -> None:
    InFlight().enter(a_call(), Effect.READ).reschedule(0)


async def test_a_stop_reaches_the_innermost_of_nested_scopes_and_passes_through_the_outer_ones() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    seen = []

    async def nested() -> None:
        with wait.limit(now() + LONG):
            try:
                await waits_for_ever(wait)
            except Stopped:
                seen.append("inner")
                raise

    task = await started(nested())
    calls.interrupt(kill, cancel_in_flight=True)
    with pytest.raises(Stopped):
        await end_of(task)
    assert seen == ["inner"]
    assert wait.scope is None


async def test_an_outer_scopes_timeout_is_not_the_inner_ones() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)
    ends: list[type[BaseException]] = []

    async def nested() -> None:
        with wait.limit(now() - 1):
            try:
                await waits_for_ever(wait)
            except BaseException as end:
                ends.append(type(end))
                raise

    with pytest.raises(TimeoutError):
        await nested()
    assert ends == [asyncio.CancelledError]


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    with pytest.raises(ZeroDivisionError), wait.limit(now() + LONG):
        raise ZeroDivisionError


async def test_a_scope_after_a_timeout_starts_afresh() -> None:
    wait = InFlight().enter(a_call(), Effect.READ)
    for _ in range(3):
        with pytest.raises(TimeoutError), wait.attempting(an_attempt(sent=False), now() - 1):
            await asyncio.Event().wait()
        with wait.pausing():
            await asyncio.sleep(0)


async def test_the_gateway_is_quiet_from_the_last_calls_end_on() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    assert calls.quiet_for(now() + 100) == 0
    calls.leave(wait, asyncio.get_running_loop().time())
    assert 100 <= calls.quiet_for(now() + 100) < 200


async def test_a_stream_is_traffic_only_while_pieces_arrive() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ)
    with wait.limit(None):
        assert 100 <= calls.quiet_for(now() + 100) < 200
        calls.leave(calls.enter(a_call(), Effect.READ), asyncio.get_running_loop().time())
        before = now()
        wait.reschedule(None)
        assert wait.heard is not None
        assert wait.heard >= before
    with wait.pausing():
        assert calls.quiet_for(now() + 100) >= 100
    with wait.attempting(an_attempt(sent=False), None):
        assert calls.quiet_for(now() + 100) == 0


async def test_who_only_listens_is_no_call_but_is_stopped_like_one() -> None:
    calls = InFlight()
    wait = calls.enter(a_call(), Effect.READ, listens=True)
    assert len(calls) == 0
    assert calls.quiet_for(now() + 100) > 200, "it has not heard anything yet"
    with wait.limit(None):
        assert 100 <= calls.quiet_for(now() + 100) < 200
    calls.interrupt(kill, cancel_in_flight=True)
    assert wait.stopped is KILLED
    other = calls.enter(a_call(), Effect.READ, listens=True)
    calls.cut_all()
    assert other.stopped is not None
    calls.leave(other, asyncio.get_running_loop().time())
    calls.leave(wait, asyncio.get_running_loop().time())
    assert calls.quiet_for(now() + 100) < 200
