"""What Prometheus is told of calls: an Observer that counts into plain dicts. The text format is the admin plane's.

Labels are bounded: an agent can invent tool names, and what nobody configured must not push out what somebody did.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, islice
from typing import Any

from gateway.denial import Reason
from gateway.model import Door, Event, Family, Record

OTHER = "other"
MOST_TOOLS, MOST_AGENTS, MOST_UPSTREAMS = 500, 100, 500
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the call's duration, in seconds."""
FINISHES = frozenset(reason.value for reason in Reason) | {"finish"}
"""The stop_reasons that are a label of their own; an agent can finish its run with any word."""
ANSWERED = frozenset({Reason.OK, Reason.TOOL_ERROR})
_CLASSES = {status: f"{status // 100}xx" for status in range(100, 600)}


class Labels:
    """Which names of one kind are labels of their own: those of the policy first, then the others in the order they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._own: set[str] = set()

    def adopt(self, names: Iterable[str]) -> None:
        """After a reload. A name once told stays: its counts go on."""
        self._own.update(islice((name for name in names if name not in self._own), self._most - len(self._own)))

    def of(self, name: str, *, earned: bool) -> str:
        """`earned`: more was done for it than to refuse it, so that it may have a label where there is room."""
        if name in self._own:
            return name
        if earned and len(self._own) < self._most:
            self._own.add(name)
            return name
        return OTHER


class Metrics:
    """Counts since the start of the process. Read between two calls of the loop, so every sum fits every other."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, Door, Reason]] = Counter()
        self.agent_calls: Counter[tuple[str, Reason]] = Counter()
        self.durations = [0] * (len(BUCKETS) + 1)
        """Calls by bucket, each counted once; the last holds what was longer than all."""
        self.duration_sum = 0.0
        self.attempts: Counter[tuple[str, str]] = Counter()
        """By upstream and result: the kind of a failed attempt, `status_503` and the like for an answer that was tried again,
        `2xx` to `5xx` for the answer that was passed on, `abandoned` where a kill or the caller's leaving ended it.
        """
        self.runs_finished: Counter[str] = Counter()
        self.spend: Counter[str] = Counter()
        """Micro-USD by agent."""
        self.policy_rejected = 0
        self.candidate_decisions: Counter[str] = Counter()
        self._tools, self._agents, self._upstreams = Labels(MOST_TOOLS), Labels(MOST_AGENTS), Labels(MOST_UPSTREAMS)

    def adopt(self, *, tools: Iterable[str], agents: Iterable[str], upstreams: Iterable[str]) -> None:
        """The names that a new policy spells out."""
        self._tools.adopt(tools)
        self._agents.adopt(agents)
        self._upstreams.adopt(upstreams)

    def call_ended(self, record: Record) -> None:
        reason, seconds = record.reason, record.duration_ms / 1000
        earned = record.attempts > 0
        agent = self._agents.of(record.agent_id, earned=earned)
        self.calls[self._tools.of(record.tool, earned=earned), record.door, reason] += 1
        self.agent_calls[agent, reason] += 1
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        self.duration_sum += seconds
        if record.candidate is not None:
            self.candidate_decisions[record.candidate] += 1
        if record.cost_micro_usd:
            self.spend[agent] += record.cost_micro_usd
        if earned:
            self._count_attempts(record, self._upstreams.of(record.upstream or record.tool, earned=True))

    def _count_attempts(self, record: Record, upstream: str) -> None:
        for error in record.errors:
            self.attempts[upstream, error] += 1
        if record.attempts > len(record.errors):
            answered = record.reason in ANSWERED and record.status is not None
            result = _CLASSES.get(record.status or 0, OTHER) if answered else "abandoned"
            self.attempts[upstream, result] += 1

    def happened(self, event: Event) -> None:
        if event.name == "run_finished":
            word = event.fields.get("stop_reason")
            self.runs_finished[word if isinstance(word, str) and word in FINISHES else OTHER] += 1
        elif event.name == "policy_rejected":
            self.policy_rejected += 1

    def families(self) -> list[Family]:
        """As they stand: plain data, which can be rendered off the loop while calls go on being counted."""
        spend = Counter({agent: micro_usd / 1_000_000 for agent, micro_usd in self.spend.items()})
        return [
            counter("calls", "Calls by how they ended.", ("tool", "door", "reason"), self.calls),
            counter("agent_calls", "Calls by agent and how they ended.", ("agent", "reason"), self.agent_calls),
            counter("attempts", "Attempts at upstreams and what came back.", ("upstream", "result"), self.attempts),
            counter("runs_finished", "Runs that ended.", ("stop_reason",), self.runs_finished),
            counter("spend_usd", "Money charged, in US dollars.", ("agent",), spend),
            counter(
                "candidate_decisions",
                "Calls by how policy and candidate differ on them.",
                ("diff",),
                self.candidate_decisions,
            ),
            counter("policy_rejected", "Policy files that were not taken.", (), {(): self.policy_rejected}),
            Family(
                "call_duration_seconds",
                "histogram",
                "From a call's arrival to its end, in seconds.",
                ("le",),
                list(zip(_LABELS_OF_BUCKETS, accumulate(self.durations), strict=True)),
                self.duration_sum,
            ),
        ]


def counter(name: str, explained: str, labels: tuple[str, ...], counts: Mapping[Any, float]) -> Family:
    """Keys are label values: one text, or a tuple of them."""
    return Family(name, "counter", explained, labels, [(_values(key), value) for key, value in counts.items()])


def _values(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(map(str, key))


_LABELS_OF_BUCKETS = [*((str(bound),) for bound in BUCKETS), ("+Inf",)]
