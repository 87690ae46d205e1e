"""One performance of a call for all that carry its Idempotency-Key: who leads it, who joins it, when it ends. What stays of it is kept by
state/idempotency.py.

The performance belongs to its first call: to that call's charge, deadline and run. What ends it there ends it for all that joined; whoever
leaves by itself (client gone, its own run's end, a kill of its run) takes nothing from the rest. The last one to leave ends the attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.denial import Denial, Reason
from gateway.guards import REPLAY_GUARDS, ask, judge_again
from gateway.model import Attempt, Moment, Reply, ToolCall
from gateway.pipeline import failures
from gateway.pipeline.attempts import HELD_REPLY
from gateway.pipeline.claims import Claims
from gateway.pipeline.failures import Cut
from gateway.pipeline.holding import LARGEST_SHARED, CannotHold, Held, again
from gateway.pipeline.lingering import Lingering
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.ended import Elsewhere, Ended, Silence
from gateway.state.idempotency import AnswerKey, KeptAnswer
from gateway.state.inflight import Stopped, Wait

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that say "not now": the next call may fare better, so they answer no later one."""


class Performance:
    """A call at work in a task of its own, so that no caller's leaving takes it along while others wait."""

    __slots__ = ("callers", "denial", "led", "plan", "progress", "task", "wait")

    def __init__(self, progress: Progress, plan: Plan, wait: Wait) -> None:
        self.progress = progress
        """The first call's."""
        self.plan = plan
        self.wait = wait
        self.callers = 1
        self.led = True
        """The first caller is still among them."""
        self.denial: Denial | None = None
        """How it ended, where it came to no reply: as all are told it."""
        self.task: asyncio.Task[None]

    @property
    def args_hash(self) -> str:
        """Which call it is."""
        return self.progress.call.args_hash

    @property
    def sent(self) -> bool:
        """May the upstream have seen a byte?"""
        return self.progress.sent or not self.wait.waiting


Earlier = KeptAnswer | Performance | Ended | Elsewhere
"""What a call may find under its key."""


