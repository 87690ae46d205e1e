"""Pacers: one FIFO queue a tool, whose head waits for the tool's rate, a free place, or the end of a pause its upstream asked for.

Times are of the loop's clock, in seconds. Whoever waits does so in its own task: without waiters there is neither timer nor task.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from gateway.bounds import UNPACED, Pace, Rate

if TYPE_CHECKING:
    from gateway.state.bucket import Bucket

LONGEST_PAUSE = 3600.0
"""Seconds: what an upstream can ask for with one Retry-After. It is not trusted with more of its callers' time."""
MOST_PACERS = 2000
"""From here on a pause of one more tool is not remembered: agents may invent names below a pattern, and an upstream may pause them all."""
LOOK_EVERY = 60.0
"""Seconds between two searches for pacers that nobody needs any more, once there are so many."""
GRAIN = 0.001
"""Seconds. uvloop's timers count whole milliseconds and may fire half of one early; what is left then counts as passed."""


class Place:
    """Among the attempts at work of a tool."""

    __slots__ = ("_pacer", "_taken", "_tells")

    def __init__(self, pacer: "Pacer", *, tells: bool) -> None:
        self._pacer = pacer
        self._taken = True
        self._tells = tells
        """The attempt is one of the first after a pause."""

    def answered(self) -> None:
        """The upstream has answered. Safe to call twice, like `leave`."""
        if self._tells:
            self._tells = False
            self._pacer.heard(answered=True)

    def leave(self) -> None:
        """The reply is through, or there is none."""
        if self._tells:
            self._tells = False
            self._pacer.heard(answered=False)
        if self._taken:
            self._taken = False
            self._pacer.left()


