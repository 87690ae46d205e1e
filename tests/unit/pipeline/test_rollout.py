from typing import Any

import pytest

from gateway.denial import Reason
from gateway.model import Decision, Event, Moment, RunKey
from gateway.pipeline.rollout import Rollout
from gateway.policy.snapshot import Candidate, Snapshot
from gateway.state.rollout import WINDOW, Figures, RolledBack
from tests.unit.made_up import NOON, later
from tests.unit.observers.observer_records import record
from tests.unit.policy.policy_texts import compiled

LIVE = """
tools: {allowlist: [search.read]}
agents: {scout: {budgets: {AGENT_MAX_TOOL_CALLS: 12}}, default: {}}
rollout: {canary_percent: 50, rollback_on_error_rate: 0.05, min_calls: 10}
"""
OTHER = LIVE.replace("12", "3")


def a_candidate(content: str = "one", text: str = OTHER) -> Candidate:
    return Candidate(compiled(text), content, ("agents.scout.budgets",), ())


class Trial:
    """A Rollout and what it said."""

    def __init__(self, live: str = LIVE, **options: Any) -> None:
        self.live: Snapshot = compiled(live)
        self.events: list[Event] = []
        self.candidates: list[Candidate | None] = []
        """On trial after each change."""
        self.rollout = Rollout(lambda: self.live, self.events.append, self._hear, options.pop("rolled_back", None))

    def _hear(self) -> None:
        self.candidates.append(self.rollout.candidate)

    def said(self) -> list[object]:
        assert {event.name for event in self.events} <= {"rollout"}
        return [event.fields["action"] for event in self.events]

    def tried(self) -> tuple[str | None, RolledBack | None]:
        """The content on trial, and what is ignored."""
        candidate = self.rollout.candidate
        return candidate.content if candidate else None, self.rollout.ignored

    def ended(self, count: int, candidate: str, now: Moment = NOON, **changes: Any) -> None:
        tried = self.rollout.candidate
        version = tried.snapshot.version if tried is not None and candidate.startswith(("canary", "denied")) else "live"
        for _ in range(count):
            self.rollout.call_ended(record(**{"candidate": candidate, "policy": version, "at": now, **changes}))

    def figures(self, now: Moment = NOON) -> tuple[Figures, Figures]:
        sides = self.rollout.sides(now)
        return sides.candidate, sides.live


@pytest.fixture
def trial() -> Trial:
    trial = Trial()
    trial.rollout.offer(a_candidate(), NOON)
    return trial


DENY: dict[str, Any] = {"decision": Decision.DENY, "reason": Reason.TOOL_NOT_ALLOWED, "status": 403}


def test_a_run_lives_under_the_candidate_as_long_as_there_is_one(trial: Trial) -> None:
    runs = [RunKey("scout", f"r{n}") for n in range(40)]
    chosen = [run for run in runs if trial.rollout.snapshot_of(run) is not trial.live]
    assert 0 < len(chosen) < 40
    assert {trial.rollout.budgets_of(run).max_tool_calls for run in chosen} == {3}
    trial.rollout.offer(None, NOON)
    assert all(trial.rollout.snapshot_of(run) is trial.live for run in runs)
    assert trial.said() == ["started", "ended"]
    assert [candidate is None for candidate in trial.candidates] == [False, True]


def test_each_side_has_its_calls_and_errors(trial: Trial) -> None:
    trial.ended(4, "canary")
    trial.ended(1, "canary", status=500, reason=Reason.TOOL_ERROR)
    trial.ended(1, "canary", status=504, reason=Reason.TOOL_TIMEOUT)
    trial.ended(1, "canary", status=424, reason=Reason.OUTCOME_UNKNOWN)
    trial.ended(1, "canary", status=200, reason=Reason.UPSTREAM_FAILED)  # cut behind its head
    trial.ended(1, "canary", status=404, reason=Reason.TOOL_ERROR)
    trial.ended(1, "canary", status=None, reason=Reason.CLIENT_GONE)
    for word in ("same", "would_deny:max_calls", "unknown", "failed"):
        trial.ended(5, word)
    trial.ended(2, "same", status=502, reason=Reason.UPSTREAM_FAILED)
    assert trial.figures() == (Figures(10, 4), Figures(22, 2))
    assert trial.rollout.differences["would_deny:max_calls"] == 5


def test_a_denial_that_only_the_candidate_makes_is_an_error_and_one_of_both_is_no_call(trial: Trial) -> None:
    trial.ended(3, "denied:tool_not_allowed", **DENY)
    trial.ended(3, "canary", **DENY)
    trial.ended(3, "same", **DENY)
    trial.ended(3, "would_allow:tool_not_allowed", **DENY)
    assert trial.figures() == (Figures(3, 3), Figures(0, 0))


