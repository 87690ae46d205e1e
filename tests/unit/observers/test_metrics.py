"""Which series there are, and that nobody can make more of them."""

import pytest

from gateway.denial import Reason
from gateway.model import Door, Event, Family
from gateway.observers.metrics import FINISHES, MOST_TOOLS, OTHER, Labels, Metrics
from tests.unit.observers.observer_records import PLAIN, record


def family(metrics: Metrics, name: str) -> Family:
    (found,) = (family for family in metrics.families() if family.name == name)
    return found


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return dict(family(metrics, name).samples)


def counting(tools: list[str] | None = None) -> Metrics:
    metrics = Metrics()
    metrics.adopt(tools=tools or ["search.read"], agents=["default"], upstreams=["search"])
    return metrics


def test_a_call_counts_once_in_every_family() -> None:
    metrics = counting()
    metrics.call_ended(record(duration_ms=12.0, cost_micro_usd=1500, upstream="search"))
    metrics.call_ended(record(duration_ms=120_000.0, cost_micro_usd=0, reason=Reason.MAX_TOOL_CALLS, attempts=0))
    assert samples(metrics, "calls") == {
        ("search.read", "tool_path", "ok"): 1,
        ("search.read", "tool_path", "max_tool_calls"): 1,
    }
    assert samples(metrics, "agent_calls") == {("default", "ok"): 1, ("default", "max_tool_calls"): 1}
    assert samples(metrics, "spend_usd") == {("default",): 0.0015}
    durations = family(metrics, "call_duration_seconds")
    assert dict(durations.samples) | {("0.01",): 0, ("0.025",): 1, ("60.0",): 1, ("+Inf",): 2} == dict(
        durations.samples
    )
    assert durations.total == pytest.approx(120.012)


def test_a_duration_on_the_border_belongs_to_the_bucket_it_bounds() -> None:
    metrics = counting()
    metrics.call_ended(record(duration_ms=1.0))
    assert samples(metrics, "call_duration_seconds")["0.001",] == 1


@pytest.mark.parametrize(
    ("ended", "results"),
    [
        ({"attempts": 1}, {"2xx": 1}),
        ({"attempts": 1, "reason": Reason.TOOL_ERROR, "status": 404}, {"4xx": 1}),
        ({"attempts": 3, "errors": ("status_503", "reset"), "status": 200}, {"status_503": 1, "reset": 1, "2xx": 1}),
        (
            {"attempts": 2, "errors": ("refused", "refused"), "reason": Reason.UPSTREAM_FAILED, "status": 502},
            {"refused": 2},
        ),
        ({"attempts": 1, "reason": Reason.KILL_SWITCH, "status": 403}, {"abandoned": 1}),
        ({"attempts": 1, "reason": Reason.CLIENT_GONE, "status": None}, {"abandoned": 1}),
        ({"attempts": 0, "reason": Reason.MAX_CALLS, "status": 403}, {}),
    ],
    ids=lambda value: "" if isinstance(value, dict) and "attempts" in value else None,
)
def test_every_attempt_has_one_result(ended: dict[str, object], results: dict[str, int]) -> None:
    metrics = counting()
    metrics.call_ended(PLAIN._replace(upstream="search", **ended))  # type: ignore[arg-type]  # the table's values are of their fields
    assert samples(metrics, "attempts") == {("search", result): number for result, number in results.items()}


def test_names_that_an_agent_makes_up_get_no_series() -> None:
    metrics = counting()
    for n in range(2 * MOST_TOOLS):
        metrics.call_ended(record(tool=f"made.up{n}", reason=Reason.TOOL_NOT_ALLOWED, attempts=0, status=403))
    assert samples(metrics, "calls") == {(OTHER, "tool_path", "tool_not_allowed"): 2 * MOST_TOOLS}


def test_a_tool_allowed_by_a_pattern_gets_its_series_while_there_is_room() -> None:
    metrics = counting()
    for n in range(2 * MOST_TOOLS):
        metrics.call_ended(record(tool=f"wild.t{n}"))
    calls = samples(metrics, "calls")
    assert calls["wild.t0", "tool_path", "ok"] == 1
    assert len(calls) == MOST_TOOLS  # search.read has its place, though it was not called; `other` is one more
    assert calls[OTHER, "tool_path", "ok"] == MOST_TOOLS + 1


def test_a_new_policy_never_takes_a_name_away() -> None:
    labels = Labels(2)
    labels.adopt(["a"])
    labels.adopt(["b", "c"])
    assert [labels.of(name, earned=True) for name in "abc"] == ["a", "b", OTHER]


def test_a_word_the_agent_finishes_with_is_no_label_of_its_own() -> None:
    metrics = counting()
    for word in ("finish", "max_steps", "all done, boss", None):
        metrics.happened(Event("run_finished", PLAIN.at, {"stop_reason": word}))
    metrics.happened(Event("policy_rejected", PLAIN.at))
    assert samples(metrics, "runs_finished") == {("finish",): 1, ("max_steps",): 1, (OTHER,): 2}
    assert samples(metrics, "policy_rejected") == {(): 1}


def test_every_door_and_reason_is_a_label_as_it_is() -> None:
    metrics = counting()
    for door in Door:
        for reason in Reason:
            metrics.call_ended(PLAIN._replace(door=door, reason=reason))
    assert set(samples(metrics, "calls")) == {("search.read", door, reason) for door in Door for reason in Reason}
    assert set(Reason) < FINISHES
