"""What a simulation found: counted call by call, and put into JSON. As text it is told in simulating.py."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.admin.views import View, instant
from gateway.cli.recording import Recording
from gateway.model import RunKey
from gateway.pipeline.recorded import Recorded
from gateway.pipeline.replay import Replayed
from gateway.policy.snapshot import Snapshot

EXAMPLES = 3
"""Call ids told of each group."""


@dataclass(slots=True)
class Group:
    """Calls that have the same become of them."""

    calls: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, call: Recorded) -> None:
        self.calls += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(call.call_id)


@dataclass(slots=True)
class Findings:
    """What differs, and what cannot be said."""

    calls: int = 0
    first: float | None = None
    last: float | None = None
    denied: dict[tuple[str, str], Group] = field(default_factory=dict)
    """Calls that were let pass and would be refused, by reason and rule."""
    allowed: dict[str, Group] = field(default_factory=dict)
    """Calls that were refused and would be let pass, by the reason they were refused for."""
    unknown: dict[str, Group] = field(default_factory=dict)
    reported: dict[tuple[str, str], Group] = field(default_factory=dict)
    still: Counter[str] = field(default_factory=Counter)
    """Refused before and now, by the reason now."""
    again: Counter[str] = field(default_factory=Counter)
    by_tool: dict[str, Counter[str]] = field(default_factory=dict)
    by_agent: dict[str, Counter[str]] = field(default_factory=dict)

    def take(self, replayed: Replayed) -> None:
        """One call."""
        call = replayed.call
        self.calls += 1
        self.first = call.at if self.first is None else self.first
        self.last = call.at
        word = self._word(replayed)
        for name, table in ((call.tool or "(none)", self.by_tool), (call.run.agent, self.by_agent)):
            table.setdefault(name, Counter()).update(("calls", word))

    def _word(self, replayed: Replayed) -> str:
        call, denial = replayed.call, replayed.denial
        if denial is None and replayed.reported is not None:
            self.reported.setdefault((replayed.reported, replayed.rule), Group()).add(call)
        if replayed.unknown is not None:
            self.unknown.setdefault(replayed.unknown, Group()).add(call)
            return "unknown"
        if replayed.again:
            self.again[call.reason] += 1
            return "same"
        if denial is not None and call.refused:
            self.still[denial.reason] += 1
            return "same"
        if denial is not None:
            self.denied.setdefault((denial.reason, replayed.rule), Group()).add(call)
            return "denied"
        if call.refused:
            self.allowed.setdefault(call.reason, Group()).add(call)
            return "allowed"
        return "same"


def beyond_steps(snapshot: Snapshot, steps: dict[RunKey, int]) -> list[str]:
    """Runs that took more steps than they may. At which call they would have been stopped, the log does not tell."""
    return [f"{run.agent}/{run.id}" for run, taken in steps.items() if taken > snapshot.budgets(run.agent).max_steps]


def findings_view(path: str, snapshot: Snapshot, recording: Recording, findings: Findings) -> View:
    """Everything, for scripts."""
    beyond = beyond_steps(snapshot, recording.steps)
    return {
        "policy": path,
        "version": snapshot.version,
        "mode": "report" if snapshot.report else "enforce",
        "calls": findings.calls,
        "from": None if findings.first is None else instant(findings.first),
        "to": None if findings.last is None else instant(findings.last),
        "now_denied": {"calls": calls_of(findings.denied), "by_rule": _rules(findings.denied)},
        "now_allowed": {"calls": calls_of(findings.allowed), "by_reason": _groups(findings.allowed)},
        "unknown": {"calls": calls_of(findings.unknown), "by_cause": _groups(findings.unknown)},
        "reported": {"calls": calls_of(findings.reported), "by_rule": _rules(findings.reported)},
        "still_denied": dict(findings.still.most_common()),
        "denied_as_recorded": dict(findings.again.most_common()),
        "runs_beyond_max_steps": {"runs": len(beyond), "examples": beyond[:EXAMPLES]},
        "by_tool": _table(findings.by_tool),
        "by_agent": _table(findings.by_agent),
        "lines": {
            "read": recording.lines,
            "other_events": recording.others,
            "damaged": recording.damaged,
            "damage": recording.damage,
            "dropped_by_the_gateway": recording.dropped,
        },
    }


def calls_of(groups: dict[str, Group] | dict[tuple[str, str], Group]) -> int:
    """All of them together."""
    return sum(group.calls for group in groups.values())


def _rules(groups: dict[tuple[str, str], Group]) -> list[View]:
    most = sorted(groups.items(), key=lambda item: (-item[1].calls, item[0]))
    return [
        {"reason": reason, "rule": rule, "calls": group.calls, "first_call_ids": group.examples}
        for (reason, rule), group in most
    ]


def _groups(groups: dict[str, Group]) -> View:
    most = sorted(groups.items(), key=lambda item: (-item[1].calls, item[0]))
    return {name: {"calls": group.calls, "first_call_ids": group.examples} for name, group in most}


def _table(table: dict[str, Counter[str]]) -> View:
    most = sorted(table.items(), key=lambda item: (-item[1]["denied"] - item[1]["allowed"], -item[1]["calls"], item[0]))
    return {
        name: {
            "calls": row["calls"],
            "now_denied": row["denied"],
            "now_allowed": row["allowed"],
            "unknown": row["unknown"],
        }
        for name, row in most
    }
