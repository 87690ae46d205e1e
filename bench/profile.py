"""Where a call's time goes: samples the gateway under load and writes bench/profile.svg, a flame graph, and the shares by step.

python -m bench.profile [--seconds 8]

Needs py-spy (`pip install py-spy`), and the right to look into another process. Only the thread that holds the interpreter is sampled, and
the sources run: compiled functions are no frames.
"""

import argparse
import collections
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.load import load
from bench.running import Running, cores, free_ports
from bench.subjects import GATEWAY_SOURCES, Place
from bench.tool import tool

FLAMES = Path(__file__).with_name("profile.svg")
STEPS = {
    "log's thread: lines rendered and written": r"Log\._run|Log\._fill|Sink\.",
    "head looked up, ToolCall with its args_hash": r"Understood\.call",
    "guards": r"\bjudge\b|unhindered|guards/",
    "reserve: ledger, agents' counts, the journal's entry": r"_reserve|Ledger\.reserve|\bflush\b|written",
    "attempt let go: breaker, retry budget, queues": r"Attempts\.begin",
    "begin: limits, places, what is in flight": r"Pipeline\.begin",
    "lane: a call's objects, the request put together": r"Lane\._begin|LaneCall|Lane\._send",
    "upstream: idle connection, write": r"HttpUpstream\.quick|QuickExchange\.send|Connection\.ask",
    "record and observers": r"Pipeline\.settle",
    "complete: what remains, outcome": r"Pipeline\.complete",
    "answer: head and body written, the system call included": r"plain_bytes|Lane\.finish",
    "upstream: reply looked up, connection given back": r"Connection\._receive|QuickExchange",
    "client's and upstream's connection: what is read": r"data_received|buffer_updated",
}
"""By frames; the innermost frame that one of them knows decides."""
THE_REST = "event loop and the kernel"


def step_of(stack: list[str]) -> str:
    for frame in reversed(stack):
        for name, pattern in STEPS.items():
            if re.search(pattern, frame):
                return name
    return THE_REST


def shares(raw: str) -> list[tuple[str, float]]:
    """Of py-spy's folded stacks, the largest first."""
    counted: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        counted[step_of(stack.split(";"))] += int(samples)
    return [(name, count / counted.total()) for name, count in counted.most_common()]


def sample(pid: int, form: str, output: Path, seconds: int) -> "subprocess.Popen[bytes]":
    options = ["--gil", "--rate", "500", "--duration", str(seconds), "--format", form, "--output", str(output)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(["py-spy", "record", *options, "--pid", str(pid)], stdout=quiet, stderr=quiet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8)
    seconds = parser.parse_args().seconds
    if shutil.which("py-spy") is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    with tool(load_core) as tool_port, tempfile.TemporaryDirectory() as name:
        place = Place(*free_ports(2), tool_port, Path(name))
        with Running(GATEWAY_SOURCES.command(place), core, place.folder) as running:
            running.wait_for_answer(GATEWAY_SOURCES, place)
            load(GATEWAY_SOURCES, place, load_core, 64, 1, lambda: None)
            for form, output in (("flamegraph", FLAMES), ("raw", Path(name) / "stacks")):
                with sample(running.process.pid, form, output, seconds):
                    load(GATEWAY_SOURCES, place, load_core, 64, seconds + 1, lambda: None)
            raw = output.read_text()
    FLAMES.write_text(FLAMES.read_text().replace(f" --pid {running.process.pid}", "").replace(str(FLAMES), FLAMES.name))
    for step, share in shares(raw):
        print(f"| {step} | {share:.0%} |")


if __name__ == "__main__":
    main()
