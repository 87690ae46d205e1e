"""A loop whose clock jumps to the next timer as soon as nothing else is left to do: minutes of waiting pass in no time, in order."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

START = 1000.0
P = ParamSpec("P")


class _NoWaiting(selectors.SelectSelector):
    """Where a loop would sleep, time passes instead."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everybody waits for somebody else")
            self.passed += timeout
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Its time is START at first. Nothing in it may wait for a socket or a thread."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return START + self._no_waiting.passed


def in_fake_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in such a loop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def settled() -> None:
    """Lets everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()


def finished(*tasks: "asyncio.Task[Any]") -> list[bool]:
    return [task.done() for task in tasks]


Async = Callable[[], Awaitable[None]]
