"""The only retry loop: send, judge what came back, wait, ask the live guards again, and so on until there is an answer."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.guards import judge_again
from gateway.model import Attempt, Denial, Moment, Reply, Target, UpstreamError
from gateway.pipeline import failures
from gateway.pipeline.limits import Timer
from gateway.pipeline.progress import Progress
from gateway.pipeline.retry import Failure, next_wait, retry_after, worth_retrying
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.inflight import Stopped, Wait

HELD_REPLY = 64 * 1024
"""Bytes: a reply announced up to this size is held until it is whole, so that a cut one can be retried or explained (SPEC 5)."""

Send = Callable[[Attempt, Plan, Target | None], Awaitable[Reply]]
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

    async def perform(self, progress: Progress, plan: Plan, wait: Wait) -> Reply | Denial:
        """A reply to pass on (its body whole or still arriving), or the denial that says why there is none."""
        while True:
            came_back: Reply | UpstreamError
            try:
                came_back = await self._attempt(progress, plan, wait)
            except UpstreamError as error:
                came_back = error
            except Stopped as stop:
                return failures.stopped_after_dispatch(stop.denial, plan) if progress.sent else stop.denial
            pause = self._next_wait(came_back, progress, plan)
            if pause is None:
                return failures.explain(came_back, plan) if isinstance(came_back, UpstreamError) else came_back
            if isinstance(came_back, Reply):
                came_back.close()
            objection = await self._pause(pause, progress, plan, wait)
            if objection:
                return objection

    async def _attempt(self, progress: Progress, plan: Plan, wait: Wait) -> Reply:
        """One try under its timers; a small reply is whole when this returns."""
        call, limits = progress.call, progress.limits
        progress.attempts += 1
        now = self._clock().mono
        headers = [*call.headers]
        if not plan.builtin:
            headers.append(("Tool-Gateway-Attempt", str(progress.attempts)))
            headers.append(("Tool-Gateway-Deadline-Ms", str(max(0, int(limits.left(now) * 1000)))))
        body = b"" if plan.builtin else call.body  # a fetch's body says where to go; nothing of it goes there
        attempt = Attempt(progress.attempts, call.method, call.target, headers, body)
        reply: Reply | None = None
        try:
            with wait.attempting(attempt, progress.until(now + plan.timeout)):
                reply = await self._send(attempt, plan, call.destination)
                if (reply.length or 0 if reply.body is None else len(reply.body)) > plan.max_response_bytes:
                    reply.close()
                    raise failures.response_too_large(plan)
                if reply.body is None and reply.length is not None and reply.length <= HELD_REPLY:
                    await self._hold(reply, progress, plan, wait)
                return reply
        except TimeoutError:
            silence = None if reply is None else plan.timeout
            error = failures.timed_out(_fired(progress, plan, reply), plan, sent=attempt.sent, silence=silence)
            progress.errors.append(error.kind)
            raise error from None
        except UpstreamError as error:
            progress.errors.append(error.kind)
            raise
        finally:
            progress.sent = progress.sent or attempt.sent

    async def _hold(self, reply: Reply, progress: Progress, plan: Plan, wait: Wait) -> None:
        """Reads a small body to its end: into the call's ROOM."""
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
        if isinstance(came_back, Reply) and not worth_retrying(came_back.status, plan):
            return None
        body, now = progress.call.body, self._clock()
        if isinstance(came_back, UpstreamError):
            failure = Failure(came_back.sent, came_back.kind)
        else:
            failure = Failure(True, None, came_back.status, retry_after(came_back, now.wall))
        if not isinstance(body, bytes) and body.started:
            return None  # the stream's first pieces are gone: it cannot be sent again
        return next_wait(failure, progress.attempts, plan, progress.limits.left(now.mono), self._dice())

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


def _fired(progress: Progress, plan: Plan, reply: Reply | None) -> Timer:
    """Which timer to name. Of a timeout and a deadline of the same length the deadline fires a moment earlier, since it started
    with the call: the attempt's timeout is named all the same (SPEC 11).
    """
    tie = plan.timeout == plan.deadline and progress.attempts == 1 and reply is None
    return Timer.ATTEMPT if tie and progress.timer is Timer.DEADLINE else progress.timer
