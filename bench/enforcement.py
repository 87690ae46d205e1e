"""What enforcement adds to a call on the event loop, step by step, on the real objects of a started gateway. Goal: under 20 µs.

python -m bench.enforcement [--rounds 15]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench.subjects import BUDGETS, PATH, POLICY, TOOL
from bench.wire import REPLY_BODY, REQUEST_BODY
from gateway.app import Gateway
from gateway.clock import clock
from gateway.guards import judge
from gateway.model import Budgets, Door, Reply, RunKey, ToolCall
from gateway.pipeline.limits import Limits
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.settings import read_settings
from gateway.state.journal import Charge
from gateway.state.ledger import Ledger
from gateway.state.stores.keeper import Keeper, open_store

CALLS = 2000
"""A batch: fewer than the log's queue holds, so that every line is taken."""


def call_of(number: int) -> ToolCall:
    return ToolCall(
        id=f"bench{number:08x}",
        door=Door.TOOL_PATH,
        agent="default",
        run=RunKey("default", f"bench-{number % 16}"),
        tool=TOOL,
        method="POST",
        rest="",
        query="",
        target=PATH,
        headers=(("Content-Type", "application/json"),),
        body=REQUEST_BODY,
        started=clock(),
        args_hash="0" * 64,
    )


def journal_alone(gateway: Gateway, first: int) -> float:
    """µs of a charge's way into the kernel, which `reserve` waits for."""
    charges = [charge_of(call_of(first + number)) for number in range(CALLS)]
    charged, began = gateway.counts.ledger.journal.charged, time.thread_time()
    kept = [charged(charge, charge.at.wall) for charge in charges]
    took = time.thread_time() - began
    if not all(kept):
        raise SystemExit(f"the journal took only {sum(kept)} of {CALLS} charges: {gateway.keeper.problem}")
    return took / CALLS * 1e6


def journal_together(gateway: Gateway, first: int, together: int = 16) -> float:
    """The same of charges that are gathered and go into the kernel together."""
    charges = [charge_of(call_of(first + number)) for number in range(CALLS)]
    journal, kept, began = gateway.counts.ledger.journal, True, time.thread_time()
    for number, charge in enumerate(charges, 1):
        journal.gathered(charge, charge.at.wall)
        if number % together == 0:
            kept &= journal.flush()
    took = time.thread_time() - began
    if not kept:
        raise SystemExit(f"the journal took not all of {CALLS} charges: {gateway.keeper.problem}")
    return took / CALLS * 1e6


def start_after_a_kill(folder: Path, entries: int = 100_000, runs: int = 1000) -> float:
    """ms until counts stand again where a journal of so many entries left them."""
    url, budgets = f"sqlite:{folder}/killed.db", Budgets(25, 12, 60)
    ledger, store = Ledger(), open_store(url)
    keeper = Keeper(store)
    keeper.begin(ledger, keeper.load(), clock())
    for number in range(entries):
        call = call_of(number)
        key = RunKey("default", f"bench-{number % runs}")
        ledger.reserve(Charge(key, call.tool, 0, call.step, call.started, call.args_hash), budgets)
    store.close()  # nothing was folded
    began = time.perf_counter()
    again, after = Keeper(open_store(url)), Ledger()
    again.begin(after, again.load(), clock())
    took = time.perf_counter() - began
    if sum(run.tool_calls for run in after.runs()) != entries:
        raise SystemExit("the journal was not read as it was written")
    return took * 1000


def charge_of(call: ToolCall) -> Charge:
    """As the pipeline makes it."""
    return Charge(call.run, call.tool, 0, call.step, call.started, call.args_hash)


