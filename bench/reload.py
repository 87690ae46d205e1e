"""What a reload costs the event loop, by the policy's size. Goal: no stall above 20 ms with ten thousand tools.

python -m bench.reload [--sizes 10x1,1000x100,10000x1000] [--reloads 7]

A heartbeat of 1 ms, between whose beats calls look their plans up, tells how long nothing else ran; the same before each reload is
what the machine itself keeps the loop waiting. Sizes are tools x agents, each in a process of its own. On a machine that does other
things too, `chrt --fifo 10` before it (as root) leaves these out of the figures.
"""

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import mean, median
from typing import Any

import uvloop

from gateway.app import COLLECTOR
from gateway.model import Moment
from gateway.policy.source import PolicySource

SIZES = "10x1,100x10,1000x100,10000x1000,10000x1,15000x1000"
COLUMNS = (
    *(
        "tools",
        "agents",
        "file, kB",
        "stall ms, median",
        "worst",
        "a beat takes ms",
        "quiet: stall ms, median",
        "worst",
    ),
    *("in force after s", "start s", "MB before", "with it", "after the reloads", "look-up µs, known", "new"),
)
LOOKUPS = 20
"""Calls between two beats."""
QUIET = 0.5
"""Seconds of beats before each reload."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--reloads", type=int, default=7)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tools, agents = map(int, options.sizes.split("x"))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, tempfile.TemporaryDirectory() as folder:
            print(runner.run(measure(Path(folder), tools, agents, options.reloads)))
        return
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for size in options.sizes.split(","):
        again = [sys.executable, "-m", "bench.reload", "--one", "--sizes", size, "--reloads", str(options.reloads)]
        print(subprocess.run(again, check=True, capture_output=True, text=True).stdout, end="", flush=True)


async def measure(folder: Path, tools: int, agents: int, reloads: int) -> str:
    """One row."""
    file = folder / "policy.yaml"
    file.write_text(policy(tools, agents, 0))
    before = resident()
    source = policy_source(folder)
    start = timed(source.load)
    gc.collect()
    gc.set_threshold(*COLLECTOR)
    gc.freeze()
    loaded = resident()
    dice, numbers = random.Random(5), count()

    def calls() -> None:
        for _ in range(LOOKUPS):
            source.snapshot.plan(f"a{dice.randrange(agents)}", name(dice.randrange(tools)))

    stalls, means, quiet, seconds = [], [], [], []
    for _ in range(reloads):
        quiet.append(max(await gaps(asyncio.create_task(asyncio.sleep(QUIET)), calls)))
        file.write_text(policy(tools, agents, 1 + next(numbers)))
        began = time.perf_counter()
        reloading = asyncio.create_task(source.reload())
        beats = await gaps(reloading, calls)
        stalls.append(max(beats))
        means.append(mean(beats))
        seconds.append(time.perf_counter() - began)
        assert reloading.result() == (), reloading.result()
    after = resident()
    kept = timed(lambda: [source.snapshot.plan("a0", name(0)) for _ in range(10_000)]) * 100
    fresh = source.snapshot
    new = timed(lambda: [fresh.plan(f"made-up-{n}", name(n % tools)) for n in range(2000)]) * 500
    cells: list[object] = [tools, agents, file.stat().st_size // 1000]
    cells += [f"{ms:.1f}" for ms in (median(stalls), max(stalls), median(means), median(quiet), max(quiet))]
    cells += [f"{median(seconds):.2f}", f"{start:.2f}", *(f"{mb:.0f}" for mb in (before, loaded, after))]
    return f"| {' | '.join(map(str, cells))} | {kept:.2f} | {new:.1f} |"


def name(tool: int) -> str:
    return f"s{tool % 50}.tool{tool}"


def policy(tools: int, agents: int, number: int) -> str:
    """Another one with each number."""
    definitions = {name(tool): {"effect": "read", "upstream": f"u{tool % 20}"} for tool in range(tools)}
    definitions[name(0)]["path"] = f"/{number}"
    upstreams = {f"u{n}": {"url": f"http://h{n}.example:9000"} for n in range(20)}
    limits = {f"a{n}": {"budgets": {"AGENT_MAX_TOOL_CALLS": 40}} for n in range(agents)}
    whole = {
        "tools": {"allowlist": ["s1.*", "s2.*"], "definitions": definitions},
        "upstreams": upstreams,
        "agents": {"default": {"allowlist": []}, **limits},
    }
    return json.dumps(whole, indent=1)


def policy_source(folder: Path) -> PolicySource:
    return PolicySource(
        str(folder),
        environ={},
        upstream=None,
        own_listeners=frozenset(),
        budgets={},
        emit=ignore,
        clock=lambda: Moment(time.monotonic(), time.time()),
        on_snapshot=ignore,
        on_candidate=ignore,
        on_file_switches=ignore,
    )


def ignore(_: object) -> None:
    """What others do with a new policy is not measured here."""


async def gaps(until: asyncio.Future[Any], calls: Callable[[], None]) -> list[float]:
    """Milliseconds between two beats while this lasts."""
    found, last = [], time.perf_counter()
    while not until.done():
        await asyncio.sleep(0.001)
        calls()
        now = time.perf_counter()
        found.append((now - last) * 1000)
        last = now
    return found


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def resident() -> float:
    """MB of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    main()