class _Waiter:
    """One attempt in the queue."""

    __slots__ = ("_woken", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Has it look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def sleep(self, until: float) -> None:
        """Until it is woken; inf: by others only."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = loop.call_at(until, self.wake) if until < inf else None
        try:
            await self._woken
        finally:
            if timer is not None:
                timer.cancel()


class Pacer:
    """One tool's queue, whoever calls. What holds for it is the policy's newest word, for those who wait already as well.

    After a pause a queue is no herd: one attempt goes, and each that is answered lets two more go, until nobody waits.
    """

    __slots__ = ("_at_work", "_bucket", "_paused_until", "_queue", "_trust", "_unanswered", "pace")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._bucket = _bucket(pace.rate)
        self._queue: OrderedDict[_Waiter, None] = OrderedDict()
        self._at_work = 0
        self._paused_until = -inf
        self._trust: int | None = None
        """How many attempts may be unanswered after a pause; None: any number."""
        self._unanswered = 0

    @property
    def waiting(self) -> int:
        """Attempts in the queue."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Every place is taken; for how long, nobody knows."""
        return self.pace.max_concurrency is not None and self._at_work >= self.pace.max_concurrency

    @property
    def idle(self) -> bool:
        """Nobody waits or is at work."""
        return not self._queue and self._at_work == 0

    @property
    def settled(self) -> bool:
        """There was no pause, or it is over and its herd has passed."""
        return self._trust is None

    def paused(self, now: float) -> float:
        """Seconds that are left of the pause."""
        return max(0.0, self._paused_until - now)

    def turn(self, now: float) -> float:
        """Seconds until an attempt that joined now would have its turn, as far as rate and pause tell: places may make it later."""
        return self._turn(len(self._queue), now)

    def moves_in(self, now: float) -> float:
        """Seconds until the first one waiting goes, as far as rate and pause tell."""
        return self._turn(0, now)

    def is_open(self, now: float) -> bool:
        """Would an attempt go at once?"""
        return not self._queue and self._opens(now) <= now + GRAIN

    def enter(self, until: float, now: float) -> Place | None:
        """At once, where nothing holds it up; else None, and the attempt has to line up."""
        return self._admit(until, now) if self.is_open(now) else None

    async def line_up(self, until: float) -> Place:
        """Waits for its turn behind all that came before. Raises TimeoutError as soon as it is known to come too late for `until`.

        Cancelling uses nothing, and holds nobody up.
        """
        loop, me = asyncio.get_running_loop(), _Waiter(until)
        self._queue[me] = None
        try:
            while (opens := self._opens(loop.time()) if self._head is me else inf) > loop.time() + GRAIN:
                known = opens if opens < inf else self._paused_until if self.pace.held else -inf
                if known >= until:
                    raise TimeoutError
                await me.sleep(opens)
        finally:
            del self._queue[me]
            self._call_head()
        return self._admit(until, loop.time())

    def adopt(self, pace: Pace) -> None:
        """Another policy's word. The level of the rate is carried over, and so is the queue's order."""
        if pace == self.pace:
            return
        if pace.rate != self.pace.rate:
            old, self._bucket = self._bucket, _bucket(pace.rate)
            if old is not None and self._bucket is not None:
                self._bucket.take_over(old)
        self.pace = pace
        self._call_head()

    def pause(self, until: float) -> None:
        """No attempt until then; of two pauses the longer one holds. Those who cannot wait so long are told at once."""
        self._paused_until = max(self._paused_until, until)
        self._trust = 1
        for waiter in self._queue:
            if waiter.until <= until:
                waiter.wake()

    def heard(self, *, answered: bool) -> None:
        """One of the first attempts after a pause has ended, or has its answer. (A Retry-After in it comes as the next pause.)"""
        self._unanswered -= 1
        if answered and self._trust is not None and self._paused_until <= asyncio.get_running_loop().time():
            self._trust = self._trust + 1 if self._queue else None
        self._call_head()

    def left(self) -> None:
        """An attempt is at work no more."""
        self._at_work -= 1
        self._call_head()

    @property
    def _head(self) -> _Waiter | None:
        return next(iter(self._queue), None)

    def _call_head(self) -> None:
        if self._queue:
            next(iter(self._queue)).wake()

    def _turn(self, ahead: int, now: float) -> float:
        pause = max(0.0, self._paused_until - now)
        return pause if self._bucket is None else self._bucket.room_in(ahead, pause)

    def _opens(self, now: float) -> float:
        """From when the next one may go; inf: not before another attempt is answered or ends."""
        if self.full:
            return inf
        if not self.pace.held:
            return now
        if self._trust is not None and self._unanswered >= self._trust:
            return inf
        return now + self._turn(0, now)

    def _admit(self, until: float, now: float) -> Place:
        self._at_work += 1
        if self._bucket is not None and (self.pace.held or self._bucket.room_in() < until - now):
            self._bucket.pour()  # of what is not held, only that counts which would have had its turn
        tells = self._trust is not None
        if tells:
            self._unanswered += 1
        return Place(self, tells=tells)


class Pacers:
    """All of them, by the name of their queue (Plan.queue): those of tools with a pace that were called, and those whose upstream has
    asked for a pause.
    """

    def __init__(self) -> None:
        self._pacers: dict[str, Pacer] = {}
        self._next_look = -inf

    def find(self, queue: str) -> Pacer | None:
        """None: nothing holds this tool's attempts up just now. Changes nothing."""
        return self._pacers.get(queue)

    def of(self, queue: str, pace: Pace, *, newest: bool) -> Pacer | None:
        """None: this tool's attempts need not line up. `newest`: `pace` is the word of a policy that a call has just started with
        (a call in flight keeps its policy over reloads, so that its retries bring an older word).
        """
        pacer = self._pacers.get(queue)
        if pacer is None:
            if not is_paced(pace):
                return None
            pacer = self._pacers[queue] = Pacer(pace)
        elif newest:
            pacer.adopt(pace)
            if not is_paced(pace) and pacer.idle and pacer.settled:
                del self._pacers[queue]
                return None
        return pacer

    def pause(self, queue: str, seconds: float, now: float) -> None:
        """The upstream answered 429 and named a time: no attempt of this tool for so long."""
        pacer = self._pacers.get(queue)
        if pacer is None:
            if len(self._pacers) >= MOST_PACERS and now >= self._next_look:
                self._next_look = now + LOOK_EVERY
                self._forget(now)
            if len(self._pacers) >= MOST_PACERS:
                return
            pacer = self._pacers[queue] = Pacer(UNPACED)
        pacer.pause(now + min(seconds, LONGEST_PAUSE))

    def adopt(self, pace_of: Callable[[str], Pace], now: float) -> None:
        """A policy came into force. Those who wait, wait under its word from now on."""
        for queue, pacer in self._pacers.items():
            pacer.adopt(pace_of(queue))
        self._forget(now)

    def waiting(self) -> dict[str, int]:
        """How many attempts wait, by queue."""
        return {queue: pacer.waiting for queue, pacer in self._pacers.items() if pacer.waiting}

    def paused(self, now: float) -> dict[str, float]:
        """Seconds that are left of the pauses that upstreams have asked for, by queue."""
        return {queue: pacer.paused(now) for queue, pacer in self._pacers.items() if pacer.paused(now)}

    def _forget(self, now: float) -> None:
        """A tool without a pace needs no pacer once its pause is over."""
        for queue, pacer in [*self._pacers.items()]:
            if not is_paced(pacer.pace) and pacer.idle and not pacer.paused(now):
                del self._pacers[queue]


def is_paced(pace: Pace) -> bool:
    """Does the policy bound the tool's attempts? (max_waiting alone bounds nothing.)"""
    return pace.rate is not None or pace.max_concurrency is not None


def _bucket(rate: Rate | None) -> "Bucket | None":
    if rate is None:
        return None
    # Imported here: only policies with rates pay for it.
    from gateway.state.bucket import Bucket

    return Bucket(rate)
