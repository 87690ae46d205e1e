"""A loop whose clock jumps to the next timer as soon as nothing else is left to do: minutes of waiting pass in no time, in order."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

START = 1000.0
P = ParamSpec("P")


class _NoWaiting(selectors.SelectSelector):
    """Where a loop would sleep, time passes instead; but first those hear of it who wait for everything else to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.listening: list[asyncio.Future[None]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0:
            if self.listening:
                self.listening.pop().set_result(None)
            elif timeout is None:
                raise AssertionError("everybody waits for somebody else")
            else:
                self.passed += timeout
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Its time is START at first. Nothing in it may wait for a socket or a thread."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return START + self._no_waiting.passed

    async def settle(self) -> None:
        done = self.create_future()
        self._no_waiting.listening.append(done)
        await done

    @property
    def timers(self) -> int:
        """That will fire."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # CPython's own list: nothing shows it
        return sum(not timer.cancelled() for timer in scheduled)


def in_fake_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in such a loop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def fake_loop() -> FakeTimeLoop:
    """The one that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeTimeLoop)
    return loop


async def settled() -> None:
    """Lets everything happen that needs no time."""
    await fake_loop().settle()


def now() -> float:
    return asyncio.get_running_loop().time()
