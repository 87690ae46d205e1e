"""The gateway and its competitors in interleaved rounds: CPU a call, calls per second, latency at a fixed rate, memory, start.

python -m bench.compare [--rounds 5] [--seconds 3] [--connections 16 64] [--only NAME ...]

Nothing else of the table runs while one subject is measured. What was found goes to bench/results/compare.json, round by round;
`python -m bench.report` makes the page of it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from bench.competitors import ALL
from bench.load import Failed, load
from bench.open_loop import latency
from bench.running import Running, cores, free_ports
from bench.subjects import GATEWAY, GATEWAY_FRESH_HEADS, GATEWAY_SOURCES, SHIPPED, Command, Missing, Place, Subject
from bench.tool import tool

RESULTS = Path(__file__).with_name("results") / "compare.json"
WARM_UP, AT_REST = 1.0, 2.0
SLOW_ROUNDS = 2
"""Rounds in which the slow ones take part."""
NO_PROXY = Subject("no proxy", lambda: "", lambda _place: Command([]))
"""The tool itself, called by the load generator: what all the others cannot exceed."""
SUBJECTS = (NO_PROXY, GATEWAY, GATEWAY_FRESH_HEADS, GATEWAY_SOURCES, *ALL)


class Options(NamedTuple):
    rounds: int
    seconds: float
    connections: Sequence[int]


class Bench(NamedTuple):
    """What stays the same while subjects come and go."""

    subject_core: int
    load_core: int
    tool_port: int
    options: Options


def visit(subject: Subject, bench: Bench) -> dict[str, object]:
    """One subject, from its start to its end. Raises Missing where it cannot be started, Failed where it fails a call."""
    with tempfile.TemporaryDirectory() as name:
        port, admin_port = free_ports(2)
        place = Place(port, admin_port, bench.tool_port, Path(name))
        if subject is NO_PROXY:
            return under_load(subject, place._replace(port=bench.tool_port), bench, lambda: (0.0, 0.0))
        command = subject.command(place)
        began = time.perf_counter()
        with Running(command, bench.subject_core, place.folder) as running:
            running.wait_for_answer(subject, place)
            start_s = time.perf_counter() - began
            time.sleep(AT_REST)
            idle_mb = running.use().rss_mb
            return {"start_s": start_s, "idle_mb": idle_mb, **under_load(subject, place, bench, running.use)}


def under_load(
    subject: Subject, place: Place, bench: Bench, use: Callable[[], tuple[float, float]]
) -> dict[str, object]:
    seen_mb: list[float] = []
    closed: list[dict[str, float]] = []

    def watch() -> None:
        seen_mb.append(use()[1])

    seconds = bench.options.seconds
    widths = list(dict.fromkeys(min(one, subject.most_connections) for one in bench.options.connections))
    load(subject, place, bench.load_core, widths[0], WARM_UP, watch)
    for connections in widths:
        before, _ = use()
        done = load(subject, place, bench.load_core, connections, seconds, watch)
        cpu_seconds = use()[0] - before
        found = {
            "connections": connections,
            "calls_per_s": done.calls / done.seconds,
            "cpu_us": cpu_seconds / done.calls * 1e6,
            "busy": cpu_seconds / done.seconds,
        }
        closed.append(found)
    fixed = latency(subject, place, seconds)
    return {"closed": closed, "p50_ms": fixed.p50_ms, "p99_ms": fixed.p99_ms, "loaded_mb": max(seen_mb)}


def measure(subjects: Sequence[Subject], options: Options) -> None:
    subject_core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    results = Results(options, {}, {}, {})
    installed = [subject for subject in subjects if results.has(subject)]
    with tool(load_core) as tool_port:
        bench = Bench(subject_core, load_core, tool_port, options)
        for number, subject in turns(installed, options.rounds):
            if subject.name in results.left_out:
                continue
            try:
                found = visit(subject, bench)
            except (Missing, Failed) as why:
                if subject in (NO_PROXY, GATEWAY):
                    raise SystemExit(f"{subject.name}: {why}") from None
                results.leave_out(subject, why)
                continue
            results.visits[subject.name].append({"round": number, **found})
            results.keep()
            print(f"round {number + 1} of {options.rounds}: {subject.name:34} {short(found)}", flush=True)


def turns(subjects: Sequence[Subject], rounds: int) -> Iterator[tuple[int, Subject]]:
    """Round by round. No subject always follows the same one, and the slow take part in the first rounds alone."""
    for number in range(rounds):
        first = number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            if number < SLOW_ROUNDS or not subject.slow:
                yield number, subject


class Results(NamedTuple):
    """What was found so far."""

    options: Options
    subjects: dict[str, dict[str, object]]
    """By name, in the order of the table: what is said of it in the page."""
    visits: dict[str, list[dict[str, object]]]
    left_out: dict[str, str]

    def has(self, subject: Subject) -> bool:
        """Whether it is installed."""
        try:
            version = subject.version()
        except Missing as why:
            self.leave_out(subject, why)
            return False
        self.subjects[subject.name] = {"version": version, "calls_per_second": subject.calls_per_second}
        self.visits[subject.name] = []
        return True

    def leave_out(self, subject: Subject, why: Exception) -> None:
        self.left_out[subject.name] = str(why)
        print(f"{subject.name} is left out: {why}")

    def keep(self) -> None:
        """After each visit, so that a run that is broken off was not for nothing."""
        found = {
            "date": date.today().isoformat(),  # noqa: DTZ011  # the reader's day
            "machine": machine(),
            "rounds": max(len(visits) for visits in self.visits.values()),
            "seconds": self.options.seconds,
            "subjects": [
                {"name": name, **said, "visits": self.visits[name]}
                for name, said in self.subjects.items()
                if self.visits[name]
            ],
            "left_out": self.left_out,
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False))


def short(found: dict[str, object]) -> str:
    closed = found["closed"]
    assert isinstance(closed, list)
    loads = [f"{one['calls_per_s']:8,.0f}/s {one['cpu_us']:8,.1f} µs" for one in closed]
    return "  ".join([*loads, f"p50 {found['p50_ms']:.2f} ms", f"p99 {found['p99_ms']:.2f} ms"])


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    python = SHIPPED / "python" if SHIPPED.exists() else sys.executable
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{version}, Linux {platform.release()}, {os.cpu_count()} cores of {model}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load, of which there are three a round")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="subjects whose name contains one of these"
    )
    options = parser.parse_args()
    wanted = [one for one in SUBJECTS if not options.only or any(name in one.name for name in options.only)]
    measure(wanted, Options(options.rounds, options.seconds, options.connections))


if __name__ == "__main__":
    main()
