"""The gateway and bare aiohttp proxies in interleaved rounds: requests per second, CPU per call, latency. Medians and ratios.

python -m bench.side_by_side [--rounds 7] [--seconds 3] [--connections 16 64]
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.subjects import PATH, Subject, bare, cores, gateway, pin, running
from bench.wire import Tool, load

WARM_UP = 0.5


class Round(NamedTuple):
    """What one subject did in one round."""

    per_second: float
    cpu_us: float
    """Of the subject's process, per call."""
    p50_ms: float
    p99_ms: float


async def one_round(subject: Subject, connections: int, seconds: float) -> Round:
    cpu = [0.0]

    def note_cpu() -> None:
        cpu[0] = subject.cpu_seconds()

    result = await load(subject.port, PATH, connections=connections, seconds=seconds, warm_up=WARM_UP, before=note_cpu)
    used = subject.cpu_seconds() - cpu[0]
    return Round(result.per_second, used / result.calls * 1e6, result.p50_ms, result.p99_ms)


async def measure(rounds: int, seconds: float, widths: list[int]) -> None:
    subject_core, load_core = cores()
    pin(load_core)
    loop = asyncio.get_running_loop()
    tool = await loop.create_server(Tool, "127.0.0.1", 0)
    tool_port = tool.sockets[0].getsockname()[1]
    upstream = f"http://127.0.0.1:{tool_port}"
    with tempfile.TemporaryDirectory() as folder:
        subjects = [
            bare(upstream, "uvloop", subject_core),
            gateway(upstream, Path(folder), subject_core),
            bare(upstream, "asyncio", subject_core),
        ]
        with running(*subjects):
            for connections in widths:
                ceiling = await load(tool_port, PATH, connections=connections, seconds=1.0, warm_up=0.2)
                seen: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
                for number in range(rounds):
                    turn = number % len(subjects)  # no subject always follows the same one
                    for subject in subjects[turn:] + subjects[:turn]:
                        seen[subject.name].append(await one_round(subject, connections, seconds))
                show(connections, ceiling.per_second, seen)
    tool.close()


def show(connections: int, ceiling: float, seen: dict[str, list[Round]]) -> None:
    base = next(iter(seen.values()))
    print(f"\n{connections} connections; load generator and tool without a proxy: {ceiling:,.0f} requests/s")
    print(f"{'':28} {'req/s':>8} {'ratio':>7} {'min..max':>11} {'CPU µs':>7} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7}")
    for name, rounds in seen.items():
        speed = [one.per_second / other.per_second for one, other in zip(rounds, base, strict=True)]
        cpu = [one.cpu_us / other.cpu_us for one, other in zip(rounds, base, strict=True)]
        mid = Round(*(median(column) for column in zip(*rounds, strict=True)))
        print(
            f"{name:28} {mid.per_second:8,.0f} {median(speed):7.2f} {min(speed):5.2f}..{max(speed):4.2f}"
            f" {mid.cpu_us:7.0f} {median(cpu):6.2f} {mid.p50_ms:7.2f} {mid.p99_ms:7.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    uvloop.run(measure(options.rounds, options.seconds, options.connections))
