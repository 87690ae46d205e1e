"""Is a call's price the same with many agents, tools and live runs as with few? In one process, through the whole pipeline, without a wire.

python -m bench.scale [--rounds 7]

Each point is a gateway of its own, started as shipped; what its upstream would answer is there at once. The calls of a batch go round all
agents, tools or runs of the point. All points are measured in every round, one after the other. Printed are µs of CPU a call on the event
loop's thread and, counted and thus the same on every machine, its bytecodes: what the first have beyond the second is the processor's
memory, which is slower where each call meets a plan that was not in use just before.
"""

import argparse
import asyncio
import gc
import random
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.cost_counter import Counter
from bench.wire import REPLY_BODY, REQUEST_BODY
from gateway.app import Gateway
from gateway.clock import clock
from gateway.model import Attempt, Budgets, Door, Moment, Reply, RunKey, ToolCall
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.policy.snapshot import Plan
from gateway.settings import read_settings
from gateway.state.journal import Charge
from gateway.state.ledger import Ledger

BATCH, BATCHES = 2000, 6
"""Calls: fewer than the log's queue holds. And batches in a round, the first of which brings back what the other points pushed out."""
COUNTED = 300
"""Calls whose bytecodes are counted."""
ROOMY = Budgets(10**6, 10**6, 604_800.0)
LIVE = 100_000
"""Runs whose memory is measured."""


class Point(NamedTuple):
    """What there is of each."""

    agents: int = 1
    tools: int = 10
    runs: int = 1

    @property
    def policy(self) -> str:
        tools = "\n".join(f"    {tool_of(n)}: {{effect: read}}" for n in range(self.tools))
        agents = "".join(f"  {agent_of(n)}: {{}}\n" for n in range(self.agents))
        limits = "runs: {max_started_per_hour: 1000000, max_identical_calls: 0}\n"
        return f"{limits}tools:\n  allowlist: ['*']\n  definitions:\n{tools}\nagents:\n{agents}"

    def keys(self) -> Iterator[tuple[RunKey, str]]:
        """The run and tool of one call after the other, without end; its neighbours in memory are none in time."""
        number, stride = 0, 7919  # a prime: it meets all of a point's runs, agents and tools
        while True:
            number += stride
            yield key_of(number % self.runs, self.agents), tool_of(number % self.tools)


CURVES: dict[str, list[Point]] = {
    "agents": [Point(agents=n, runs=n) for n in (1, 10, 100, 1000)],
    "tools": [Point(tools=n) for n in (10, 100, 1000, 10_000)],
    "runs": [Point(runs=n) for n in (1, 100, 10_000, 100_000)],
}


def tool_of(number: int) -> str:
    return f"group{number % 100}.tool{number}"


def agent_of(number: int) -> str:
    return f"agent-{number}"


def key_of(number: int, agents: int) -> RunKey:
    return RunKey(agent_of(number % agents), f"run-{number:08x}")


class Bench:
    """One point, started."""

    def __init__(self, point: Point, gateway: Gateway) -> None:
        self._gateway = gateway
        self._keys = point.keys()
        self._reply = Reply(200, (("Content-Type", "application/json"),), REPLY_BODY)
        self._pipeline = Pipeline(
            counts=gateway.counts,
            buffers=gateway.buffers,
            send=self._send,
            observer=gateway.observers,
            clock=clock,
            dice=random.random,
        )
        for number in range(point.runs):
            gateway.counts.ledger.reserve(Charge(key_of(number, point.agents), tool_of(0), 0, None, clock()), ROOMY)

    async def _send(self, attempt: Attempt, _plan: Plan, _call: ToolCall) -> Reply:
        attempt.sent = True
        return self._reply

    async def cost(self) -> float:
        """µs of CPU a call, on the loop's thread."""
        took = []
        for _ in range(BATCHES):
            calls, began = self._calls(BATCH), time.thread_time()
            await self._make(calls)
            took.append((time.thread_time() - began) / BATCH * 1e6)
            while self._gateway.log.queued_bytes:  # noqa: ASYNC110  the writer is a thread that tells nobody
                await asyncio.sleep(0.01)
        return median(took[1:])

    async def bytecodes(self) -> float:
        """Of a call."""
        calls = self._calls(COUNTED)
        gc.disable()
        with Counter() as counted:
            await self._make(calls)
        gc.enable()
        return counted.bytecodes / COUNTED

    def _calls(self, count: int) -> list[ToolCall]:
        return [call_of(key, tool) for key, tool in (next(self._keys) for _ in range(count))]

    async def _make(self, calls: list[ToolCall]) -> None:
        snapshot = self._gateway.policies.snapshot
        for call in calls:
            await self._pipeline.handle(call, snapshot.plan(call.agent, call.tool), snapshot.version, answered)