class Stages(Protocol):
    """What the pipeline does to every call, and here in a task of its own."""

    async def perform(self, progress: Progress, plan: Plan, wait: Wait) -> None: ...

    async def stream(
        self,
        progress: Progress,
        plan: Plan,
        wait: Wait,
        write: Callable[[bytes], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> None: ...

    def settle(self, progress: Progress, wait: Wait | None) -> None: ...

    def internal_error(self, call_id: str, error: BaseException | None) -> Denial: ...


class Sharing:
    """All performances in flight. Constructed once, by the pipeline."""

    def __init__(self, counts: Counts, buffers: Buffers, clock: Callable[[], Moment], stages: Stages) -> None:
        self._counts = counts
        self._buffers = buffers
        self._clock = clock
        self._stages = stages
        self.claims: Claims | None = None
        """Where gateways share their state."""
        self._at_work: dict[AnswerKey, Performance] = {}
        self._lingering = Lingering()

    async def find(self, progress: Progress, plan: Plan) -> Earlier | None:
        """An earlier call with this one's key, at work or answered. Where gateways share their state all of them are asked, but not about
        a call that is refused anyway; a gateway by itself awaits nothing here.
        """
        call = progress.call
        earlier = self._find_here(call)
        if earlier is not None or self.claims is None or call.lingers:
            return earlier
        if ask(REPLAY_GUARDS, call, plan, self._counts, call.started).denial is not None:
            return None
        began = self._clock().mono
        found = await self.claims.claim(
            _key_of(call), call.id, call.args_hash, safe=plan.repeatable, alone=plan.allow_without_state
        )
        progress.asked_for = self._clock().mono - began
        if isinstance(found, Elsewhere | Ended):
            return self._find_here(call) or found
        progress.claim, progress.unclaimed = found, found is None
        return self._find_here(call)

    def _find_here(self, call: ToolCall) -> Earlier | None:
        key = _key_of(call)
        earlier = self._at_work.get(key) or self._lingering.find(key)
        return earlier or (None if call.lingers else self._counts.answers.find(key, call.started))

    async def lead(self, progress: Progress, plan: Plan, wait: Wait) -> None:
        """The first call: has it performed, and waits until `progress` tells how it ended. No await comes before others can join."""
        if progress.unclaimed:
            progress.refuse(failures.not_claimed())
            return
        performance = self._at_work[_key_of(progress.call)] = Performance(progress, plan, wait)
        if progress.claim is not None:
            progress.claim.unwatched = lambda: self._end_unwanted(performance)
        progress.performing = True
        performance.task = asyncio.create_task(self._run(performance))
        try:
            await asyncio.wait((performance.task,))
        except asyncio.CancelledError:
            performance.led = False
            self._leave(performance)
            raise

    async def repeat(self, earlier: Earlier, progress: Progress, plan: Plan, wait: Wait) -> None:
        """A later one: leaves in `progress` the first one's answer, or why it cannot have it."""
        if isinstance(earlier, Performance):
            answer = await self._join(earlier, progress, plan, wait)
        elif isinstance(earlier, Elsewhere):
            answer = await self._hear(earlier, progress, plan, wait)
        elif isinstance(earlier, Ended):
            answer = self._share(earlier, progress.call, plan)
        else:
            answer = earlier.reply()
        if isinstance(answer, Reply):
            answer = self._room_for(answer, progress) or answer
        if isinstance(answer, Denial):
            progress.fail(answer)
        else:
            progress.take(answer)
            progress.reason = Reason.DEDUP

    def forget(self, progress: Progress) -> None:
        """The first call is over: nobody can join it any more. Safe to call twice, and for calls that led nothing."""
        key, sent = _key_of(progress.call), progress.sent
        performance = self._at_work.get(key)
        if performance is not None and performance.progress is progress:
            del self._at_work[key]
            sent = performance.sent
        if progress.claim is not None:
            progress.claim.release(_end_of(progress, progress.denial, sent=sent))

    async def _run(self, performance: Performance) -> None:
        """The performance from its first attempt to its end. A reply that cannot be held is left to its first caller to stream."""
        progress, plan, wait = performance.progress, performance.plan, performance.wait
        try:
            await self._stages.perform(progress, plan, wait)
            await self._hold(progress, plan, wait)
        except asyncio.CancelledError:
            progress.leave()
            raise
        except Exception as error:  # noqa: BLE001  the rim of the task, as the pipeline is that of the call
            progress.fail(self._stages.internal_error(progress.call.id, error))
        finally:
            performance.denial = progress.denial
            progress.performing = False
            reply = progress.reply
            kept = self._keep(progress)
            streams = performance.led and reply is not None and reply.body is None
            if progress.claim is not None and (kept or streams):
                progress.claim.tell(_end_of(progress, progress.denial, sent=True), kept=kept)
            if not streams:
                self.forget(progress)
            if progress.call.lingers and progress.sent:
                ended = _end_of(progress, progress.denial, sent=performance.sent)
                self._lingering.keep(_key_of(progress.call), ended)
            if not performance.led:
                self._stages.settle(progress, wait)

    async def _hold(self, progress: Progress, plan: Plan, wait: Wait) -> None:
        """Reads a reply that may be shared to its end. One that proves too long is a stream again, none of it lost."""
        reply = progress.reply
        if reply is None or reply.chunks is None or reply.body is not None:
            return
        if plan.stream or reply.event_stream or (reply.length or 0) > LARGEST_SHARED:
            return
        held = Held(self._buffers, progress)
        try:
            await self._stages.stream(progress, plan, wait, held.write, held.end)
            reply.body = b"".join(held.pieces)
            progress.step_back()  # nothing is at work for the call any more
        except Cut:
            reply.close()
            progress.reply = None
        except CannotHold:
            reply.chunks = again(held.pieces, reply.chunks)
        if reply.body is None:
            progress.bytes_out = 0
            progress.window.clear()

    def _keep(self, progress: Progress) -> bool:
        reply, call = progress.reply, progress.call
        if progress.denial is not None or reply is None or reply.body is None or len(reply.body) > LARGEST_SHARED:
            return False
        kept = reply.status < 300 or (400 <= reply.status < 500 and reply.status not in PASSING)
        if kept and not call.lingers:
            now = self._clock()
            answer = KeptAnswer(_key_of(call), call.args_hash, now, reply.status, reply.headers, reply.body)
            self._counts.answers.keep(answer)
        return kept

    async def _join(self, performance: Performance, progress: Progress, plan: Plan, wait: Wait) -> Reply | Denial:
        """Waits for the end of a performance, or for this caller's own."""
        performance.callers += 1
        wait.joined = performance.wait
        try:
            with wait.pausing(progress.until()):
                await asyncio.wait((performance.task,))
        except TimeoutError:
            return failures.explain(failures.timed_out(progress.timer, plan, sent=performance.sent), plan)
        except Stopped as stop:
            return failures.stopped_after_dispatch(stop.denial, plan) if performance.sent else stop.denial
        finally:
            self._leave(performance)
        return self._share(
            _end_of(performance.progress, performance.denial, sent=performance.sent), progress.call, plan
        )

    async def _hear(self, elsewhere: Elsewhere, progress: Progress, plan: Plan, wait: Wait) -> Reply | Denial:
        """Waits for the end of a performance at another gateway, which may have been sent, or for this caller's own."""
        try:
            with wait.attempting(Attempt(0, "", "", [], b"", sent=True), progress.until()):
                ended = await elsewhere.end()
        except TimeoutError:
            return failures.explain(failures.timed_out(progress.timer, plan, sent=True), plan)
        except Stopped as stop:
            return failures.stopped_after_dispatch(stop.denial, plan)
        if ended is Silence.UNMADE:
            return failures.ended_with(failures.CALLERS, plan, sent=False)
        if isinstance(ended, Silence):
            return failures.not_heard(plan, gone=ended is Silence.GONE)
        return self._share(ended, progress.call, plan)

    def _leave(self, performance: Performance) -> None:
        performance.callers -= 1
        self._end_unwanted(performance)

    def _end_unwanted(self, performance: Performance) -> None:
        """Does anybody wait for it still?"""
        progress = performance.progress
        watched = progress.claim is not None and progress.claim.watched
        if not performance.callers and not watched and not progress.call.lingers:
            performance.task.cancel()  # of no effect on one that is done
            self.forget(progress)  # whoever comes now must not be cut with it

    def _share(self, ended: Ended, call: ToolCall, plan: Plan) -> Reply | Denial:
        """What the end of a performance is to one that joined it."""
        denial = ended.denial
        if denial is None:
            reply = ended.reply
            if reply is None or reply.body is None:
                return failures.not_shared(plan)
            return Reply(reply.status, reply.headers, reply.body)
        if denial.stop_reason is None or ended.run == call.run:
            return denial
        # It may speak of the first call's run alone: this one's is asked for itself.
        objection = judge_again(call, plan, self._counts, self._clock())
        return objection or failures.ended_with(failures.RUN, plan, sent=ended.sent)

    def _room_for(self, reply: Reply, progress: Progress) -> Denial | None:
        more = len(reply.body or b"") - HELD_REPLY
        if more <= 0:
            return None
        if not self._buffers.take(more):
            return failures.no_memory()
        progress.room += more
        return None


def _end_of(progress: Progress, denial: Denial | None, *, sent: bool) -> Ended:
    """What those that joined it are told: with a body that is whole, or none."""
    call, plan, reply = progress.call, progress.plan, progress.reply
    if reply is not None:
        reply = Reply(reply.status, reply.headers, reply.body)
    elif denial is None and plan is not None:
        denial = failures.ended_with(failures.CALLERS, plan, sent=sent)
    return Ended(call.id, call.args_hash, call.run, denial, reply, sent)


def _key_of(call: ToolCall) -> AnswerKey:
    return AnswerKey(call.agent, call.tool, call.idempotency_key or "")
