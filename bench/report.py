"""The page of a comparison: reads bench/results/compare.json, writes docs/performance.svg and its part of docs/performance.md.

python -m bench.report
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.chart import Bar, chart, figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "compare.json"
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- written by bench.report: begin -->", "<!-- written by bench.report: end -->"

NOTHING, OURS, BARE = "no proxy", "tool-gateway", "aiohttp proxy on uvloop"
ENVOY = "Envoy with features"
BUSY = 0.95
"""Of its core: a subject below it waited for the load generator and the tool, and could serve more."""
QUIET = 0.85
"""What the slowest round of the bare tool must reach of the fastest for the machine to pass as quiet."""

Visit = Mapping[str, Any]
Measure = Callable[[Visit, Visit], float]
"""Of a subject's visit, and the visit to the bare tool in the same round."""


class Found(NamedTuple):
    """What compare.json holds."""

    facts: Mapping[str, Any]
    subjects: Mapping[str, Mapping[str, Any]]
    """By name, in the order of the table."""

    def visits(self, name: str) -> Mapping[int, Visit]:
        """By round."""
        return {visit["round"]: visit for visit in self.subjects[name]["visits"]}

    def rounds(self, name: str, measure: Measure) -> Mapping[int, float]:
        bare = self.visits(NOTHING)
        return {number: measure(visit, bare[number]) for number, visit in self.visits(name).items() if number in bare}

    def median(self, name: str, measure: Measure) -> float:
        return median(self.rounds(name, measure).values())

    def ratio(self, name: str, other: str, measure: Measure) -> float:
        """The median of the ratios within each round."""
        ours, theirs = self.rounds(name, measure), self.rounds(other, measure)
        return median(ours[number] / theirs[number] for number in ours if number in theirs)


def cpu(visit: Visit, _: Visit) -> float:
    return float(visit["closed"][-1]["cpu_us"])


def narrow(visit: Visit, _: Visit) -> float:
    return float(visit["closed"][0]["calls_per_s"])


def wide(visit: Visit, _: Visit) -> float:
    return float(visit["closed"][-1]["calls_per_s"])


def busy(visit: Visit, _: Visit) -> float:
    return float(visit["closed"][-1]["busy"])


def p50(visit: Visit, bare: Visit) -> float:
    return float(visit["p50_ms"]) - float(bare["p50_ms"])


def p99(visit: Visit, bare: Visit) -> float:
    return float(visit["p99_ms"]) - float(bare["p99_ms"])


def idle(visit: Visit, _: Visit) -> float:
    return float(visit["idle_mb"])


def loaded(visit: Visit, _: Visit) -> float:
    return float(visit["loaded_mb"])


def start(visit: Visit, _: Visit) -> float:
    return float(visit["start_s"])


COMPARED: Mapping[str, tuple[Measure, str]] = {
    "CPU a call": (cpu, "µs"),
    "latency added at 500 calls/s, p50": (p50, "ms"),
    "latency added at 500 calls/s, p99": (p99, "ms"),
    "memory at rest": (idle, "MB"),
    "memory under load": (loaded, "MB"),
    "start to the first answered call": (start, "s"),
}
"""What less is better of."""


def proxies(found: Found) -> list[str]:
    return [name for name in found.subjects if name != NOTHING]


