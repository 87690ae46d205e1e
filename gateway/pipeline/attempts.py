"""The only retry loop: send, judge what came back, wait, ask the live guards again, and so on until there is an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Final

from gateway.denial import Denial, Reason
from gateway.guards import judge_again
from gateway.guards.circuit import circuit_open
from gateway.guards.rate import never_had_turn, no_turn
from gateway.model import Attempt, Door, Moment, Reply, ToolCall, UpstreamError
from gateway.pipeline import failures
from gateway.pipeline.begun import Begun
from gateway.pipeline.health import speaks_against, speaks_for
from gateway.pipeline.limits import ATTEMPT, Timer
from gateway.pipeline.progress import Progress
from gateway.pipeline.retry import TOO_MANY_REQUESTS, Failure, next_wait, retry_after, worth_retrying
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.inflight import Stopped, Wait
from gateway.state.pacing import Pacer

HELD_REPLY: Final = 64 * 1024
"""Bytes: a reply announced up to this size is held until it is whole, so that a cut one can be retried or explained (SPEC 5)."""

NO_TURN = frozenset({Reason.CIRCUIT_OPEN, Reason.RATE_LIMITED, Reason.OVERLOADED})
"""Why an attempt is not let go without anybody's having stopped the call."""

Send = Callable[[Attempt, Plan, ToolCall], Awaitable[Reply]]
"""Makes one attempt. Raises UpstreamError; sets `attempt.sent` just before the first byte goes out."""


