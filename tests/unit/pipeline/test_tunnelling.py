"""When a tunnel's silence is long enough to end it: asked of the tunnel whenever the timer fires, never timed piece by piece."""

import asyncio
import time

import pytest

from gateway.denial import Reason
from gateway.model import Effect, Moment
from gateway.pipeline.failures import Cut
from gateway.pipeline.limits import Limits
from gateway.pipeline.progress import Progress
from gateway.pipeline.tunnelling import carry
from gateway.state.inflight import Wait
from tests.unit.made_up import a_call, a_plan

IDLE = 0.02


class Talking:
    """A tunnel that has just heard something each of the first times it is asked, and falls silent then."""

    bytes_in, bytes_out = 3, 4

    def __init__(self, times: int) -> None:
        self.asked, self._times, self._last = 0, times, 0.0

    @property
    def heard(self) -> float:
        self.asked += 1
        if self.asked <= self._times:
            self._last = asyncio.get_running_loop().time()
        return self._last

    async def half_closed(self) -> None:
        await asyncio.Event().wait()

    async def gone(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None: ...


def clock() -> Moment:
    return Moment(time.monotonic(), time.time())


async def nothing_wrong() -> bool:
    return True


@pytest.mark.parametrize("times", [1, 5, 9])
async def test_it_ends_at_the_first_look_that_finds_it_silent(times: int) -> None:
    tunnel, plan = Talking(times), a_plan(stream_idle=IDLE)
    progress = Progress(
        a_call(), plan, "0" * 12, Limits(0.0)
    )  # the call's deadline is long over: it does not count here
    with pytest.raises(Cut) as cut:
        await carry(progress, plan, Wait(progress.call, Effect.WRITE), tunnel, clock, nothing_wrong, lambda: None)
    assert cut.value.denial.reason is Reason.TOOL_TIMEOUT
    assert tunnel.asked > times
    assert (progress.tunnelled, progress.bytes_out) == (3, 4)


async def test_the_run_ends_one_that_never_falls_silent() -> None:
    tunnel, plan = Talking(10**9), a_plan(stream_idle=IDLE)
    progress = Progress(a_call(), plan, "0" * 12, Limits(0.0, run=clock().mono + 5 * IDLE))
    with pytest.raises(Cut) as cut:
        await carry(progress, plan, Wait(progress.call, Effect.WRITE), tunnel, clock, nothing_wrong, lambda: None)
    assert cut.value.denial.stop_reason == "max_seconds"
    assert tunnel.asked > 3


async def test_a_caller_that_said_nothing_is_joined_to_nobody() -> None:
    plan = a_plan(stream_idle=IDLE)
    progress = Progress(a_call(), plan, "0" * 12, Limits(0.0))

    async def left() -> bool:
        return False

    def join() -> None:
        raise AssertionError("joined")

    await carry(progress, plan, Wait(progress.call, Effect.WRITE), Talking(0), clock, left, join)
    assert progress.denial is None
