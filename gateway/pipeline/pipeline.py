"""handle(): one call from admission to record. Guards, reservation, attempts, the door's answer, settlement; no protocol here.

Read `handle` first: what it calls stands below it, in the order of a call. The fast lane's calls, which have no task, come last.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.denial import Denial
from gateway.guards import REPLAY_GUARDS, Verdict, ask, judge
from gateway.model import Budgets, Moment, Observer, Outcome, Reply, RunKey, ToolCall
from gateway.pipeline import events, failures
from gateway.pipeline.attempts import HELD_REPLY, Attempts, Send
from gateway.pipeline.begun import Begun
from gateway.pipeline.claims import Claims
from gateway.pipeline.limits import Limits, limits_of
from gateway.pipeline.progress import Progress
from gateway.pipeline.shadow import CANARY, FAILED, Shadow, difference
from gateway.pipeline.shared import SharedCharges
from gateway.pipeline.sharing import Earlier, Sharing
from gateway.pipeline.streaming import End, Write, stream
from gateway.pipeline.tunnelling import Check, Join, carry
from gateway.policy.snapshot import Plan
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.inflight import Wait
from gateway.state.journal import Charge
from gateway.state.run import Run

R = TypeVar("R")


class OpenCall:
    """What a door is handed to answer with: the Outcome, and `pass_on` for a Reply whose body is still arriving."""

    __slots__ = ("_pipeline", "_progress", "_wait", "now", "outcome")

    def __init__(self, pipeline: "Pipeline", progress: Progress, wait: Wait | None, now: Moment) -> None:
        self._pipeline = pipeline
        self._progress = progress
        self._wait = wait
        self.outcome = progress.outcome()
        self.now = now
        """When it came to this."""

    async def pass_on(self, write: Write, end: End) -> None:
        """Streams the reply's body through `write` and its `end`, under the timers and kills of the call. Raises Cut."""
        plan, wait = self._progress.plan, self._wait
        if plan is not None and wait is not None:
            await self._pipeline.stream(self._progress, plan, wait, write, end)

    async def carry(self, check: Check, join: Join) -> None:
        """Holds a tunnel until both of its ends are closed, under the timers and kills of the call. Raises Cut."""
        plan, wait = self._progress.plan, self._wait
        if plan is not None and wait is not None:
            await self._pipeline.tunnel(self._progress, plan, wait, check, join)


Answer = Callable[[OpenCall], Awaitable[R]]


