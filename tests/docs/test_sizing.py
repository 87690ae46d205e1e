"""docs/sizing.md: its figures are those of the benchmark, the code, the settings and the manifests, and its sums are right."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.bounds import Pace
from gateway.listening import SPARE_DESCRIPTORS
from gateway.observers.lines import META, CallLines
from gateway.policy.schema.json_schema import json_schema
from gateway.settings import VARIABLES
from tests.unit.observers.observer_records import record

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/sizing.md").read_text("utf-8")
PERFORMANCE = (ROOT / "docs/performance.md").read_text("utf-8")
UNITS = {"": 1.0, "calls/s": 1.0, "s": 1.0, "µs": 1e-6, "cores": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
TIMES = "\N{MULTIPLICATION SIGN}"
AMOUNT = r"[\d,.]+(?: [\wµ/]+)?"
SUM = re.compile(rf"((?:{AMOUNT} {TIMES} )+{AMOUNT}) = ([\d,.]+)(?: ([\wµ/]+))?")


def value(text: str) -> float:
    number, _, unit = text.strip().partition(" ")
    return float(number.replace(",", "").rstrip(".")) * UNITS[unit]


@pytest.mark.parametrize(("factors", "result", "unit"), SUM.findall(PAGE))
def test_a_sum_is_right(factors: str, result: str, unit: str) -> None:
    product = 1.0
    for factor in factors.split(f" {TIMES} "):
        product *= value(factor)
    assert product == pytest.approx(value(f"{result} {unit}" if unit else result), rel=0.03)


def test_there_are_sums() -> None:
    assert len(SUM.findall(PAGE)) >= 8


def measured(subject: str) -> tuple[float, float, float]:
    """CPU µs a call, MB at rest, MB loaded."""
    row = re.search(rf"^\| {re.escape(subject)} \|(.*)\|$", PERFORMANCE, re.MULTILINE)
    assert row is not None
    cells = [cell.strip().replace(",", "") for cell in row[1].split("|")]
    return float(cells[1]), float(cells[7]), float(cells[8])


def test_what_is_planned_with_is_above_what_was_measured() -> None:
    alike, rest, loaded = measured("**tool-gateway**")
    different, _, _ = measured("tool-gateway (no two heads alike)")
    low, high = map(int, re.findall(r"costs between (\d+) and (\d+) µs", PAGE)[0])
    assert alike == pytest.approx(low, rel=0.25)
    assert different == pytest.approx(high, rel=0.25)
    assert different < 200, "the page plans with 200 µs a call"
    assert rest < 50, "the page plans with 50 MB"
    assert loaded < 64


def test_a_line_of_the_log_is_as_long_as_it_says() -> None:
    at = record(run_id="6f1e3471-12fa-44f7-af82-44c9e9677661", call_id="1e05b1d600000001", bytes_in=120, bytes_out=640)
    line = CallLines(str).line(at[:META]) + b',"sampled":false}\n'
    assert len(line) == pytest.approx(int(re.findall(r"A line is about (\d+) bytes", PAGE)[0]), rel=0.03)


def test_bounds_are_the_defaults() -> None:
    upstream: dict[str, Any] = json_schema()["properties"]["upstreams"]["additionalProperties"]["properties"]
    assert f"| `max_connections` of the upstream | {upstream['max_connections']['default']} |" in PAGE
    for name in ("GATEWAY_MAX_IN_FLIGHT", "GATEWAY_MAX_CONNECTIONS"):
        assert f"| `{name}` | {VARIABLES[name].default} |" in PAGE
    assert VARIABLES["GATEWAY_MAX_BUFFERED_BYTES"].default == str(64 * 2**20)
    assert f"2 {TIMES} connections + {SPARE_DESCRIPTORS}" in PAGE
    assert Pace().max_concurrency is None


def resources(path: str) -> list[dict[str, Any]]:
    """Of each container that a manifest has, in order."""
    found: list[dict[str, Any]] = []
    for document in yaml.safe_load_all((ROOT / "deploy/kubernetes" / path).read_text()):
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        found += [each["resources"] for each in [*spec.get("initContainers", []), *spec.get("containers", [])]]
    return found


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gateway, sidecar", "sidecar/gateway.yaml"),
        ("valkey", "fleet/valkey.yaml"),
        ("egress lock (ends before the agent starts)", "egress-lock/lock.yaml"),
    ],
)
def test_containers_ask_for_what_the_manifests_say(name: str, path: str) -> None:
    (asked,) = resources(path)
    requests, limits = asked["requests"], asked["limits"]
    assert limits.keys() == {"memory"}
    assert f"| {name} | cpu {requests['cpu']}, memory {requests['memory']} | memory {limits['memory']} |" in PAGE


def test_volume_and_unit_are_as_large_as_it_says() -> None:
    sidecar = (ROOT / "deploy/kubernetes/sidecar/gateway.yaml").read_text()
    assert "emptyDir: {sizeLimit: 256Mi}" in sidecar
    assert "`emptyDir` of 256Mi" in PAGE
    assert "MemoryMax=512M" in (ROOT / "deploy/systemd/tool-gateway.service").read_text()
    assert "`MemoryMax=512M`" in PAGE
