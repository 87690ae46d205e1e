"""What a charge costs that gateways share: the step by itself, beside a bare PING on the same connection, alone and many at once.

python -m bench.fleet [--charges 5000]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from gateway.model import RunKey
from gateway.place import parse_place
from gateway.state.shared import Ask
from gateway.state.stores.valkey.fleet import Fleet
from tests.fleet.valkey_server import ValkeyServer

BORN = ("tgw:born",)


def ask(number: int, *, limited: bool) -> Ask:
    """A call of a run; `limited`: its agent has the three limits as well."""
    most = 10**9 if limited else None
    return Ask(
        id=f"c{number}",
        run=RunKey("scout", f"r{number % 100}"),
        tool="search.read",
        spend=1000,
        step=0,
        per_hour=10**6 if limited else None,
        spend_per_day=most,
        tool_per_day=most,
        run_calls=10**9,
        run_spend=None,
        run_seconds=3600,
    )


async def one_by_one(fleet: Fleet, charges: int, *, limited: bool) -> list[float]:
    took = []
    for number in range(charges):
        began = time.perf_counter()
        await fleet.charge(ask(number, limited=limited)).heard
        took.append(time.perf_counter() - began)
    return took


async def together(fleet: Fleet, charges: int, at_once: int, *, limited: bool) -> tuple[float, float]:
    """Wall and CPU microseconds of this process for each charge."""
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, charges, at_once):
        shares = [fleet.charge(ask(n, limited=limited)) for n in range(start, start + at_once)]
        await asyncio.gather(*(share.heard for share in shares))
    return (time.perf_counter() - wall) / charges * 1e6, (time.process_time() - cpu) / charges * 1e6


def row(name: str, took: list[float]) -> str:
    cuts = quantiles(took, n=100)
    return f"{name:<44} p50 {cuts[49] * 1e6:7.0f} us   p99 {cuts[98] * 1e6:7.0f} us"


async def main(charges: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder) / "valkey", ("--appendonly", "no"))
        await server.begin()
        fleet = Fleet(parse_place(server.url), time.time)
        running = asyncio.create_task(fleet.run())
        try:
            await fleet.ready.wait()
            link = fleet.link
            assert link is not None
            took = []
            for _ in range(charges):
                began = time.perf_counter()
                await link.fetch("BEGIN", BORN)
                took.append(time.perf_counter() - began)
            print(row("a round trip that charges nothing", took))
            for limited, name in ((False, "a call of a run"), (True, "a call of a run, its agent limited thrice")):
                print(row(name, await one_by_one(fleet, charges, limited=limited)))
            for limited, name in ((False, "runs"), (True, "runs and agents' limits")):
                wall, cpu = await together(fleet, charges, 64, limited=limited)
                print(f"64 at once, {name:<32} {wall:7.0f} us each, {cpu:.0f} us of them CPU of the gateway")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charges", type=int, default=5000)
    asyncio.run(main(parser.parse_args().charges))