class Pipeline:
    """What all doors feed. Constructed once, by app.py."""

    def __init__(
        self,
        *,
        counts: Counts,
        buffers: Buffers,
        send: Send,
        observer: Observer,
        clock: Callable[[], Moment],
        dice: Callable[[], float],
    ) -> None:
        self._counts = counts
        self._buffers = buffers
        self._observer = observer
        self._clock = clock
        self._attempts = Attempts(send, counts, clock, dice)
        self._sharing = Sharing(counts, buffers, clock, self)
        self.shared: SharedCharges | None = None
        """Set by fleet.py, where counts are a fleet's."""

    def share_answers(self, claims: Claims) -> None:
        """From now on a call with an Idempotency-Key is performed once for all gateways of a fleet: `claims` says by which."""
        self._sharing.claims = claims

    async def handle(
        self, call: ToolCall, plan: Plan, policy: str, answer: Answer[R], shadow: Shadow | None = None
    ) -> R:
        """Judges, performs and answers one call, and settles it whatever happens. `policy` is the version it is judged by; `answer` is the
        door's: it writes what the OpenCall holds, while the call is still open. What it returns is returned.
        """
        progress = Progress(call, plan, policy, self._limits(call, plan))
        wait = None
        try:
            earlier = None if call.idempotency_key is None else await self._sharing.find(progress, plan)
            denial = self._admit(progress, plan, earlier, shadow)
            call = progress.call  # without its arguments
            if denial is not None:
                progress.refuse(denial)
            else:
                wait = self._counts.in_flight.enter(call, plan.effect)
                if earlier is not None:
                    await self._sharing.repeat(earlier, progress, plan, wait)
                elif call.idempotency_key is None:
                    await self.perform(progress, plan, wait)
                else:
                    await self._sharing.lead(progress, plan, wait)
            return await answer(self._open(progress, plan, wait))
        except (asyncio.CancelledError, ConnectionError):
            progress.leave()
            raise
        finally:
            if not progress.performing:  # else the task that is at work on it does so at its end
                self.settle(progress, wait)

    def _admit(self, progress: Progress, plan: Plan, earlier: Earlier | None, shadow: Shadow | None) -> Denial | None:
        """Asks the guards, then charges the call: nothing is awaited in between. A repeat of an `earlier` call is not charged."""
        call = progress.call
        if earlier is None:
            verdict = judge(call, plan, self._counts, call.started)
        else:
            verdict = ask(REPLAY_GUARDS, call, plan, self._counts, call.started)
        if verdict.report_reason is not None:
            progress.let_pass(verdict.report_reason)
        if shadow is not None and earlier is None:
            progress.candidate = self._compare(shadow, call, verdict)
        if call.arguments is not None:
            call = progress.forget_arguments()
        denial = verdict.denial
        if denial is None and earlier is not None and earlier.args_hash != call.args_hash:
            denial = failures.key_reused(plan)
        denial = denial or self._make_room(progress)
        if denial is None and earlier is None:
            return self._reserve(progress, plan)
        if denial is not None and plan.max_identical_calls:
            self._counts.ledger.refused(call.run, call.args_hash, denial)
        return denial

    def _compare(self, shadow: Shadow, call: ToolCall, verdict: Verdict, *, was_read: bool = True) -> str:
        """What the other policy would have said, in a word. It is only an opinion: whatever goes wrong with it, the call goes on."""
        try:
            return difference(shadow, call, verdict, self._counts, was_read=was_read)
        except Exception as error:  # noqa: BLE001  as said
            self.internal_error(call.id, error)
            return CANARY if shadow.canary else FAILED

    def _reserve(
        self, progress: Progress, plan: Plan, run: Run | None = None, *, gather: bool = False
    ) -> Denial | None:
        """Charges the call. Objects where the charge could not be written down and the policy insists on that (state.on_unavailable).

        `run` is what the ledger found, where it was asked already. `gather`: the journal writes the charge with others at its next flush,
        so that only `written` can say whether it is on disk.
        """
        call = progress.call
        identity = call.args_hash if plan.max_identical_calls else ""  # nobody asks for it
        charge = Charge(call.run, call.tool, plan.price(call.spend), call.step, call.started, identity)
        reservation = progress.reservation = self._counts.ledger.reserve(charge, plan.budgets, run, gather=gather)
        if reservation.started and not reservation.run.window:
            self.run_started(call.run, call.started)
        return None if reservation.durable or plan.allow_without_state else failures.not_durable()

    def _make_room(self, progress: Progress) -> Denial | None:
        """Takes the most that a call holds beside its request: a small reply whole, or what was read of a larger one and not passed on."""
        if not self._buffers.take(HELD_REPLY):
            return failures.no_memory()
        progress.room = HELD_REPLY
        return None

    async def perform(self, progress: Progress, plan: Plan, wait: Wait, begun: Begun | None = None) -> None:
        """Leaves a reply or a denial in `progress`."""
        try:
            if self.shared is not None and begun is None and not await self._charge_shared(self.shared, progress, plan):
                return
            result = await self._attempts.perform(progress, plan, wait, begun)
        except Exception as error:  # noqa: BLE001  the rim of the call: whatever it is, the caller gets an answer
            result = self.internal_error(progress.call.id, error)
        if isinstance(result, Denial):
            progress.fail(result)
        else:
            progress.take(result)

    async def _charge_shared(self, shared: SharedCharges, progress: Progress, plan: Plan) -> bool:
        """Charges the call in the fleet's counts as well. False, with the denial in `progress`, where they object. (A kill that comes while
        this waits is found when the attempt begins.)
        """
        denial = await shared.charge(progress, plan)
        if denial is not None:
            progress.refuse(denial)
            return False
        if progress.reservation is not None:  # the run may be older than it looked from here
            progress.limits = limits_of(progress.call, plan, progress.reservation.run)
        return True

    def _open(self, progress: Progress, plan: Plan, wait: Wait | None) -> OpenCall:
        """What the door answers with, once nothing more is tried."""
        self._refund_unsent(progress)  # before the answer tells what remains
        now = self._clock()
        progress.judge_wait(now.mono)
        progress.remaining = self._counts.ledger.remaining(progress.call.run, plan.budgets, now)
        return OpenCall(self, progress, wait, now)

    async def stream(self, progress: Progress, plan: Plan, wait: Wait, write: Write, end: End) -> None:
        """The body of a reply, piece by piece. Raises Cut."""
        await stream(self._attempts, self._clock, progress, plan, wait, write, end)

    async def tunnel(self, progress: Progress, plan: Plan, wait: Wait, check: Check, join: Join) -> None:
        """Both ways, until it closes. A tunnel holds a piece for each end at most, so the call's room is given back. Raises Cut."""
        if progress.reply is None or progress.reply.tunnel is None:
            return
        self._buffers.give(progress.room)
        progress.room = 0
        await carry(progress, plan, wait, progress.reply.tunnel, self._clock, check, join)

    def settle(self, progress: Progress, wait: Wait | None, now: Moment | None = None) -> None:
        """Gives everything back and tells the observers. Must not raise, must not wait."""
        call, now = progress.call, now or self._clock()
        if progress.reply is not None:
            progress.reply.close()
        if call.idempotency_key is not None:
            self._sharing.forget(progress)
        if wait is not None:
            self._counts.in_flight.leave(wait, now.mono)
        progress.step_back()
        self._refund_unsent(progress)
        self._buffers.give(progress.room + (len(call.body) if isinstance(call.body, bytes) else 0))
        if progress.denial is not None:
            ended = self._counts.ledger.exhaust(call.run, progress.denial.reason, now)
            if ended is not None:
                self.run_finished(ended, now)
        self._observer.call_ended(progress.record(now))

    def _refund_unsent(self, progress: Progress) -> None:
        """Nothing was sent: the call is not charged. A reservation is refunded once, however often this is asked."""
        if progress.reservation is not None and not progress.sent:
            self._counts.ledger.refund(progress.reservation, progress.denial)
            if progress.share is not None:
                progress.share.give_back()

    # -- calls that are judged and not performed

    def refuse(
        self, call: ToolCall, plan: Plan | None, policy: str, denial: Denial, shadow: Shadow | None = None
    ) -> Outcome:
        """A door said no before the guards were asked: logged like any other denial, and settled."""
        limits = Limits(call.started.mono) if plan is None else self._limits(call, plan)
        progress = Progress(call, plan, policy, limits)
        progress.refuse(denial)
        progress.judge_wait(call.started.mono)
        if shadow is not None:
            progress.candidate = self._compare(shadow, call, Verdict(denial, None), was_read=False)
        if plan is not None:
            progress.remaining = self._counts.ledger.remaining(call.run, plan.budgets, call.started)
        self.settle(progress, None)
        return progress.outcome()

    def rehearse(self, call: ToolCall, plan: Plan, policy: str) -> Progress:
        """Judges and charges a call of the past as `handle` does (replay.py). It is not performed; `settle` it for when it ended."""
        progress = Progress(call, plan, policy, self._limits(call, plan))
        denial = self._admit(progress, plan, None, None)
        if denial is not None:
            progress.refuse(denial)
        return progress

    # -- calls whose first attempt is begun without a task (begun.py): `begin`, then one of `withdraw`, `complete`, `resume` and `abandon`

    def begin(self, call: ToolCall, plan: Plan, policy: str) -> Begun | None:
        """Judges and charges a call as `handle` does, and leaves it to the caller to send the first attempt: after `written`, which says
        that the charge is on disk. Nothing is awaited, so no task is needed.

        None, with nothing changed, where a guard objects or something has to be waited for: `handle` comes to the same and explains it.
        """
        if self.shared is not None and self.shared.concerns(call, plan):
            return None
        run = self._counts.ledger.find(call.run, plan.budgets, call.started)
        verdict = judge(call, plan, self._counts, call.started, run)
        if verdict.denial is not None or verdict.report_reason is not None:
            return None
        progress = Progress(call, plan, policy, limits_of(call, plan, run))
        if self._make_room(progress) is not None:
            return None
        try:
            attempt = self._attempts.begin(progress, plan, call.started.mono)
            if attempt is not None:
                self._reserve(progress, plan, run, gather=True)
        except BaseException:
            self._undo(progress)
            raise
        if attempt is None:
            self._undo(progress)
            return None
        if call.arguments is not None:
            call = progress.forget_arguments()
        wait = self._counts.in_flight.enter(call, plan.effect)
        wait.begin(attempt)
        return Begun(progress, plan, wait, attempt, call.started.mono)

    def written(self) -> bool:
        """Writes down the charges of all calls begun since the last time. False: `withdraw` those that must not go on without."""
        return self._counts.ledger.journal.flush()

    def withdraw(self, begun: Begun) -> None:
        """Takes a begun call back: its charge could not be written down. Nothing of it was sent, and `handle` may take it anew."""
        progress = begun.progress
        begun.exchange.abort()
        progress.refuse(failures.not_durable())  # so that the loop guard does not count it: `handle` makes it again
        if progress.reservation is not None:
            progress.reservation.durable = False
        self._undo(progress)
        self._buffers.give(begun.size)
        self._counts.in_flight.leave(begun.wait, self._clock().mono)

    def _undo(self, progress: Progress) -> None:
        """Gives back what a call holds of which nothing was sent: its place and trial, its charge, its room."""
        progress.step_back()
        self._refund_unsent(progress)
        self._buffers.give(progress.room)

    def complete(self, begun: Begun, reply: Reply, body: bytes, now: Moment) -> Outcome | None:
        """A begun call's reply is whole. The Outcome to answer with, after which the caller settles it; None where the reply may lead to a
        retry or a denial, so that the call has to go on in `resume`.
        """
        progress, plan = begun.progress, begun.plan
        if begun.wait.stopped is not None or reply.status >= 400 or len(body) > plan.max_response_bytes:
            return None
        progress.sent = True
        progress.trial_answered(whole=True)
        progress.take(reply)
        progress.remaining = self._counts.ledger.remaining(progress.call.run, plan.budgets, now)
        return progress.outcome()

    async def resume(self, begun: Begun, answer: Answer[R]) -> R:
        """Goes on with a begun call in a task: waits for its first attempt, repeats it where that is due, and answers as `handle` does."""
        progress, plan, wait = begun.progress, begun.plan, begun.wait
        try:
            await self.perform(progress, plan, wait, begun)
            return await answer(self._open(progress, plan, wait))
        except (asyncio.CancelledError, ConnectionError):
            progress.leave()
            raise
        finally:
            begun.exchange.abort()
            self.settle(progress, wait)

    def abandon(self, begun: Begun) -> None:
        """Ends a begun call whose caller is gone."""
        begun.exchange.abort()
        progress = begun.progress
        progress.sent = begun.attempt.sent
        if not progress.sent:
            progress.attempts = 0  # what was begun was never made
        progress.leave()
        self.settle(progress, begun.wait)

    # -- what observers are told beside the calls

    def internal_error(self, call_id: str, error: BaseException | None) -> Denial:
        """A fault of ours: the log learns the place, the caller which call to report."""
        self._observer.happened(events.internal_error(call_id, error, self._clock()))
        return failures.internal_error(call_id)

    def run_started(self, key: RunKey, now: Moment) -> None:
        """Tells the observers of a run's first call or step."""
        self._observer.happened(events.run_started(key, now))

    def run_finished(self, run: Run, now: Moment) -> None:
        """Tells the observers that a run has ended, with its totals."""
        self._observer.happened(events.run_finished(run, now))

    async def knows_end(self, key: RunKey, budgets: Budgets) -> bool:
        """Does every gateway that might take a call of the run know that it has ended here?"""
        return self.shared is None or await self.shared.knows_end(key, budgets)

    def _limits(self, call: ToolCall, plan: Plan) -> Limits:
        return limits_of(call, plan, self._counts.ledger.find(call.run, plan.budgets, call.started))
