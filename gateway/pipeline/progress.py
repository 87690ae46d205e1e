"""What one call has been through so far; at its end this becomes the Record that observers see."""

from math import inf
from typing import Final, Protocol

from gateway.denial import Denial, Reason
from gateway.model import Decision, Moment, Outcome, Record, Remaining, Reply, ToolCall, Try
from gateway.pipeline.claims import Claim
from gateway.pipeline.limits import ATTEMPT, Limits, Timer
from gateway.policy.snapshot import Plan
from gateway.state.breaker import Trial
from gateway.state.pacing import Place
from gateway.state.run import Reservation

RESULT_WINDOW = 16 * 1024
"""Bytes of a streamed reply that are kept for the log: more than `max_logged_bytes` can ask for."""

_OK: Final = Reason.OK
_ALLOW: Final = Decision.ALLOW
"""Python 3.11 takes 100 ns to find a member of an enum."""


class GivenBack(Protocol):
    """One call's part of the fleet's counts (shared.py)."""

    def give_back(self) -> None:
        """Nothing of the call was sent. Safe to call twice, and before there is an answer."""
        ...


class Progress:
    """Mutable, owned by the pipeline, never shown outside it."""

    def __init__(self, call: ToolCall, plan: Plan | None, policy: str, limits: Limits) -> None:
        self.call = call
        self.plan = plan
        self.policy = policy
        self.limits = limits
        self.decision: Decision = _ALLOW
        self.timer: Timer = ATTEMPT
        """Which of the limits the running timer stands for."""
        self.report_reason: Reason | None = None
        self.candidate: str | None = None
        """How the other policy differs, while a candidate is on trial."""
        self.denial: Denial | None = None
        self.reason: Reason | None = None
        """Set where the end is no denial: ok, tool_error, client_gone."""
        self.reply: Reply | None = None
        self.remaining: Remaining | None = None
        self.attempts = 0
        self.began = 0.0
        """Loop time at which the latest attempt began; 0.0 where the fast lane began it, as long as it is the only one."""
        self.tries: list[Try] | None = None
        """The failed attempts that were followed by a retry, or by a retry's refusal."""
        self.sent = False
        """An attempt may have been seen by the upstream: the charge stays."""
        self.waited = 0.0
        self.reservation: Reservation | None = None
        self.share: GivenBack | None = None
        """The call's charge in the fleet's counts, where it has one."""
        self.claim: Claim | None = None
        """That this gateway performs it for all of a fleet (claims.py)."""
        self.asked_for = 0.0
        """Seconds that it took to ask the other gateways who performs it."""
        self.unclaimed = False
        """Nobody could be asked whether another gateway performs it."""
        self.place: Place | None = None
        """Among its tool's attempts at work; held until the reply is through."""
        self.performing = False
        """A task of its own is at work on the call, for others as well (pipeline/sharing.py)."""
        self.trial: Trial | None = None
        """What the last attempt will mean to its upstream's breaker; None once it has said its word."""
        self.room = 0
        """Bytes taken from the Buffers for what this call holds of its reply."""
        self.bytes_out = 0
        self.tunnelled = 0
        """Bytes that the caller sent through its tunnel."""
        self.errors: list[str] = []
        """Kinds of the attempts that failed."""
        self.window: list[bytes] = []
        """The first pieces of a streamed reply."""

    def forget_arguments(self) -> ToolCall:
        """They are judged. Parsed, they weigh many times their bytes, which alone are counted."""
        self.call = self.call._replace(arguments=None)
        return self.call

    def keep(self, piece: bytes) -> None:
        """Counts a piece of a streamed reply and remembers the first ones for the log."""
        if self.bytes_out < RESULT_WINDOW:
            self.window.append(piece)
        self.bytes_out += len(piece)

    def until(self, attempt: float = inf) -> float | None:
        """When the next timer fires, noting which one it is; `attempt`: when the attempt's own would."""
        when, self.timer = self.limits.first(attempt)
        return when

    def take(self, reply: Reply) -> None:
        """The call has a reply to pass on; a relayed 4xx or 5xx is the tool's own error. Where the body is whole the attempt is over,
        however slowly the caller reads.
        """
        self.reply = reply
        if reply.body is not None:
            self.step_back()
        self.bytes_out = len(reply.body or b"")
        self.reason = _OK if reply.status < 400 else Reason.TOOL_ERROR

    def leave(self) -> None:
        """The caller is gone: `client_gone`, unless it left with a denial, or with all that it asked for."""
        if self.denial is None and not (self.reply is not None and self.reply.answered):
            self.reason = Reason.CLIENT_GONE

    def step_back(self) -> None:
        """The attempt is over: gives its place to the next in the queue, and tells the breaker no more of it."""
        if self.place is not None:
            self.place.leave()
        if self.trial is not None:
            self.trial.forgotten()
        self.place = self.trial = None

    def trial_answered(self, *, whole: bool) -> None:
        """Tells the breaker of a good answer, or (not `whole`) of its head."""
        if self.trial is None:
            return
        if whole:
            self.trial.succeeded()
            self.trial = None
        else:
            self.trial.answered()

    def trial_failed(self, now: float, dice: float) -> None:
        """Tells the breaker that the upstream failed. `dice` in [0, 1): see Trial.failed."""
        if self.trial is not None:
            self.trial.failed(now, dice)
            self.trial = None

    def outcome(self) -> Outcome:
        """How the call stands, for the door."""
        denial, plan = self.denial, self.plan
        reason = self.reason or Reason.INTERNAL_ERROR if denial is None else denial.reason
        report = plan is not None and plan.report
        return Outcome(reason, self.policy, self.attempts, self.reply, denial, self.remaining, report)

    def let_pass(self, reason: Reason) -> None:
        """Report mode: a rule would have refused it. It is told as `report`, unless a rule refuses it that report mode does not soften."""
        self.report_reason = reason
        self.decision = Decision.REPORT

    def refuse(self, denial: Denial) -> None:
        """A door or a guard said no: nothing is dispatched."""
        self.denial = denial
        self.decision = Decision.DENY

    def fail(self, denial: Denial) -> None:
        """The call was admitted and failed, be it in the middle of the body."""
        self.denial = denial
        self.step_back()

    def tried(self, now: float) -> None:
        """An attempt has failed, and another is to follow."""
        if self.tries is None:
            self.tries = []
        self.tries.append(self._try(now))

    def judge_wait(self, now: float) -> None:
        """Before the answer: does the wait that a denial asks for end within the run?"""
        if self.denial is not None:
            self.denial = self.limits.within_run(self.denial, now)

    def _try(self, now: float) -> Try:
        return Try((self.began - self.call.started.mono) * 1000, (now - self.began) * 1000)

    def _all_tries(self, before: list[Try], now: float) -> tuple[Try, ...]:
        """The failed attempts, and the last one, where it was made after them."""
        return (*before, self._try(now)) if self.attempts > len(before) else tuple(before)

    def _result(self) -> bytes:
        """What the log may show of the reply."""
        if self.reply is not None and self.reply.private:
            return b""
        return b"".join(self.window) if self.reply is None or self.reply.body is None else self.reply.body

    def _end(self) -> Reason:
        """The reason of a call that ends without a denial."""
        if self.reason is _OK and self.reply is not None and self.reply.failed:
            return Reason.TOOL_ERROR
        return self.reason or Reason.INTERNAL_ERROR

    def record(self, now: Moment) -> Record:
        """The frozen summary. Called once, at the end."""
        call, plan, reply, denial, reservation = self.call, self.plan, self.reply, self.denial, self.reservation
        body = call.body
        whole = body if isinstance(body, bytes) else None
        return tuple.__new__(  # in its order: naming so many fields takes five times as long as filling them
            Record,
            (
                now,
                call.id,
                call.run.id or None,
                call.trace_id,
                call.args_hash or ("" if isinstance(body, bytes) else body.hexdigest()),
                (now.mono - call.started.mono) * 1000,
                self.waited * 1000,
                (len(body) if isinstance(body, bytes) else body.size) + self.tunnelled,
                self.bytes_out,
                reservation.spend if reservation is not None else 0,
                call.agent,
                call.door,
                call.tool,
                plan.effect if plan is not None else None,
                self.decision,
                self._end() if denial is None else denial.reason,
                None if denial is None else denial.stop_reason,
                reply.status if reply is not None else denial.status if denial is not None else None,
                self.attempts,
                tuple(self.errors) if self.errors else (),
                self.policy,
                self.candidate,
                self.report_reason,
                plan.upstream.name if plan is not None and plan.upstream is not None else None,
                None if denial is None else denial.detail,
                plan.rule if plan is not None else None,
                self.remaining,
                () if self.tries is None else self._all_tries(self.tries, now.mono),
                call.shown if call.shown is not None else whole or b"",
                f"{call.rest}?{call.query}" if call.query else call.rest,
                self._result(),
            ),
        )