def test_denials_need_not_count_but_an_upstream_that_is_left_alone_does() -> None:
    trial = Trial(LIVE.replace("min_calls: 10", "min_calls: 10, count_denials: false"))
    trial.rollout.offer(a_candidate(), NOON)
    trial.ended(3, "denied:tool_not_allowed", **DENY)
    trial.ended(2, "denied:circuit_open", **{**DENY, "reason": Reason.CIRCUIT_OPEN, "status": 503})
    trial.ended(4, "would_allow:circuit_open", **{**DENY, "reason": Reason.CIRCUIT_OPEN, "status": 403})
    assert trial.figures() == (Figures(2, 2), Figures(4, 4))


def test_only_the_last_five_minutes_count(trial: Trial) -> None:
    trial.ended(10, "canary", status=500)
    trial.ended(10, "same")
    assert trial.rollout.loss(NOON) is not None
    assert trial.rollout.loss(later(WINDOW + 1)) is None
    assert trial.figures(later(WINDOW + 1)) == (Figures(0, 0), Figures(0, 0))


def test_calls_that_were_not_compared_count_for_nobody(trial: Trial) -> None:
    trial.rollout.call_ended(record(status=500))
    trial.ended(1, "canary", policy="an-earlier-one")
    assert trial.figures() == (Figures(0, 0), Figures(0, 0))


def test_a_candidate_that_has_lost_is_told_with_its_figures_and_ends(trial: Trial) -> None:
    trial.ended(8, "canary")
    trial.ended(2, "canary", status=503)
    trial.ended(9, "same")
    assert trial.rollout.loss(NOON) is None, "the live side has too few calls"
    trial.ended(1, "same")
    reason = trial.rollout.loss(NOON)
    assert reason is not None
    assert reason.startswith("2 of 10 calls under the candidate were errors, 0 of 10 under the policy")
    back = trial.rollout.roll_back(reason, "the gateway", NOON)
    assert back is not None
    assert trial.rollout.candidate is None
    assert trial.rollout.ignored == back
    told = trial.events[-1].fields
    assert dict(told) == {
        "action": "rolled_back",
        "candidate": a_candidate().snapshot.version,
        "live": trial.live.version,
        "reason": reason,
        "who": "the gateway",
        "candidate_calls": 10,
        "candidate_errors": 2,
        "live_calls": 10,
        "live_errors": 0,
    }
    assert trial.rollout.loss(NOON) is None
    assert trial.rollout.roll_back("again", "ada", NOON) is None
    assert trial.said() == ["started", "rolled_back"]


def test_what_was_rolled_back_is_ignored_until_its_content_changes(trial: Trial) -> None:
    back = trial.rollout.roll_back("enough", "ada", NOON)
    trial.rollout.offer(a_candidate("one", LIVE.replace("12", "4")), NOON)  # the policy under it changed
    assert trial.tried() == (None, back)
    trial.rollout.offer(None, NOON)
    assert trial.tried() == (None, None), "there is nothing to ignore"
    trial.rollout.offer(a_candidate("one"), NOON)
    assert trial.tried() == (None, back)
    trial.rollout.offer(a_candidate("two"), NOON)
    assert trial.tried() == ("two", None)
    assert trial.said() == ["started", "rolled_back", "started"]


def test_what_was_rolled_back_before_a_restart_is_ignored_after_it(trial: Trial) -> None:
    back = trial.rollout.roll_back("enough", "ada", NOON)
    after = Trial(rolled_back=back)
    after.rollout.offer(a_candidate("one"), NOON)
    assert after.rollout.candidate is None
    assert after.said() == []
    after.rollout.offer(a_candidate("two"), NOON)
    assert after.said() == ["started"]


def test_a_changed_candidate_starts_with_empty_counts_a_recompiled_one_keeps_its_own(trial: Trial) -> None:
    trial.ended(5, "canary")
    trial.rollout.offer(a_candidate("one", LIVE.replace("12", "4")), NOON)
    trial.ended(5, "canary")
    assert trial.figures()[0] == Figures(10, 0)
    trial.rollout.offer(a_candidate("two"), later(1))
    assert trial.figures(later(1))[0] == Figures(0, 0)
    assert trial.rollout.differences == {}
    assert trial.rollout.since == later(1)
    assert trial.said() == ["started", "ended", "started"]


def test_the_margin_and_the_minimum_are_those_of_the_policy_in_force(trial: Trial) -> None:
    trial.ended(8, "canary")
    trial.ended(2, "canary", status=503)
    trial.ended(10, "same")
    trial.live = compiled(LIVE.replace("0.05", "0.2"))
    assert trial.rollout.loss(NOON) is None
    trial.live = compiled(LIVE.replace("min_calls: 10", "min_calls: 11"))
    assert trial.rollout.loss(NOON) is None
    trial.live = compiled(LIVE)
    assert trial.rollout.loss(NOON) is not None


def test_without_a_candidate_nothing_is_counted() -> None:
    trial = Trial()
    trial.ended(20, "canary", status=500)
    assert trial.rollout.loss(NOON) is None
    assert trial.rollout.differences == {}