def one_batch(gateway: Gateway, plan: Plan, first: int) -> dict[str, float]:
    """µs a call of each step, in the order a call takes them."""
    counts, version = gateway.counts, gateway.policies.snapshot.version
    calls = [call_of(first + number) for number in range(CALLS)]
    reply = Reply(200, (("Content-Type", "application/json"),), REPLY_BODY)
    took: dict[str, float] = {}

    def step(name: str, of_all: Callable[[], list[object]]) -> list[object]:
        began = time.thread_time()  # of this thread alone: the log's writer has its own line
        results = of_all()
        took[name] = (time.thread_time() - began) / CALLS * 1e6
        return results

    runs = step("the run", lambda: [counts.ledger.find(call.run, plan.budgets, call.started) for call in calls])
    found: list[tuple[ToolCall, Any]] = list(zip(calls, runs, strict=True))
    step("guards", lambda: [judge(call, plan, counts, call.started, run) for call, run in found])
    step("reserve", lambda: [counts.ledger.reserve(charge_of(call), plan.budgets, run) for call, run in found])
    waits = step("enter flight", lambda: [counts.in_flight.enter(call, plan.effect) for call in calls])
    step("what remains", lambda: [counts.ledger.remaining(call.run, plan.budgets, clock()) for call in calls])
    step("leave flight", lambda: [counts.in_flight.leave(wait, 0.0) for wait in waits])  # type: ignore[arg-type, func-returns-value]  # as entered
    progresses = [Progress(call, plan, version, Limits(call.started.mono + plan.deadline)) for call in calls]
    for progress in progresses:
        progress.take(reply)
    records = step("record", lambda: [progress.record(clock()) for progress in progresses])
    step("log", lambda: [gateway.log.call_ended(record) for record in records])  # type: ignore[arg-type, func-returns-value]  # as recorded
    step("metrics", lambda: [gateway.metrics.call_ended(record) for record in records])  # type: ignore[arg-type, func-returns-value]  # as recorded
    step("recent calls", lambda: [gateway.recent.call_ended(record) for record in records])  # type: ignore[arg-type, func-returns-value]  # as recorded
    return took


async def measure(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.yaml"
        policy.write_text(POLICY)
        environ = {
            **BUDGETS,
            "GATEWAY_POLICY": str(policy),
            "GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
            "GATEWAY_ADMIN_TOKEN": "bench-token-of-no-value",
            "GATEWAY_UPSTREAM": "http://127.0.0.1:9",
            "GATEWAY_STATE": f"sqlite:{folder}/gateway.db",
            "GATEWAY_LOG": f"{folder}/log.jsonl",
        }
        gateway = Gateway(read_settings(environ), environ)
        await gateway.start()
        plan = gateway.policies.snapshot.plan("default", TOOL)
        batches, writer, journal, gathered = [], [], [], []
        for number in range(rounds):
            journal.append(journal_alone(gateway, number * CALLS))
            gathered.append(journal_together(gateway, number * CALLS))
            before, own = time.process_time(), time.thread_time()
            batches.append(one_batch(gateway, plan, number * CALLS))
            while gateway.log.queued_bytes:  # noqa: ASYNC110  # the writer is a thread that tells nobody
                await asyncio.sleep(0.01)
            writer.append(((time.process_time() - before) - (time.thread_time() - own)) / CALLS * 1e6)
        await gateway.stop()
        restart = start_after_a_kill(Path(folder))
    total = median(sum(batch.values()) for batch in batches)
    for name in batches[0]:
        print(f"{name:24} {median(batch[name] for batch in batches):6.2f} µs")
    print(f"{'together':24} {total:6.2f} µs a call on the event loop")
    print(f"{'the journal, of reserve':24} {median(journal):6.2f} µs, at most {max(journal):.2f} in a round")
    print(f"{'the same, 16 together':24} {median(gathered):6.2f} µs, where calls go on together")
    print(f"{'start after kill -9':24} {restart:6.0f} ms with 100,000 entries in the journal")
    print(f"{'the log writer thread':24} {median(writer):6.2f} µs a line beside it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    uvloop.run(measure(parser.parse_args().rounds))
