"""Calls between admission and settlement, and how a kill reaches them wherever they wait. Which ones it reaches, guards decide."""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Protocol

from gateway.denial import Denial, Reason
from gateway.model import Attempt, Effect, ToolCall, Tunnel

Objection = Callable[[ToolCall, Effect], Denial | None]

CUT_BY_SHUTDOWN = Denial(
    Reason.DRAINING,
    "The gateway was shut down while this call was at work; it takes calls again once it is back.",
    retry_after=5.0,
)


class Stopped(Exception):
    """The call was stopped from outside: an operator's kill, or the shutdown."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.reason)
        self.denial = denial


class Interruptible(Protocol):
    """What a call waits in: a Limit of its task, or the fast lane, where it has no task."""

    def interrupt(self) -> None:
        """The call was stopped: ends the wait soon."""
        ...

    def reschedule(self, when: float | None) -> None:
        """Moves its timer to `when` (loop time; None: never)."""
        ...


class Wait:
    """One call in flight. All its waiting happens inside a scope of this object, so that it can be ended from outside."""

    __slots__ = ("_attempt", "call", "effect", "heard", "joined", "scope", "stopped", "tunnel")

    def __init__(self, call: ToolCall, effect: Effect) -> None:
        self.call = call
        self.effect = effect
        self.stopped: Denial | None = None
        """Set once; from then on every scope of this call raises Stopped."""
        self.heard: float | None = None
        """Loop time of the last piece of a reply that streams; None while the call is at work otherwise."""
        self.joined: Wait | None = None
        """The call that is performed for this one as well; None: it is performed itself."""
        self.tunnel: Tunnel | None = None
        """Through which bytes pass without the call's task: it says itself when it heard one."""
        self._attempt: Attempt | None = None
        self.scope: Interruptible | None = None
        """The innermost one the call is in."""

    @property
    def waiting(self) -> bool:
        """Nothing is open at an upstream: the call is between two attempts, or its attempt still queues for a connection."""
        if self.joined is not None:
            return self.joined.waiting
        return self._attempt is None or not self._attempt.sent

    @property
    def last_heard(self) -> float | None:
        """Like `heard`, of a tunnel as well."""
        return self.heard if self.tunnel is None else self.tunnel.heard

    def attempting(self, attempt: Attempt, when: float | None) -> "Limit":
        """A scope for one attempt."""
        self.begin(attempt)
        return Limit(self, when)

    def begin(self, attempt: Attempt) -> None:
        """An attempt. The call is not waiting from its first byte on, until it pauses: its reply may stream."""
        self._attempt, self.heard = attempt, None

    def pausing(self, when: float | None = None) -> "Limit":
        """A scope for a wait before an attempt, with nothing open at an upstream. Raises TimeoutError at `when` (loop time)."""
        self._attempt = None
        return Limit(self, when)

    def limit(self, when: float | None) -> "Limit":
        """A scope for a reply that streams. Like the others it raises TimeoutError at `when` (loop time; None: never), and
        Stopped when the call is stopped.
        """
        self.heard = asyncio.get_running_loop().time()
        return Limit(self, when)

    def reschedule(self, when: float | None) -> None:
        """Moves the innermost scope's timer, after each piece of a reply. Raises Stopped where the call was stopped."""
        if self.heard is not None:
            self.heard = asyncio.get_running_loop().time()
        if self.scope is not None:
            self.scope.reschedule(when)

    def stop(self, denial: Denial) -> None:
        """Ends the wait the call is in, at its next chance. Only the first denial counts."""
        if self.stopped is None:
            self.stopped = denial
            if self.scope is not None:
                self.scope.interrupt()


class Limit:
    """What asyncio.Timeout does, fired early by a stop, at a fraction of its price: it is entered and left without a coroutine.

    It keeps count of cancellations, so that a caller's leaving, which cancels the task too, is never taken for a timeout: where both
    come at once, CancelledError wins.
    """

    __slots__ = ("_cancelling", "_fired", "_outer", "_task", "_timer", "_wait", "_when")

    def __init__(self, wait: Wait, when: float | None) -> None:
        self._wait = wait
        self._when = when
        self._timer: asyncio.Handle | None = None
        self._fired = False
        self._outer: Interruptible | None = None

    def __enter__(self) -> "Limit":
        if self._wait.stopped is not None:
            raise Stopped(self._wait.stopped)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call's waits belong to its task")
        self._task = task
        self._cancelling = task.cancelling()
        if self._when is not None:
            self._timer = task.get_loop().call_at(self._when, self._fire)
        self._outer, self._wait.scope = self._wait.scope, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait.scope = self._outer
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fired and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise (TimeoutError() if self._wait.stopped is None else Stopped(self._wait.stopped)) from None

    def reschedule(self, when: float | None) -> None:
        """Raises Stopped: a timer moved after the stop would undo it."""
        if self._wait.stopped is not None:
            raise Stopped(self._wait.stopped)
        if not self._fired:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None if when is None else self._task.get_loop().call_at(when, self._fire)

    def interrupt(self) -> None:
        """Fires the timer now. Where it has fired already, leaving the scope finds the call stopped."""
        if not self._fired:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._task.get_loop().call_soon(self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._fired = True
        self._task.cancel()


class InFlight:
    """Every call between admission and settlement. Beside them, and not counted: streams that only listen for what may come."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self._listening: set[Wait] = set()
        self._last_left = -inf

    def __len__(self) -> int:
        return len(self._waits)

    def enter(self, call: ToolCall, effect: Effect, *, listens: bool = False) -> Wait:
        """Raises nothing: whether there is room is a guard's question. `listens`: it takes no call's place, no shutdown waits for it."""
        wait = Wait(call, effect)
        (self._listening if listens else self._waits).add(wait)
        return wait

    def leave(self, wait: Wait, now: float) -> None:
        """Settled at `now` (loop time). Safe to call twice."""
        self._waits.discard(wait)
        self._listening.discard(wait)
        self._last_left = now

    def quiet_for(self, now: float) -> float:
        """Seconds (`now`: loop time) without a call in flight, where a stream counts as one only when a piece of it arrives."""
        at_work = (now if (heard := wait.last_heard) is None else heard for wait in self._waits)
        listening = (-inf if wait.heard is None else wait.heard for wait in self._listening)
        return now - max(self._last_left, *at_work, *listening, -inf)

    def found(self, objection: Objection) -> list[Wait]:
        """Those in flight that would be objected to. None is stopped."""
        return [wait for wait in self._waits if objection(wait.call, wait.effect) is not None]

    def interrupt(self, objection: Objection, *, cancel_in_flight: bool) -> None:
        """Stops the calls objected to: those that wait always, those at work only with `cancel_in_flight`."""
        for wait in self._waits | self._listening:
            if wait.stopped is None and (cancel_in_flight or wait.waiting):
                denial = objection(wait.call, wait.effect)
                if denial is not None:
                    wait.stop(denial)

    def cut_all(self) -> None:
        """The shutdown's last act: whatever still runs ends as `draining`."""
        for wait in self._waits | self._listening:
            wait.stop(CUT_BY_SHUTDOWN)
