"""Calls of the past under another policy: the pipeline's own guards and charges, with the recorded times as the clock. Nothing is sent."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache, partial
from heapq import heappop, heappush
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import REPLAY_GUARDS, Verdict, ask, judge
from gateway.model import (
    Attempt,
    Door,
    Effect,
    Event,
    KillSwitch,
    Moment,
    Record,
    Reply,
    RunKey,
    Scope,
    Source,
    Target,
    ToolCall,
)
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.progress import Progress
from gateway.policy.plans.tools import FETCHED
from gateway.policy.snapshot import Plan, Snapshot
from gateway.policy.targets import parse_target, parse_tunnel
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.switches import Switches

AS_RECORDED = frozenset(
    {
        Reason.INVALID_REQUEST,
        Reason.UNAUTHENTICATED,
        Reason.REQUEST_TOO_LARGE,
        Reason.OVERLOADED,
        Reason.CIRCUIT_OPEN,
        Reason.DRAINING,
        Reason.STATE_UNAVAILABLE,
        Reason.INTERNAL_ERROR,
    }
)
"""Refusals for what was so at the time, whatever the policy: they are refused again."""
_BY_ARGUMENTS = frozenset({Reason.ARGUMENTS_NOT_ALLOWED, Reason.EGRESS_NOT_ALLOWED})
_BOUNDLESS = 1 << 60


class Recorded(NamedTuple):
    """What the log tells of a call."""

    at: float
    """Unix time of its start."""
    refused: bool
    """By a rule or a door; a call that was let pass and failed was not."""
    ended: float
    call_id: str
    run: RunKey
    tool: str
    door: Door
    effect: Effect | None
    args_hash: str
    reason: Reason
    reported: Reason | None
    cost: int
    """Micro-USD, as charged."""
    policy: str
    unsent: bool
    """It was admitted and nothing of it was sent: the charge was given back when it ended."""
    target: str | None
    """Where a sampled line tells it."""


class RunEnded(NamedTuple):
    """An agent finished its run, or an operator stopped it: that does not depend on the policy."""

    at: float
    run: RunKey
    stop_reason: str
    stopped: bool


class Switched(NamedTuple):
    """A kill switch that is none of policy.yaml went on or off."""

    at: float
    switch: KillSwitch
    on: bool


Happened = Recorded | RunEnded | Switched


class Replayed(NamedTuple):
    """What becomes of a call under the policy."""

    call: Recorded
    denial: Denial | None
    """Refused by a rule of the policy."""
    reported: Reason | None
    """`mode: report` lets it pass and tells this."""
    unknown: str | None
    """Everything else lets it pass, but this rule, which cannot be asked: `arguments`, `destination`, `steps` or `rate`."""
    again: bool
    """Refused as it was, for a cause that no policy decides."""
    rule: str
    """What of the policy refuses or reports it, as an operator would look for it; "" where nothing does."""


class Replay:
    """Takes what happened in the order of time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._now = Moment(0.0, 0.0)
        self.counts = Counts(_BOUNDLESS, switches=Switches(snapshot.switches))
        self._pipeline = Pipeline(
            counts=self.counts,
            buffers=Buffers(_BOUNDLESS),
            send=_nothing_is_sent,
            observer=_Nobody(),
            clock=lambda: self._now,
            dice=lambda: 0.0,
        )
        self._switches: dict[tuple[Source, Scope], KillSwitch] = {}
        self._unsent: list[tuple[float, int, Progress]] = []
        self._plan = lru_cache(maxsize=65_536)(partial(_plan_of, snapshot))
        self._rule = lru_cache(maxsize=65_536)(lambda reason, plan: snapshot.rule(reason, plan).text or reason.value)

    def call(self, recorded: Recorded) -> Replayed:
        """Judges it, and charges it where it is let pass."""
        self._pass_to(recorded.at)
        plan, has_schema = self._plan(recorded.run.agent, recorded.tool, recorded.effect)
        call = _call_of(recorded, plan, self._now)
        unknown = self._unknown(recorded, plan, call, has_schema=has_schema)
        again = self._refused_again(recorded)
        if again or recorded.reason is Reason.DEDUP or (unknown is not None and _would_stay_refused(recorded)):
            verdict = self._ask(recorded, call, plan)
        else:
            verdict = self._admit(recorded, call, plan)
        denial, reported = verdict
        return Replayed(
            recorded,
            denial,
            reported,
            unknown=None if denial or again else unknown,
            again=again and denial is None,
            rule="" if denial is None and reported is None else self._rule_of(denial, reported, call, plan),
        )

    def ended(self, end: RunEnded) -> None:
        """Later calls of the run are refused, as they were."""
        self._pass_to(end.at)
        if end.stopped:
            self.counts.ledger.stop(end.run, self._now)
        else:
            self.counts.ledger.finish(end.run, end.stop_reason, self._now)

    def switched(self, flip: Switched) -> None:
        """Beside the policy's own switches, which are those of the new one."""
        self._pass_to(flip.at)
        name = flip.switch.source, flip.switch.scope
        if flip.on:
            self._switches[name] = flip.switch
        else:
            self._switches.pop(name, None)
        held = [switch for switch in self._switches.values() if switch.source is flip.switch.source]
        self.counts.switches.replace(flip.switch.source, held, self._now)

    def _admit(self, recorded: Recorded, call: ToolCall, plan: Plan) -> Verdict:
        progress = self._pipeline.rehearse(call, plan, self._snapshot.version)
        if progress.denial is None and recorded.unsent:
            heappush(self._unsent, (recorded.ended, id(progress), progress))
        else:
            progress.sent = progress.denial is None
            self._pipeline.settle(progress, None, self._now)
        return Verdict(progress.denial, progress.report_reason)

    def _ask(self, recorded: Recorded, call: ToolCall, plan: Plan) -> Verdict:
        """Charges nothing: the call is refused all the same, or repeats one that was charged."""
        if recorded.reason is Reason.DEDUP:
            return ask(REPLAY_GUARDS, call, plan, self.counts, self._now)
        return judge(call, plan, self.counts, self._now)

    def _refused_again(self, recorded: Recorded) -> bool:
        """For a cause that no policy decides, or (the policy is the recorded one) by rules whose answer is known."""
        if not recorded.refused:
            return False
        asked_then = recorded.policy == self._snapshot.version and recorded.reason in _BY_ARGUMENTS
        return asked_then or recorded.reason in AS_RECORDED or not recorded.tool

    def _rule_of(self, denial: Denial | None, reported: Reason | None, call: ToolCall, plan: Plan) -> str:
        reason = denial.reason if denial is not None else reported
        if reason in (Reason.KILL_SWITCH, Reason.AGENT_DISABLED):
            switch = self.counts.switches.stops(call.agent, call.run.id, call.tool, plan.effect, self._now)
            return reason.value if switch is None else f"kill switch {switch.scope} ({switch.who})"
        return self._rule(reason, plan)

    def _unknown(self, recorded: Recorded, plan: Plan, call: ToolCall, *, has_schema: bool) -> str | None:
        if recorded.refused and recorded.reason is Reason.MAX_STEPS:
            return "steps"  # the log does not say which step the call announced
        if recorded.refused and recorded.reason is Reason.RATE_LIMITED:
            return "rate"
        if recorded.policy == self._snapshot.version:
            return None
        if has_schema:
            return "arguments"
        return "destination" if plan.builtin and call.destination is None else None

    def _pass_to(self, at: float) -> None:
        """What ends by itself until then does so in its own time."""
        while self._unsent and self._unsent[0][0] <= at:
            ended, _, progress = heappop(self._unsent)
            self._expire(ended)
            self._pipeline.settle(progress, None, self._now)
        self._expire(at)

    def _expire(self, at: float) -> None:
        before, at = self._now.mono, max(at, self._now.mono)
        self._now = Moment(at, at)
        if at - before >= 1.0:
            self.counts.switches.expire(self._now)
            self.counts.ledger.expire(self._now, lambda key: self._snapshot.budgets(key.agent))


