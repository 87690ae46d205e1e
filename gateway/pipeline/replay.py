"""Calls of the past under another policy: the pipeline's own guards and charges, with the recorded times as the clock. Nothing is sent."""

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
    Scope,
    Source,
    Target,
    ToolCall,
)
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.progress import Progress
from gateway.pipeline.recorded import Recorded, RunEnded, Switched
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
_UNSEEN = _BY_ARGUMENTS | {Reason.MAX_STEPS, Reason.RATE_LIMITED}
"""Refusals for what the log does not hold. Where that is not known now either, the calls count as little as they did."""
_BEFORE_ARGUMENTS = frozenset(
    {
        Reason.KILL_SWITCH,
        Reason.AGENT_DISABLED,
        Reason.DRAINING,
        Reason.OVERLOADED,
        Reason.LOOP_DETECTED,
        Reason.TOOL_NOT_ALLOWED,
        Reason.TOOL_NOT_CONFIGURED,
    }
)
"""Whoever was refused for one of these was not asked about arguments (guards/__init__.py has the order)."""
_BOUNDLESS = 1 << 60
_EVERY, _MOST_STEPS = 60.0, 5000
"""Seconds between two looks at what has ended while nobody called, and how many of them."""


class Replayed(NamedTuple):
    """How a recorded call ends under the policy."""

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

    def __init__(self, snapshot: Snapshot, was: Snapshot | None = None) -> None:
        """`was`: a policy that calls were recorded under, where it is at hand."""
        self._snapshot = snapshot
        self._was = was
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
        self._same_rules = lru_cache(maxsize=65_536)(partial(_same_rules, snapshot, was))
        self._rule = lru_cache(maxsize=65_536)(lambda reason, plan: snapshot.rule(reason, plan).text or reason.value)

    def call(self, recorded: Recorded) -> Replayed:
        """Judges it, and charges it where it is let pass."""
        self._pass_to(recorded.at)
        plan, has_schema = self._plan(recorded.run.agent, recorded.tool, recorded.effect)
        call = _call_of(recorded, plan, self._now)
        unseen = self._unseen(recorded, plan, call, has_schema=has_schema)
        again = recorded.refused and (recorded.reason in AS_RECORDED or not recorded.tool)
        if recorded.reason is Reason.DEDUP:
            verdict = ask(REPLAY_GUARDS, call, plan, self.counts, self._now)
        elif again or isinstance(unseen, Reason) or (unseen and recorded.refused and recorded.reason in _UNSEEN):
            verdict = self._refuse(recorded, call, plan, unseen)
        else:
            verdict = self._admit(recorded, call, plan)
        denial, reported = verdict
        return Replayed(
            recorded,
            denial,
            reported,
            unknown=None if denial or again or isinstance(unseen, Reason) else unseen,
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

    def _refuse(self, recorded: Recorded, call: ToolCall, plan: Plan, unseen: Reason | str | None) -> Verdict:
        """Everything else may object to it before. What does not charges nothing, and counts for the loop guard as it did."""
        if judge(call, plan, self.counts, self._now).denial is not None:
            return self._admit(recorded, call, plan)
        if isinstance(unseen, Reason) and plan.report:
            return self._admit(recorded, call, plan)._replace(report_reason=unseen)
        if plan.max_identical_calls and recorded.reason in _UNSEEN:
            self.counts.ledger.refused(call.run, call.args_hash, Denial(recorded.reason, ""))
        return Verdict(Denial(unseen, "") if isinstance(unseen, Reason) else None, None)

    def _rule_of(self, denial: Denial | None, reported: Reason | None, call: ToolCall, plan: Plan) -> str:
        reason = denial.reason if denial is not None else reported
        if reason in (Reason.KILL_SWITCH, Reason.AGENT_DISABLED):
            switch = self.counts.switches.stops(call.agent, call.run.id, call.tool, plan.effect, self._now)
            return reason.value if switch is None else f"kill switch {switch.scope} ({switch.who})"
        return self._rule(reason, plan)

    def _unseen(self, recorded: Recorded, plan: Plan, call: ToolCall, *, has_schema: bool) -> Reason | str | None:
        """What rules say that judge what the log does not hold: a Reason where they object, None where they do not, or which of them
        cannot be asked. Where the recording's policy had the same ones, their word is recorded.
        """
        if recorded.refused and recorded.reason is Reason.MAX_STEPS:
            return "steps"
        if recorded.refused and recorded.reason is Reason.RATE_LIMITED:
            return "rate"
        if not has_schema and not (plan.builtin and call.destination is None):
            return None
        word = recorded.reason if recorded.refused else recorded.reported
        if word not in _BEFORE_ARGUMENTS and self._had_same_rules(recorded, plan):
            return word if word in _BY_ARGUMENTS else None
        return "arguments" if has_schema else "destination"

    def _had_same_rules(self, recorded: Recorded, plan: Plan) -> bool:
        if recorded.policy == self._snapshot.version:
            return True
        return self._was is not None and self._was.version == recorded.policy and self._same_rules(plan)

    def _pass_to(self, at: float) -> None:
        """Moves the clock to `at`; calls and runs that end before it end at their own time."""
        while self._unsent and self._unsent[0][0] <= at:
            ended, _, progress = heappop(self._unsent)
            self._expire(ended)
            self._pipeline.settle(progress, None, self._now)
        self._expire(at)

    def _expire(self, at: float) -> None:
        """Housekeeping between two calls is what a gateway does all the time: runs end, and are forgotten, at about their own time."""
        before, at = self._now.mono, max(at, self._now.mono)
        step = max(_EVERY, (at - before) / _MOST_STEPS)
        while before and before + step < at:
            before += step
            self._keep_house(before)
        self._now = Moment(at, at)
        if at - before >= 1.0:
            self._keep_house(at)

    def _keep_house(self, at: float) -> None:
        self._now = Moment(at, at)
        self.counts.switches.expire(self._now)
        self.counts.ledger.expire(self._now, lambda key: self._snapshot.budgets(key.agent))


def _plan_of(snapshot: Snapshot, agent: str, tool: str, effect: Effect | None) -> tuple[Plan, bool]:
    """The plan without its schema, which cannot be asked, and whether it has one."""
    plan = snapshot.plan(agent, tool)
    has_schema = plan.arguments is not None
    if plan.heeds_annotations and effect is not None:
        plan = replace(plan, effect=effect)
    return (replace(plan, arguments=None) if has_schema else plan), has_schema


def _same_rules(snapshot: Snapshot, was: Snapshot | None, plan: Plan) -> bool:
    """Did both policies judge arguments and targets alike?"""
    return (
        was is not None
        and was.arguments_schema(plan.tool) == snapshot.arguments_schema(plan.tool)
        and was.plan(plan.agent, plan.tool).egress == plan.egress
    )


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
