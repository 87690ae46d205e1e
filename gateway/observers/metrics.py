"""What Prometheus is told of calls: an Observer that counts into plain dicts. The text format is the admin plane's.

Labels are bounded: an agent can invent tool names, and what nobody configured must not push out what somebody did.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, islice
from typing import Any, Final, cast

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect, Event, Family, Record
from gateway.observers.lines import COMMON, COMMON_END

OTHER = "other"
MOST_TOOLS, MOST_AGENTS, MOST_UPSTREAMS = 500, 100, 500
BUCKETS: Final[tuple[float, ...]] = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the call's duration, in seconds."""
FINISHES = frozenset(reason.value for reason in Reason) | {"finish"}
"""The stop_reasons that are a label of their own; an agent can finish its run with any word."""
ANSWERED = frozenset({Reason.OK, Reason.TOOL_ERROR})
_CLASSES = {status: f"{status // 100}xx" for status in range(100, 600)}


_Alike = tuple[
    str, Door, str, Effect | None, Decision, Reason, str | None, int | None, int, tuple[str, ...], str, str | None,
    Reason | None, str | None,
]  # fmt: skip
"""`record[COMMON : COMMON_END + 1]`: from its agent to its upstream, the same of all calls that ended alike."""
_ATTEMPTS = Record._fields.index("attempts") - COMMON
_MOST_ALIKE: Final = 8192
"""Ways to end that are counted apart until they are put under their labels: some 3 MB."""


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
    """Counts since the start of the process. Read between two calls of the loop, so every sum fits every other.

    A call is counted among those that ended alike; only when somebody asks, or they become many, are these put under their labels.
    """

    def __init__(self) -> None:
        self.durations = [0] * (len(BUCKETS) + 1)
        """Calls by bucket, each counted once; the last holds what was longer than all."""
        self.duration_sum = 0.0
        self.runs_finished: Counter[str] = Counter()
        self.policy_rejected = 0
        self._alike: dict[_Alike, list[int]] = {}
        """Calls, and what they cost in micro-USD."""
        self._calls: Counter[tuple[str, Door, Reason]] = Counter()
        self._agent_calls: Counter[tuple[str, Reason]] = Counter()
        self._attempts: Counter[tuple[str, str]] = Counter()
        """By upstream and result: the kind of a failed attempt, `status_503` and the like for an answer that was tried again,
        `2xx` to `5xx` for the answer that was passed on, `abandoned` where a kill or the caller's leaving ended it.
        """
        self._spend: Counter[str] = Counter()
        """Micro-USD by agent."""
        self._candidate_decisions: Counter[str] = Counter()
        self._tools, self._agents, self._upstreams = Labels(MOST_TOOLS), Labels(MOST_AGENTS), Labels(MOST_UPSTREAMS)

    def adopt(self, *, tools: Iterable[str], agents: Iterable[str], upstreams: Iterable[str]) -> None:
        """The names that a new policy spells out."""
        self._tools.adopt(tools)
        self._agents.adopt(agents)
        self._upstreams.adopt(upstreams)

    def call_ended(self, record: Record) -> None:
        seconds = record.duration_ms / 1000
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        self.duration_sum += seconds
        alike = cast("_Alike", record[COMMON : COMMON_END + 1])
        counts = self._alike.get(alike)
        if counts is None:
            if len(self._alike) >= _MOST_ALIKE:
                self._sort()
            counts = self._alike[alike] = [0, 0]
        counts[0] += 1
        if record.cost_micro_usd:
            counts[1] += record.cost_micro_usd

    def _sort(self) -> None:
        """Puts the calls under their labels, those first that earn one: their like shares it."""
        waiting = sorted(self._alike.items(), key=lambda each: not each[0][_ATTEMPTS])
        self._alike.clear()
        for alike, (calls, cost) in waiting:
            self._count(alike, calls, cost)

    def _count(self, alike: _Alike, calls: int, cost: int) -> None:
        agent_id, door, tool, _, _, reason, _, status, attempts, errors, _, candidate, _, upstream = alike
        earned = attempts > 0
        agent = self._agents.of(agent_id, earned=earned)
        self._calls[self._tools.of(tool, earned=earned), door, reason] += calls
        self._agent_calls[agent, reason] += calls
        if candidate is not None:
            self._candidate_decisions[candidate] += calls
        if cost:
            self._spend[agent] += cost
        if not earned:
            return
        upstream = self._upstreams.of(upstream or tool, earned=True)
        for error in errors:
            self._attempts[upstream, error] += calls
        if attempts > len(errors):
            answered = reason in ANSWERED and status is not None
            self._attempts[upstream, _CLASSES.get(status or 0, OTHER) if answered else "abandoned"] += calls

    def happened(self, event: Event) -> None:
        if event.name == "run_finished":
            word = event.fields.get("stop_reason")
            self.runs_finished[word if isinstance(word, str) and word in FINISHES else OTHER] += 1
        elif event.name == "policy_rejected":
            self.policy_rejected += 1

    def families(self) -> list[Family]:
        """As they stand: plain data, which can be rendered off the loop while calls go on being counted."""
        self._sort()
        spend = Counter({agent: micro_usd / 1_000_000 for agent, micro_usd in self._spend.items()})
        return [
            counter("calls", "Calls by how they ended.", ("tool", "door", "reason"), self._calls),
            counter("agent_calls", "Calls by agent and how they ended.", ("agent", "reason"), self._agent_calls),
            counter("attempts", "Attempts at upstreams and what came back.", ("upstream", "result"), self._attempts),
            counter("runs_finished", "Runs that ended.", ("stop_reason",), self.runs_finished),
            counter("spend_usd", "Money charged, in US dollars.", ("agent",), spend),
            counter(
                "candidate_decisions",
                "Calls by how policy and candidate differ on them.",
                ("diff",),
                self._candidate_decisions,
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
