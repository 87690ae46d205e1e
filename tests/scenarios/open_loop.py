"""Load at a fixed rate: calls start when they are due, however slow the answers are, as a crowd of agents does it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Timed(NamedTuple, Generic[T]):
    """What came back, and after how many seconds since the call was made."""

    result: T
    seconds: float


async def open_loop(call: Callable[[], Awaitable[T]], *, per_second: float, seconds: float) -> list[Timed[T]]:
    """Makes the calls, waits for all of them, and gives back their results in the order in which they were made."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = []
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - loop.time()))
        tasks.append(asyncio.create_task(_timed(call)))
    return await asyncio.gather(*tasks)


async def _timed(call: Callable[[], Awaitable[T]]) -> Timed[T]:
    before = time.perf_counter()
    result = await call()
    return Timed(result, time.perf_counter() - before)


def percentile(timed: Sequence[Timed[T]], percent: float) -> float:
    """Milliseconds within which so many percent of the calls came back."""
    ordered = sorted(each.seconds for each in timed)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
