"""A candidate on trial: is there one, which runs live under it, how it fares, its end. The arithmetic is in state/rollout.py."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from gateway.bounds import UNPACED, Pace
from gateway.denial import Reason
from gateway.model import Budgets, Decision, Event, Moment, Record, RunKey
from gateway.pipeline.shadow import CANARY, DENIED, WOULD_ALLOW
from gateway.policy.snapshot import CANDIDATE_SUFFIX, Candidate, Snapshot
from gateway.state.rollout import Figures, RolledBack, SlidingFigures, has_lost, is_chosen

NOTE = "rolled_back"
"""The name under which the store keeps what must not be tried again."""
_FAILED = frozenset(
    {
        Reason.CIRCUIT_OPEN,
        Reason.OUTCOME_UNKNOWN,
        Reason.OVERLOADED,
        Reason.RESPONSE_TOO_LARGE,
        Reason.UPSTREAM_FAILED,
        Reason.TOOL_TIMEOUT,
        Reason.INTERNAL_ERROR,
    }
)
"""Ends that are errors whatever status the caller saw: a timeout of a write is a 424, a stream is cut behind a 200, a long wait a 403."""
_SERVER_ERROR = 500


class Sides(NamedTuple):
    """How both sides fared within the window."""

    candidate: Figures
    live: Figures


class Rollout:
    """One per process. As an Observer it counts; what ends a trial is asked for by others, once a second or by an operator."""

    def __init__(
        self,
        live: Callable[[], Snapshot],
        emit: Callable[[Event], None],
        changed: Callable[[], None],
        rolled_back: RolledBack | None,
    ) -> None:
        self.candidate: Candidate | None = None
        """On trial. None: every run lives under the policy, and no call is judged twice."""
        self.rolled_back = rolled_back
        """The last one that was; it may not be on disk any more."""
        self.since: Moment | None = None
        """Since when the candidate's content is on trial."""
        self.differences: Counter[str] = Counter()
        """Calls by what their records say of the candidate, since then."""
        self._live = live
        self._emit = emit
        self._changed = changed
        """There is another candidate on trial now, or none."""
        self._offered: Candidate | None = None
        self._ours, self._theirs = SlidingFigures(), SlidingFigures()

    @property
    def ignored(self) -> RolledBack | None:
        """The rollback, while candidate.yaml still is what was rolled back."""
        back = self.rolled_back
        return (
            back if back is not None and self._offered is not None and back.content == self._offered.content else None
        )

    def offer(self, candidate: Candidate | None, now: Moment) -> None:
        """What candidate.yaml is now. The same content goes on being tried, whatever the policy under it has become."""
        self._offered = candidate
        before, self.candidate = self.candidate, None if self.ignored else candidate
        if before is not None and (self.candidate is None or self.candidate.content != before.content):
            self._say("ended", before, now)
        if self.candidate is not None and (before is None or self.candidate.content != before.content):
            self._begin(self.candidate, now)
        self._changed()

    def is_chosen(self, key: RunKey, live: Snapshot) -> bool:
        """Does the run live under the candidate, where there is one?"""
        return is_chosen(key.agent, key.id, live.rollout.canary_percent)

    def snapshot_of(self, key: RunKey) -> Snapshot:
        """The policy that a run lives under now."""
        live, candidate = self._live(), self.candidate
        return candidate.snapshot if candidate is not None and self.is_chosen(key, live) else live

    def budgets_of(self, key: RunKey) -> Budgets:
        """The budgets of a run, by the policy it lives under now."""
        return self.snapshot_of(key).budgets(key.agent)

    def pace_of(self, queue: str) -> Pace:
        """How attempts line up in this queue (Plan.queue) now."""
        tool = queue.removesuffix(CANDIDATE_SUFFIX)
        if tool == queue:
            return self._live().pace(tool)
        return UNPACED if self.candidate is None else self.candidate.snapshot.pace(tool)

    def call_ended(self, record: Record) -> None:
        candidate, word = self.candidate, record.candidate
        if candidate is None or word is None:
            return
        self.differences[word] += 1
        if word == CANARY or word.startswith(DENIED):
            if record.policy == candidate.snapshot.version:  # not the end of a call that began under an earlier one
                self._count(self._ours, record, alone=word != CANARY, denials=self._live().rollout.count_denials)
        else:
            self._count(self._theirs, record, alone=word.startswith(WOULD_ALLOW), denials=False)

    def happened(self, event: Event) -> None:
        """Of no concern here."""

    def sides(self, now: Moment) -> Sides:
        return Sides(self._ours.figures(now.mono), self._theirs.figures(now.mono))

    def loss(self, now: Moment) -> str | None:
        """Why it has to be rolled back now, in words; None: it does not."""
        plan, (ours, theirs) = self._live().rollout, self.sides(now)
        margin = plan.rollback_on_error_rate
        if self.candidate is None or not has_lost(ours, theirs, min_calls=plan.min_calls, margin=margin):
            return None
        return (
            f"{ours.errors} of {ours.calls} calls under the candidate were errors, {theirs.errors} of {theirs.calls} under the policy:"
            f" more than {margin:g} above it (rollout.rollback_on_error_rate)"
        )

    def roll_back(self, reason: str, who: str, now: Moment) -> RolledBack | None:
        """From now on every run lives under the policy. None where no candidate is on trial. The caller has to write it down."""
        candidate = self.candidate
        if candidate is None:
            return None
        sides = self.sides(now)
        back = RolledBack(candidate.content, candidate.snapshot.version, now.wall, reason, who, *sides)
        self.rolled_back, self.candidate = back, None
        figures = {
            f"{side}_{name}": value
            for side, found in zip(Sides._fields, sides, strict=True)
            for name, value in found._asdict().items()
        }
        self._say("rolled_back", candidate, now, reason=reason, who=who, **figures)
        self._changed()
        return back

    def _count(self, figures: SlidingFigures, record: Record, *, alone: bool, denials: bool) -> None:
        """What both policies refuse says nothing about either, and is no call here. `alone`: only this side refuses."""
        server_error = record.status is not None and record.status >= _SERVER_ERROR
        error = server_error or record.reason in _FAILED
        if record.decision is not Decision.DENY:
            figures.count(error=error, mono=record.at.mono)
        elif alone and (error or denials):
            figures.count(error=True, mono=record.at.mono)

    def _begin(self, candidate: Candidate, now: Moment) -> None:
        self.since = now
        self.differences.clear()
        self._ours, self._theirs = SlidingFigures(), SlidingFigures()
        percent, told = self._live().rollout.canary_percent, list(candidate.warnings)
        self._say("started", candidate, now, canary_percent=percent, changes=list(candidate.changes), warnings=told)

    def _say(self, action: str, candidate: Candidate, now: Moment, **fields: object) -> None:
        versions = {"candidate": candidate.snapshot.version, "live": self._live().version}
        self._emit(Event("rollout", now, {"action": action, **versions, **fields}))
