"""Which signal ends what: the phases a process takes with a call in flight."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from gateway.lifecycle import Lifecycle, Phase
from gateway.model import Effect
from gateway.state.counts import Counts
from gateway.state.inflight import Wait
from tests.unit.made_up import a_call

TERM, INT = signal.SIGTERM, signal.SIGINT


class Process:
    """One that drains, with a call in flight."""

    def __init__(self) -> None:
        self.counts = Counts(10)
        self.wait: Wait = self.counts.in_flight.enter(a_call(), Effect.READ)
        self.entered: asyncio.Queue[Phase] = asyncio.Queue()
        life = Lifecycle(self.counts, drain=3600, idle=3600, on_hangup=lambda: None, on_phase=self.entered.put_nowait)
        self.life = asyncio.create_task(life.run())


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process()
    assert await process.entered.get() is Phase.SERVING
    yield process
    process.life.cancel()
    for number in (TERM, INT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_ctrl_c_after_sigterm_skips_the_lame_duck_and_leaves_the_call_its_last_seconds(process: Process) -> None:
    signal.raise_signal(TERM)
    assert await process.entered.get() is Phase.LAME_DUCK
    signal.raise_signal(INT)
    assert await process.entered.get() is Phase.DRAINING
    assert process.wait.stopped is None
    process.counts.in_flight.leave(process.wait, asyncio.get_running_loop().time())
    await process.life
    assert process.wait.stopped is None


@pytest.mark.parametrize(("first", "then"), [(TERM, TERM), (INT, INT), (INT, TERM)])
async def test_the_second_signal_ends_at_once(process: Process, first: signal.Signals, then: signal.Signals) -> None:
    signal.raise_signal(first)
    assert await process.entered.get() in (Phase.LAME_DUCK, Phase.DRAINING)
    signal.raise_signal(then)
    await process.life
    assert process.wait.stopped is not None


async def test_who_only_listens_is_not_waited_for(process: Process) -> None:
    listening = process.counts.in_flight.enter(a_call(), Effect.READ, listens=True)
    signal.raise_signal(INT)
    assert await process.entered.get() is Phase.DRAINING
    assert listening.stopped is None
    process.counts.in_flight.leave(process.wait, asyncio.get_running_loop().time())
    async with asyncio.timeout(4):  # less than the last seconds
        await process.life
    assert listening.stopped is not None