def in_order(happened: Iterable[Happened]) -> list[Happened]:
    """By time. The log tells milliseconds: within one, what was let pass comes before what was refused."""
    return sorted(happened, key=lambda what: (round(what.at, 3), isinstance(what, Recorded) and what.refused))


def _would_stay_refused(recorded: Recorded) -> bool:
    """What was refused for what the log does not hold, or not at all by a rule that is asked here, counts as little as it did."""
    return recorded.refused and recorded.reason in _BY_ARGUMENTS | {Reason.MAX_STEPS, Reason.RATE_LIMITED}


def _plan_of(snapshot: Snapshot, agent: str, tool: str, effect: Effect | None) -> tuple[Plan, bool]:
    """The plan without its schema, which cannot be asked, and whether it has one."""
    plan = snapshot.plan(agent, tool)
    has_schema = plan.arguments is not None
    if plan.heeds_annotations and effect is not None:
        plan = replace(plan, effect=effect)
    return (replace(plan, arguments=None) if has_schema else plan), has_schema


def _call_of(recorded: Recorded, plan: Plan, now: Moment) -> ToolCall:
    return ToolCall(
        id=recorded.call_id,
        door=recorded.door,
        agent=recorded.run.agent,
        run=recorded.run,
        tool=recorded.tool,
        method="POST",
        rest="",
        query="",
        target="",
        headers=(),
        body=b"",
        started=now,
        args_hash=recorded.args_hash,
        destination=_destination(recorded) if plan.builtin and recorded.target else None,
        # Callers of this door alone may say a price; of all others the new policy's holds.
        spend=recorded.cost if recorded.door is Door.GOVERNED else 0,
    )


def _destination(recorded: Recorded) -> Target | None:
    target = recorded.target or ""
    try:
        return parse_tunnel(target) if recorded.tool not in FETCHED and "://" not in target else parse_target(target)
    except ValueError:  # cut or redacted
        return None


async def _nothing_is_sent(attempt: Attempt, plan: Plan, call: ToolCall) -> Reply:  # noqa: ARG001  the form of a Send
    raise AssertionError("a call of the past is not sent")


class _Nobody:
    """Nobody is told: it happened long ago."""

    def call_ended(self, record: Record) -> None: ...

    def happened(self, event: Event) -> None: ...
