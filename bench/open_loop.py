"""The open loop: calls at a fixed rate, each due at its own instant whether or not earlier ones are answered.

Latency counts from the instant a call was due, so that a pause of the subject is charged to every call that fell into it
(a closed loop would leave those calls out: "coordinated omission").
"""

import asyncio
import gc
import itertools
import selectors
import time
from collections import deque
from functools import partial
from typing import NamedTuple

from bench.load import RUNS, Failed
from bench.subjects import Place, Subject
from bench.wire import Messages, request_for

WARM_UP = 0.5
PATIENCE = 10.0
"""Seconds that the last answers may take."""


class Latency(NamedTuple):
    p50_ms: float
    p99_ms: float


class Agents:
    """As many keep-alive connections as are needed at once, one call under way on each."""

    def __init__(self, subject: Subject, place: Place) -> None:
        path, body, headers, _ = call = subject.call
        self._requests = [request_for(path, place.port, f"bench-{run}", body, headers) for run in range(RUNS)]
        self._fresh = subject.fresh_heads
        self._expected = call.expected
        self._port = place.port
        self._number = itertools.count()
        self.lines: list[Line] = []
        self.idle: list[Line] = []
        self.answered: list[float] = []
        """Seconds of each call since it was due."""
        self.failed: str | None = None
        self._dialling: set[asyncio.Task[None]] = set()
        self._waiting: deque[float] = deque()

    def call(self, due: float) -> None:
        if self.idle:
            self.idle.pop().call(self._next(), due)
            return
        self._waiting.append(due)
        task = asyncio.create_task(self._dial())
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(partial(Line, self), "127.0.0.1", self._port)
        except OSError as error:
            self.failed = str(error)

    def free(self, line: "Line") -> None:
        if self._waiting:
            line.call(self._next(), self._waiting.popleft())
        else:
            self.idle.append(line)

    def answer(self, line: "Line", message: bytes, due: float) -> None:
        self.answered.append(time.perf_counter() - due)
        if not message.startswith(b"HTTP/1.1 200 ") or self._expected not in message:
            self.failed = f"answered {message[:80]!r}"
        self.free(line)

    def _next(self) -> bytes:
        number = next(self._number)
        request = self._requests[number % RUNS]
        if self._fresh:
            trace = b"\r\ntraceparent: 00-%032x-00f067aa0ba902b7-01\r\n" % (number + 1)
            request = request.replace(b"\r\n", trace, 1)
        return request


class Line(Messages):
    def __init__(self, agents: Agents) -> None:
        super().__init__()
        self._agents = agents
        self._due = 0.0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._agents.lines.append(self)
        self._agents.free(self)

    def call(self, request: bytes, due: float) -> None:
        self._due, self._busy = due, True
        if self.transport is not None:
            self.transport.write(request)

    def message(self, message: bytes, /) -> None:
        self._busy = False
        self._agents.answer(self, message, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._agents.failed = f"a connection was lost: {exc}"
        elif self in self._agents.idle:  # an idle one may be closed
            self._agents.idle.remove(self)


def latency(subject: Subject, place: Place, seconds: float) -> Latency:
    """At the subject's rate. Raises Failed."""
    # select() waits to the microsecond, where epoll as asyncio uses it rounds up to the next millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        gc.disable()
        try:
            return runner.run(_measure(Agents(subject, place), subject.calls_per_second, seconds))
        finally:
            gc.enable()


async def _measure(agents: Agents, rate: int, seconds: float) -> Latency:
    left_out, calls = round(rate * WARM_UP), round(rate * (WARM_UP + seconds))
    began = time.perf_counter()
    for number in range(calls):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        agents.call(due)
    until = time.perf_counter() + PATIENCE
    while len(agents.answered) < calls and time.perf_counter() < until and not agents.failed:  # noqa: ASYNC110  # no hurry
        await asyncio.sleep(0.01)
    for line in agents.lines:
        if line.transport is not None:
            line.transport.abort()
    if agents.failed or len(agents.answered) < calls:
        raise Failed(agents.failed or f"{calls - len(agents.answered)} of {calls} calls at {rate}/s were not answered")
    counted = sorted(agents.answered[left_out:])
    return Latency(1000 * counted[len(counted) // 2], 1000 * counted[len(counted) * 99 // 100])