class Attempts:
    """Performs an admitted call. Holds no state of its own between calls."""

    def __init__(
        self,
        send: Send,
        counts: Counts,
        clock: Callable[[], Moment],
        dice: Callable[[], float],
    ) -> None:
        self._send = send
        self._counts = counts
        self._clock = clock
        self._dice = dice

    def begin(self, progress: Progress, plan: Plan, now: float) -> Attempt | None:
        """The first attempt, where nothing keeps it waiting. Whoever takes it sends it at once."""
        pacer = self._counts.pacers.of(plan.queue, plan.pace, newest=True)
        if pacer is not None or self._let_go(progress, plan, now) is not None:
            return None
        progress.attempts = 1
        return Attempt(1, progress.call.method, progress.call.target, [], progress.call.body)

    async def perform(self, progress: Progress, plan: Plan, wait: Wait, begun: Begun | None = None) -> Reply | Denial:
        """A reply to pass on (its body whole or still arriving), or the denial that says why there is none. `begun`: the first attempt is
        under way already.

        Until the call takes that reply or fails, its last attempt keeps its place among the tool's attempts and has not told the breaker
        everything: the body may yet break off.
        """
        came_back: Reply | UpstreamError | None = None
        while True:
            objection = None if begun is not None else await self._line_up(progress, plan, wait)
            if objection:
                return _rather(came_back, objection, progress, plan)
            came_back = None  # its body is let go before the next one comes
            try:
                came_back = await self._attempt(progress, plan, wait, begun)
            except UpstreamError as error:
                came_back = failures.as_value(error)
            except Stopped as stop:
                return stop.denial
            if progress.place is not None and isinstance(came_back, Reply):
                progress.place.answered()
            self.tell_breaker(came_back, progress, plan)
            begun = None
            pause = self._next_wait(came_back, progress, plan)
            if pause is None:
                return failures.explain(came_back, plan) if isinstance(came_back, UpstreamError) else came_back
            if isinstance(came_back, Reply):
                progress.errors.append(f"status_{came_back.status}")
                came_back.close()
            progress.tried(self._clock().mono)
            progress.step_back()
            objection = await self._pause(pause, progress, plan, wait)
            if objection:
                return objection

    async def _line_up(self, progress: Progress, plan: Plan, wait: Wait) -> Denial | None:
        """The tool's turn, then the upstream's breaker."""
        pacer = self._counts.pacers.of(plan.queue, plan.pace, newest=progress.attempts == 0)
        objection = None if pacer is None else await self._take_turn(pacer, progress, plan, wait)
        return objection or self._let_go(progress, plan, self._clock().mono)

    def _let_go(self, progress: Progress, plan: Plan, now: float) -> Denial | None:
        """Asks the upstream's breaker for the next attempt, which is made at once where nothing objects."""
        upstream = plan.upstream
        if upstream is not None:
            progress.trial = self._counts.breakers.begin(upstream.name, upstream.breaker, now)
            if progress.trial is None:
                return circuit_open(plan, self._counts.breakers.opens_in(upstream.name, now) or 1.0)
        if progress.attempts == 0:
            self._counts.retry_budgets.first(_upstream_of(plan), now)
        return None

    async def _take_turn(self, pacer: Pacer, progress: Progress, plan: Plan, wait: Wait) -> Denial | None:
        """Takes a place among the tool's attempts at work, or queues for one. Nothing is awaited between asking whether the queue is full
        and joining it, so it never grows longer than the policy allows.
        """
        now, limits = self._clock().mono, progress.limits
        objection = no_turn(pacer, plan, now, limits.deadline - now, limits.run - now)
        if objection and (plan.pace.held or objection.reason is not Reason.RATE_LIMITED):
            return objection
        until = progress.until()
        progress.place = pacer.enter(inf if until is None else until, now)
        if progress.place is not None:
            return None
        try:
            with wait.pausing(until):
                progress.place = await pacer.line_up(inf if until is None else until)
        except TimeoutError:
            after = self._clock().mono
            return never_had_turn(pacer, plan, after, limits.run - after, sent=progress.sent)
        except Stopped as stop:
            return stop.denial
        finally:
            progress.waited += self._clock().mono - now
        return judge_again(progress.call, plan, self._counts, self._clock())

    def tell_breaker(self, came_back: Reply | UpstreamError, progress: Progress, plan: Plan) -> None:
        """What the attempt says of the upstream's health. A body that is still arriving has yet to say it."""
        if speaks_against(came_back):
            progress.trial_failed(self._clock().mono, self._dice())
        elif isinstance(came_back, Reply):
            progress.trial_answered(whole=speaks_for(came_back, endless=plan.stream))

    def body_ended(self, progress: Progress, error: UpstreamError | None = None) -> None:
        """Tells the breaker how the body of a reply that was streamed has ended."""
        if error is None:
            progress.trial_answered(whole=True)
        elif speaks_against(error):
            progress.trial_failed(self._clock().mono, self._dice())

    async def _attempt(self, progress: Progress, plan: Plan, wait: Wait, begun: Begun | None) -> Reply:
        """One try, or the rest of one that has `begun`; a small reply is whole when this returns."""
        if begun is not None and begun.attempt.sent:
            return await self._await(begun.attempt, begun.exchange.arrive, progress, plan, wait, begun.at)
        if begun is not None:
            progress.attempts = 0  # what was begun was never made
        call, number, now = progress.call, progress.attempts + 1, self._clock().mono
        headers = [*call.headers]
        if not plan.builtin:
            left = max(0, int(progress.limits.left(now) * 1000))
            headers += [("Tool-Gateway-Attempt", str(number)), ("Tool-Gateway-Deadline-Ms", str(left))]
        body = b"" if call.door is Door.FETCH else call.body  # a fetch's own body only names the target
        attempt = Attempt(number, call.method, call.target, headers, body)
        return await self._await(attempt, partial(self._send, attempt, plan, call), progress, plan, wait, now)

    async def _await(
        self,
        attempt: Attempt,
        arrive: Callable[[], Awaitable[Reply]],
        progress: Progress,
        plan: Plan,
        wait: Wait,
        now: float,
    ) -> Reply:
        """Waits in `arrive` for the reply to an attempt that started `now`. Raises UpstreamError, or Stopped."""
        reply: Reply | None = None
        try:
            with wait.attempting(attempt, progress.until(now + plan.timeout)):
                progress.began = now
                progress.attempts = attempt.number  # a call that was stopped just before has made one less
                reply = await arrive()
                if (reply.length or 0 if reply.body is None else len(reply.body)) > plan.max_response_bytes:
                    reply.close()
                    raise failures.response_too_large(plan)
                if reply.body is None and reply.length is not None and reply.length <= HELD_REPLY:
                    await self._hold(reply, progress, plan, wait)
                return reply
        except TimeoutError:
            late = self._timed_out(now, attempt, reply, progress, plan)
            progress.errors.append(late.kind)
            raise late from None
        except UpstreamError as error:
            progress.errors.append(error.kind)
            raise
        except Stopped as stop:
            raise Stopped(failures.stopped_after_dispatch(stop.denial, plan)) if attempt.sent else stop from None
        finally:
            progress.sent = progress.sent or attempt.sent

    def _timed_out(
        self, began: float, attempt: Attempt, reply: Reply | None, progress: Progress, plan: Plan
    ) -> failures.TimedOut:
        """Which timer to name, and whether it speaks against the upstream: not while the caller may still be sending its body, and the
        call's deadline only where it left the attempt at least half of what one may take.

        Of a timeout and a deadline of the same length the deadline fires a moment earlier, since it started with the call: the
        attempt's timeout is named all the same (SPEC 11).
        """
        timer = progress.timer
        tie = plan.timeout == plan.deadline and progress.attempts == 1 and not progress.waited and reply is None
        if tie and timer is Timer.DEADLINE:
            timer = Timer.ATTEMPT
        silence = None if reply is None else plan.timeout
        error = failures.timed_out(timer, plan, sent=attempt.sent, silence=silence)
        if reply is None and not isinstance(attempt.body, bytes):
            error.upstreams_own = False
        elif timer is Timer.DEADLINE:
            error.upstreams_own = 2 * (self._clock().mono - began) >= min(plan.timeout, plan.deadline)
        return error

    async def _hold(self, reply: Reply, progress: Progress, plan: Plan, wait: Wait) -> None:
        """Reads a small body to its end, which the call's room has been taken for (Pipeline._make_room)."""
        if reply.chunks is None:
            return
        pieces = []
        try:
            async for piece in reply.chunks:
                pieces.append(piece)
                wait.reschedule(progress.until(self._clock().mono + plan.timeout))
        except BaseException:
            reply.close()
            raise
        reply.body = b"".join(pieces)

    def _next_wait(self, came_back: Reply | UpstreamError, progress: Progress, plan: Plan) -> float | None:
        """Seconds until the next attempt; None where the call, the breaker, the tool's pacer or the retry budget forbids one."""
        if isinstance(came_back, Reply) and came_back.status < 400:
            return None
        body, now, left = progress.call.body, self._clock(), progress.limits.left
        if isinstance(came_back, failures.TimedOut) and progress.timer is not ATTEMPT:
            return None  # a timer may fire a fraction of a millisecond early: nothing is begun in what is left then
        if isinstance(came_back, UpstreamError):
            failure = Failure(came_back.sent, came_back.kind)
        else:
            failure = Failure(True, None, came_back.status, retry_after(came_back, now.wall))
            if failure.status == TOO_MANY_REQUESTS and failure.retry_after is not None and not plan.builtin:
                # A fetch has many targets, and none of them can silence the others.
                self._counts.pacers.pause(plan.queue, failure.retry_after, now.mono)
            if not worth_retrying(came_back.status, plan):
                return None
        if not isinstance(body, bytes) and body.started:
            return None  # the stream's first pieces are gone: it cannot be sent again
        if progress.call.once and failure.sent and failure.status != TOO_MANY_REQUESTS:
            return None
        pause = next_wait(failure, progress.attempts, plan, left(now.mono), self._dice())
        if pause is None or self._held_back(plan, now.mono, left(now.mono)):
            return None
        at, percent = now.mono + pause, plan.retries.budget_percent
        return pause if self._counts.retry_budgets.take(_upstream_of(plan), at, now.mono, percent) else None

    def _held_back(self, plan: Plan, now: float, left: float) -> bool:
        """Would another attempt be refused? The answer that is there says more than a refusal to repeat it."""
        if plan.upstream is not None and self._counts.breakers.opens_in(plan.upstream.name, now) is not None:
            return True
        pacer = self._counts.pacers.find(plan.queue)
        return pacer is not None and plan.pace.held and pacer.turn(now) >= left

    async def _pause(self, seconds: float, progress: Progress, plan: Plan, wait: Wait) -> Denial | None:
        """Waits, then asks the guards that may have changed their mind."""
        before = self._clock().mono
        try:
            with wait.pausing():
                await asyncio.sleep(seconds)
        except Stopped as stop:
            return stop.denial
        finally:
            now = self._clock()
            progress.waited += now.mono - before
        return judge_again(progress.call, plan, self._counts, now)


def _upstream_of(plan: Plan) -> str:
    """Whose retry budget: a built-in tool counts as an upstream of its own, whatever hosts it reaches."""
    return plan.upstream.name if plan.upstream is not None else plan.tool


def _rather(
    came_back: Reply | UpstreamError | None, objection: Denial, progress: Progress, plan: Plan
) -> Reply | Denial:
    """What to answer when a retry that was decided on is refused its turn after all. What the attempt before it came back with says more
    than that refusal, where its body was kept. A kill or the run's end says more than either.
    """
    if came_back is None or objection.reason not in NO_TURN:
        return objection
    if isinstance(came_back, UpstreamError):
        return failures.explain(came_back, plan)
    if came_back.body is None:
        return objection
    progress.errors.pop()  # it is the answer
    return came_back
