"""deploy/prometheus and deploy/grafana: expressions are PromQL and ask only for what is exported; each alert fires at what it says."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from gateway.admin.metrics import SCOPES
from gateway.denial import Reason

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
OF_THE_SCRAPE = {"instance", "pod", "le"}
"""Labels that Prometheus adds, and the histogram's own."""
WORDS = {"reason": {reason.value for reason in Reason}, "scope": set(SCOPES)}
"""Labels whose values are a closed set."""


class Selector(NamedTuple):
    """One metric that an expression asks for."""

    metric: str
    matchers: list[tuple[str, str, str]]


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression) of every alert, panel and variable."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], grafana_gone(target["expr"])


def grafana_gone(expression: str) -> str:
    """As Grafana sends it."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".+").replace("$agent", ".+")


def selectors(expression: str) -> list[Selector]:
    found = re.findall(r"((?:tool_gateway|process)_\w+)(?:\{([^}]*)\})?", expression)
    return [Selector(name, re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inside)) for name, inside in found]


def labels_asked_for(expression: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression)
    return {label.strip() for inside in grouped for label in inside.split(",")}


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Name of each series → its labels, as docs/metrics.md says, which another test holds against /metrics."""
    rows = re.findall(
        r"^\| `(tool_gateway_\w+?)(?:\{(\w+(?:, \w+)*)\})?` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    known = {name: set(labels.split(", ")) if labels else set() for name, labels in rows}
    known |= {
        f"{name}_{part}": labels
        for name, labels in known.items()
        if name.endswith("_seconds")
        for part in ("bucket", "sum", "count")
    }
    return known | {"process_resident_memory_bytes": set()}


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_only_what_the_gateway_exports_is_asked_for(where: str, expression: str, exported: dict[str, set[str]]) -> None:
    asked = selectors(expression)

    assert asked
    for metric, matchers in asked:
        assert metric in exported, metric
        for label, operator, text in matchers:
            assert label in exported[metric] | OF_THE_SCRAPE, label
            if label in WORDS:
                assert all(any(re.fullmatch(part, word) for word in WORDS[label]) for part in text.split("|")), (
                    operator,
                    text,
                )
    assert labels_asked_for(expression) <= set().union(*(exported[metric] for metric, _ in asked)) | OF_THE_SCRAPE


@pytest.mark.needs("promtool")
def test_every_expression_is_promql(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{n}", "expr": expression} for n, (_, expression) in enumerate(EXPRESSIONS)]
    (tmp_path / "all.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": recorded}]}))

    for file in (ALERTS, tmp_path / "all.yaml"):
        done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.needs("promtool")
def test_each_alert_fires_at_what_it_says_and_at_nothing_less(tmp_path: Path) -> None:
    """Without the annotations, which promtool would want word for word; that they can be rendered is checked above."""
    played = ROOT / "tests/deploy/alerts.test.yaml"
    tried = {
        case["alertname"]
        for test in yaml.safe_load(played.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    bare = {
        "groups": [{"name": "all", "rules": [{k: v for k, v in rule.items() if k != "annotations"} for rule in RULES]}]
    }
    (tmp_path / "alerts.yaml").write_text(json.dumps(bare))
    (tmp_path / "test.yaml").write_text(played.read_text())

    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert tried == {rule["alert"] for rule in RULES}


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} == rule["annotations"].keys()


def test_the_reference_lists_every_alert() -> None:
    named = re.findall(r"^\| `(ToolGateway\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)

    assert sorted(named) == sorted(rule["alert"] for rule in RULES)


def test_what_an_operator_is_told_of_is_alerted_on() -> None:
    """Everything that makes a gateway degraded, beside what is lost or refused."""
    asked = {metric for rule in RULES for metric, _ in selectors(rule["expr"])}

    assert asked >= {
        f"tool_gateway_{name}"
        for name in (
            "policy_stale",
            "state_up",
            "breaker_open",
            "kill_switch",
            "candidate_rolled_back",
            "log_records_dropped_total",
            "agent_calls_total",
        )
    }


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """No panel overlaps another one, and all ask the Prometheus that the reader chooses."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(DASHBOARD["panels"]))) <= variables
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