def table(found: Found) -> Iterator[str]:
    few, many = (found.subjects[OURS]["visits"][0]["closed"][at]["connections"] for at in (0, -1))
    yield (
        f"| | version | CPU µs a call | of the gateway's | calls/s, {few} connections | calls/s, {many} | added p50 ms | added p99 ms "
        "| MB at rest | MB loaded | start s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    calls = [found.median(NOTHING, measure) for measure in (narrow, wide)]
    yield f"| {NOTHING} | | | | {calls[0]:,.0f} | {calls[1]:,.0f} | | | | | |"
    for name in proxies(found):
        closed, rate = found.subjects[name]["visits"][0]["closed"], found.subjects[name]["calls_per_second"]
        at_most = "≥ " if found.median(name, busy) < BUSY else ""
        fewer = f" ({closed[-1]['connections']})" if closed[-1]["connections"] < many else ""
        slower = "" if rate == 500 else f" (at {rate}/s)"
        cells = [
            f"**{name}**" if name == OURS else name,
            found.subjects[name]["version"],
            figure(found.median(name, cpu)),
            f"{found.ratio(name, OURS, cpu):.2f}",
            figure(found.median(name, narrow)) if len(closed) > 1 else "",
            at_most + figure(found.median(name, wide)) + fewer,
            f"{found.median(name, p50):.2f}{slower}",
            f"{found.median(name, p99):.2f}",
            figure(found.median(name, idle)),
            figure(found.median(name, loaded)),
            f"{found.median(name, start):.2f}",
        ]
        yield f"| {' | '.join(cells)} |"


def goals(found: Found) -> Iterator[str]:
    """Nothing where a subject that the goals speak of was left out."""
    if not {OURS, ENVOY, BARE} <= set(found.subjects):
        return
    yield "| goal | measured | |"
    yield "|---|---|---|"
    at_least = [
        (f"capacity (CPU a call) beside {ENVOY}: at least 1.5", 1 / found.ratio(OURS, ENVOY, cpu), 1.5),
        ("capacity beside the aiohttp proxy on uvloop: at least 8", 1 / found.ratio(OURS, BARE, cpu), 8.0),
    ]
    for text, value, bound in at_least:
        yield f"| {text} | {value:.2f} times | {verdict(value >= bound)} |"
    at_most = [
        (f"added p50: no more than that of {ENVOY}", found.median(OURS, p50), found.median(ENVOY, p50), "ms"),
        (f"added p99: no more than that of {ENVOY}", found.median(OURS, p99), found.median(ENVOY, p99), "ms"),
        ("memory at rest: at most 45 MB", found.median(OURS, idle), 45.0, "MB"),
        ("start: at most 1.2 of the aiohttp proxy's on uvloop", found.ratio(OURS, BARE, start), 1.2, "times"),
    ]
    for text, value, bound, unit in at_most:
        yield f"| {text} | {value:.2f} {unit}, bound {bound:.2f} | {verdict(value <= bound)} |"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def losses(found: Found) -> Iterator[str]:
    """Who does better than the gateway in what, and by how much."""
    others = [name for name in proxies(found) if not name.startswith(OURS)]
    for what, (measure, unit) in COMPARED.items():
        ours = found.median(OURS, measure)
        better = [(found.median(name, measure), name) for name in others if found.median(name, measure) < ours]
        told = ", ".join(f"{name} {said(value, unit)}" for value, name in sorted(better)) or "nobody does better"
        yield f"- **{what}** (the gateway: {said(ours, unit)} {unit}): {told}."


def said(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit in {"ms", "s"} else figure(value)


def left_out(found: Found) -> Iterator[str]:
    for name, why in found.facts["left_out"].items():
        yield f"- {name}: {why}"


def picture(found: Found) -> str:
    bars = sorted(
        (Bar(name, found.median(name, cpu), name.startswith(OURS)) for name in proxies(found)),
        key=lambda bar: bar.value,
    )
    return chart("CPU time a call, µs (logarithmic scale; shorter is better)", bars)


def noise(found: Found) -> Iterator[str]:
    """A warning where the calls without any proxy, which should be the same in each round, were not."""
    calls = found.rounds(NOTHING, wide).values()
    if min(calls) < QUIET * max(calls):
        yield (
            f"**The machine had other work to do**: without a proxy it made {min(calls):,.0f} calls/s in one round and {max(calls):,.0f} "
            "in another. The ratios of CPU a call and the memory still say something; the other figures of this run say little."
        )


def page(found: Found) -> str:
    facts = found.facts
    sections: Sequence[tuple[str, Iterator[str]]] = [
        ("", noise(found)),
        ("", table(found)),
        ("### Goals", goals(found)),
        ("### Where the gateway loses", losses(found)),
        ("### Left out of this run, or of a part of it", left_out(found)),
    ]
    how = f"Medians of {facts['rounds']} interleaved rounds with loads of {facts['seconds']} s each; the slowest three took part in two."
    told = [f"{facts['date']}, {facts['machine']}. {how}", "![CPU time a call](performance.svg)"]
    for title, lines in sections:
        if text := "\n".join(lines):
            told += [title, text] if title else [text]
    return "\n\n".join(told)


def put(text: str, into: str) -> str:
    """Between the two markers. Raises ValueError where they are missing."""
    before, begin, rest = into.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the results: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def read(results: str) -> Found:
    facts = json.loads(results)
    return Found(facts, {subject["name"]: subject for subject in facts["subjects"]})


if __name__ == "__main__":
    if not RESULTS.exists():
        raise SystemExit("nothing was measured yet: python -m bench.compare")
    found = read(RESULTS.read_text())
    if not {NOTHING, OURS} <= set(found.subjects):
        raise SystemExit(f"the page needs both {NOTHING!r} and {OURS!r}: measure them too")
    CHART.write_text(picture(found))
    PAGE.write_text(put(page(found), PAGE.read_text()))
    print(f"written: {CHART.relative_to(ROOT)} and the results in {PAGE.relative_to(ROOT)}")
