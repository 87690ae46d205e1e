"""GET /metrics: what is true now, beside what was counted, as Prometheus reads it. The library for that is loaded by the first scrape."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from gateway.admin.operations import Operations
from gateway.model import Family

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "tool_gateway_"
MOST_UPSTREAMS = 500
SCOPES = ("all", "writes", "tool", "agent", "run")


async def scrape(operations: Operations) -> bytes:
    """Gathered on the loop, in one piece; rendered in a thread, since hundreds of series take milliseconds."""
    families = [*operations.counted(), *standing(operations)]
    return await asyncio.get_running_loop().run_in_executor(None, render, families)


def standing(operations: Operations) -> list[Family]:
    """Gauges, read where the facts are, and counters that live with what they count."""
    counts, policies = operations.counts, operations.policies
    now = operations.clock()
    failing, named = counts.breakers.failing(), islice(operations.named_upstreams(), MOST_UPSTREAMS)
    killed = Counter(switch.scope.kind for switch in counts.switches.active(now))
    return [
        gauge("in_flight", "Calls between admission and their end.", len(counts.in_flight)),
        gauge("runs_active", "Runs and anonymous windows that have not ended.", counts.ledger.live),
        gauge("policy_stale", "1 while the files on disk are not the policy in force.", bool(policies.problems)),
        gauge("state_up", "1 while what must outlive the process can be written.", operations.keeper.problem is None),
        gauge(
            "candidate_rolled_back",
            "1 while candidate.yaml is ignored, since it was rolled back.",
            operations.rollout.ignored is not None,
        ),
        Family("policy_info", "gauge", "The policy in force.", ("version",), [((policies.snapshot.version,), 1)]),
        Family("retries_refused", "counter", "Retries beyond a budget.", (), [((), counts.retry_budgets.refused)]),
        Family(
            "breaker_open",
            "gauge",
            "1 while an upstream is left alone, or probed.",
            ("upstream",),
            [((plan.name,), plan.name in failing) for plan in named],
        ),
        Family(
            "kill_switch",
            "gauge",
            "Kill switches that are on.",
            ("scope",),
            [((scope,), killed[scope]) for scope in SCOPES],
        ),
        Family(
            "log_records_dropped",
            "counter",
            "Log lines that were not written.",
            ("kind",),
            [((kind,), dropped) for kind, dropped in operations.log.dropped.items()],
        ),
    ]


def gauge(name: str, explained: str, value: float) -> Family:
    """One without labels."""
    return Family(name, "gauge", explained, (), [((), value)])


def render(families: Iterable[Family]) -> bytes:
    """With the process's own figures (process_*), where the system tells them."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector:
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> "Iterable[Metric]":
        return map(_metric, self._families)


def _metric(family: Family) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name = PREFIX + family.name
    if family.kind == "histogram":
        buckets = [(bound, value) for (bound,), value in family.samples]
        return HistogramMetricFamily(name, family.help, buckets=buckets, sum_value=family.total)
    made = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        name, family.help, labels=family.labels
    )
    for labels, value in family.samples:
        made.add_metric(labels, value)
    return made
