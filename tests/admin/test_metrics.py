"""GET /metrics, read by the parser of Prometheus' own library."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.observers.entries import KINDS
from tests.admin.admin_plane import POLICY, Operator, started

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

ROW = re.compile(r"^\| `tool_gateway_(\w+?)(?:\{(\w+(?:, \w+)*)\})?` \|", re.MULTILINE)


async def scraped(operator: Operator, headers: dict[str, str] | None = None) -> Series:
    async with operator.session.get(operator.gateway.admin_url + "/metrics", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((f"tool_gateway_{name}", frozenset(labels.items())))


async def test_calls_are_counted_by_how_they_ended(operator: Operator) -> None:
    await operator.call("/tools/made.up", 403)
    await operator.call("/tools/search.read", 502)
    series = await scraped(operator)
    assert value(series, "calls_total", tool="other", door="tool_path", reason="tool_not_allowed") == 1
    assert value(series, "calls_total", tool="search.read", door="tool_path", reason="upstream_failed") == 1
    assert value(series, "agent_calls_total", agent="default", reason="upstream_failed") == 1
    assert value(series, "attempts_total", upstream="search", result="refused") == 3
    assert value(series, "call_duration_seconds_count") == 2
    assert value(series, "in_flight") == 0
    assert value(series, "runs_active") == 1


async def test_what_is_true_now_shows_as_gauges(operator: Operator) -> None:
    version = operator.gateway.policies.snapshot.version
    await operator.post("/v1/kill-switches", {"scope": "tool:search.*", "reason": "test"})
    (operator.policy / "policy.yaml").write_text("tools: {allowlist: 7}")
    await operator.post("/v1/policy/reload", status=422)
    series = await scraped(operator)
    assert value(series, "policy_info", version=version) == 1
    assert value(series, "policy_stale") == 1
    assert value(series, "policy_rejected_total") == 1
    assert value(series, "state_up") == 1
    assert [value(series, "kill_switch", scope=scope) for scope in ("all", "tool")] == [0, 1]


async def test_a_breaker_of_the_candidates_own_can_be_alerted_on(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(POLICY + "rollout: {canary_percent: 100}\n")
    (policies / "candidate.yaml").write_text(
        'upstreams: {search: {url: "http://127.0.0.1:9", circuit_breaker: {failures: 1}}}'
    )
    async with started(tmp_path) as operator:
        before = await scraped(operator)
        await operator.call("/tools/search.read", 502)
        after, status = await scraped(operator), await operator.get("/v1/status")
    for series, open_now in ((before, 0), (after, 1)):
        assert value(series, "breaker_open", upstream="search") == 0
        assert value(series, "breaker_open", upstream="search (candidate)") == open_now
    assert isinstance(status["breakers"], list)
    assert [(breaker["upstream"], breaker["state"]) for breaker in status["breakers"]] == [
        ("search (candidate)", "open")
    ]


async def test_the_first_lost_lines_can_be_alerted_on(operator: Operator) -> None:
    """What is there before the first one rises with it."""
    series = await scraped(operator)
    assert [value(series, "log_records_dropped_total", kind=kind) for kind in KINDS] == [0] * len(KINDS)


async def test_a_candidate_that_was_rolled_back_can_be_alerted_on(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(POLICY)
    (policies / "candidate.yaml").write_text('egress: {allow_hosts: ["a.example"]}')
    async with started(tmp_path) as operator:
        before = await scraped(operator)
        await operator.post("/v1/rollout", {"action": "rollback", "reason": "test"})
        after = await scraped(operator)
    assert [value(series, "candidate_rolled_back") for series in (before, after)] == [0, 1]


async def test_a_scraper_needs_neither_token_nor_a_known_host_name(operator: Operator) -> None:
    series = await scraped(operator, {"Host": "tools.example.com", "Authorization": "Bearer wrong"})
    assert value(series, "state_up") == 1


async def test_the_process_tells_its_own_memory(operator: Operator) -> None:
    series = await scraped(operator)
    assert series["process_resident_memory_bytes", frozenset()] > 10_000_000


async def test_the_reference_lists_exactly_what_there_is(operator: Operator) -> None:
    async with operator.session.get(operator.gateway.admin_url + "/metrics") as response:
        families = {line.split()[2] for line in (await response.text()).splitlines() if line.startswith("# HELP")}
    page = Path(__file__).parents[2].joinpath("docs/metrics.md").read_text()
    assert {f"tool_gateway_{name}" for name, _ in ROW.findall(page)} == {f for f in families if f.startswith("tool_")}


async def test_the_reference_names_the_labels(operator: Operator) -> None:
    await operator.call("/tools/search.read", 502)
    labels: dict[str, set[str]] = {}
    for name, pairs in await scraped(operator):
        known = labels.setdefault(name.removesuffix("_count").removesuffix("_sum"), set())
        known |= {label for label, _ in pairs}
    page = Path(__file__).parents[2].joinpath("docs/metrics.md").read_text()
    for name, told in ROW.findall(page):
        if f"tool_gateway_{name}" in labels:
            assert labels[f"tool_gateway_{name}"] == set(filter(None, told.split(", "))), name
