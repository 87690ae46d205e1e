"""The page of the benchmark says what was measured: medians, ratios within a round, losses, and who was left out."""

import json
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

import pytest

from bench.report import BEGIN, END, Found, goals, losses, page, picture, put, read, table


def visit(
    number: int, cpu_us: float, *, p50_ms: float = 1.0, busy: float = 1.0, idle_mb: float = 60.0
) -> dict[str, object]:
    loads = [
        {"connections": connections, "calls_per_s": 1e6 / cpu_us, "cpu_us": cpu_us, "busy": busy}
        for connections in (16, 64)
    ]
    return {
        "round": number,
        "closed": loads,
        "p50_ms": p50_ms,
        "p99_ms": 3 * p50_ms,
        "idle_mb": idle_mb,
        "loaded_mb": 2 * idle_mb,
        "start_s": 0.5,
    }


Visits = Mapping[str, Sequence[Mapping[str, object]]]


def found(visits: Visits, left_out: Mapping[str, str] | None = None) -> Found:
    nothing = [visit(number, 10, p50_ms=0.25) for number in range(3)]
    subjects = [
        {"name": name, "version": "1.2.3", "calls_per_second": 500, "visits": of_it}
        for name, of_it in {"no proxy": nothing, **visits}.items()
    ]
    facts = {"date": "2030-01-01", "machine": "a machine", "rounds": 3, "seconds": 3, "left_out": left_out or {}}
    return read(json.dumps({**facts, "subjects": subjects}))


def ours(*cpu_us: float) -> Visits:
    return {"tool-gateway": [visit(number, one) for number, one in enumerate(cpu_us)]}


def test_figures_are_medians_and_ratios_are_taken_within_a_round() -> None:
    envoy = [visit(0, 50), visit(2, 400)]  # it had no part in round 1
    row = next(line for line in table(found({**ours(100, 999, 200), "Envoy": envoy})) if line.startswith("| Envoy"))
    assert row.split(" | ")[2:4] == ["225", "1.25"]  # (50 + 400) / 2, and (50/100 + 400/200) / 2


def test_added_latency_is_what_the_calls_take_without_a_proxy_less() -> None:
    row = next(line for line in table(found(ours(100))) if "tool-gateway" in line)
    assert row.split(" | ")[6:8] == ["0.75", "2.25"]


def test_a_subject_that_did_not_fill_its_core_could_do_more() -> None:
    nginx = [visit(0, 20, busy=0.6)]
    rows = {line.split(" | ")[0]: line for line in table(found({**ours(100), "nginx": nginx}))}
    assert "≥ 50,000" in rows["| nginx"]
    assert "≥" not in rows["| **tool-gateway**"]


def test_losses_name_everybody_who_does_better_best_first() -> None:
    others = {"nginx": [visit(0, 20, idle_mb=10)], "HAProxy": [visit(0, 15, idle_mb=90)], "slow": [visit(0, 900)]}
    told = list(losses(found({**ours(100), **others})))
    assert told[0] == "- **CPU a call** (the gateway: 100 µs): HAProxy 15, nginx 20."
    assert "- **memory at rest** (the gateway: 60 MB): nginx 10." in told
    assert "- **start to the first answered call** (the gateway: 0.50 s): nobody does better." in told


@pytest.mark.parametrize(("envoy_us", "verdict"), [(160, "met"), (140, "**missed**")])
def test_a_goal_is_met_or_missed(envoy_us: float, verdict: str) -> None:
    others = {"Envoy with features": [visit(0, envoy_us)], "aiohttp proxy on uvloop": [visit(0, 900)]}
    capacity = list(goals(found({**ours(100), **others})))[2]
    assert capacity.endswith(f"| {envoy_us / 100:.2f} times | {verdict} |")


def test_no_goal_is_judged_without_those_it_speaks_of() -> None:
    assert list(goals(found(ours(100)))) == []


def test_the_page_says_who_was_left_out_and_why() -> None:
    assert "- Envoy: not installed (make competitors)" in page(
        found(ours(100), {"Envoy": "not installed (make competitors)"})
    )
    assert "Left out" not in page(found(ours(100)))


@pytest.mark.parametrize(("slowest", "warned"), [(11, False), (20, True)])
def test_a_machine_that_had_other_work_to_do_is_told(slowest: float, warned: bool) -> None:
    told = page(found({**ours(100), "no proxy": [visit(0, 10), visit(1, slowest)]}))
    assert ("had other work to do" in told) is warned


def test_results_replace_those_before_and_nothing_else() -> None:
    empty = f"# Title\n\n{BEGIN}\n{END}\n\nmore\n"
    once = put("first", empty)
    assert put("second", once) == once.replace("first", "second")
    assert once.startswith("# Title\n\n")
    assert once.endswith("\n\nmore\n")


def test_a_page_without_a_place_for_results_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        put("text", "# Title\n")


def test_the_chart_has_a_bar_a_subject_the_longer_the_dearer() -> None:
    svg = ET.fromstring(picture(found({**ours(100), "nginx": [visit(0, 20)], "slow": [visit(0, 9000)]})))
    bars = [(bar.get("class"), int(bar.get("width", ""))) for bar in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert [kind for kind, _ in bars] == ["bar", "bar ours", "bar"]
    widths = [width for _, width in bars]
    assert widths == sorted(set(widths))
    assert "prefers-color-scheme: dark" in picture(found(ours(100)))