async def answered(call: OpenCall) -> None:
    if call.outcome.reply is None:
        raise SystemExit(f"a call was refused: {call.outcome.denial}")


def call_of(key: RunKey, tool: str) -> ToolCall:
    return ToolCall(
        id="bench",
        door=Door.TOOL_PATH,
        agent=key.agent,
        run=key,
        tool=tool,
        method="POST",
        rest="",
        query="",
        target="/",
        headers=(("Content-Type", "application/json"),),
        body=REQUEST_BODY,
        started=clock(),
        args_hash="0" * 64,
    )


def written(point: Point, folder: Path) -> Path:
    """Its policy, in a folder of its own."""
    policies = folder / "policies"  # with nothing else in it: what changes beside a policy has it looked at again
    policies.mkdir(parents=True)
    (policies / "policy.yaml").write_text(point.policy)
    return folder


async def started(folder: Path) -> Gateway:
    environ = {
        "AGENT_MAX_TOOL_CALLS": "1000000",
        "AGENT_MAX_SECONDS": "604800",
        "GATEWAY_POLICY": f"{folder}/policies",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_TOKEN": "bench-token-of-no-value",
        "GATEWAY_UPSTREAM": "http://127.0.0.1:9",
        "GATEWAY_STATE": f"sqlite:{folder}/gateway.db",
        "GATEWAY_LOG": f"{folder}/log.jsonl",
    }
    gateway = Gateway(read_settings(environ), environ)
    await gateway.start()
    return gateway


async def curves(rounds: int) -> None:
    points = list(dict.fromkeys(point for curve in CURVES.values() for point in curve))
    took: dict[Point, list[float]] = {point: [] for point in points}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            benches = {}
            for number, point in enumerate(points):
                own = written(point, Path(folder) / str(number))
                gateway = await started(own)
                stack.push_async_callback(gateway.stop)
                benches[point] = Bench(point, gateway)
            for number in range(rounds + 1):
                for point, bench in benches.items():
                    cost = await bench.cost()
                    if number:  # the first one warms up: plans, half-ready lines, caches
                        took[point].append(cost)
            counted = {point: await bench.bytecodes() for point, bench in benches.items()}
    for name, curve in CURVES.items():
        print(f"| {name} | µs a call | of the first | bytecodes | of the first |\n|---|---|---|---|---|")
        for point in curve:
            cost, codes = median(took[point]), counted[point]
            ratios = median(a / b for a, b in zip(took[point], took[curve[0]], strict=True)), codes / counted[curve[0]]
            print(f"| {getattr(point, name):,} | {cost:.1f} | {ratios[0]:.2f} | {codes:.0f} | {ratios[1]:.2f} |")
        print()


def bytes_of_a_run(tools: int, calls: int = 6) -> float:
    """Of a live run that has made so many calls of so many tools, as the interpreter counts them. Its agent's name is everybody's."""
    ledger = Ledger()
    gc.collect()
    tracemalloc.start()
    for number in range(LIVE):
        for call in range(calls):
            at = Moment(number * 1e-4 + call, 1.7e9 + number * 1e-4 + call)
            key = RunKey("default", f"run-{number:08x}-{'f' * 10}")  # each call brings its own
            ledger.reserve(Charge(key, tool_of(call % tools), 1000, call, at), ROOMY)
        if number % 1000 == 0:
            ledger.changed(Moment(0.0, 0.0))
    ledger.changed(Moment(0.0, 0.0))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / LIVE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    uvloop.run(curves(parser.parse_args().rounds))
    for tools in (1, 3):
        print(f"a live run, calls of {tools} tool{'s' if tools > 1 else ''}: {bytes_of_a_run(tools):.0f} bytes")


if __name__ == "__main__":
    main()
