"""`make chaos`: a gateway under load while its upstream, its policy, its operator and its own process misbehave.

Every difference between what the gateway counted and what the upstream saw is a fault. The seed is printed: a run can be repeated.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from tests.chaos.load import AGENTS, Load
from tests.chaos.oracle import Oracle
from tests.chaos.upstream import WEATHER, Upstream
from tests.scenarios.installation import Installation, ended

MAX_TOOL_CALLS, MAX_ACTIONS = 12, 700
POLICY: dict[str, object] = {
    "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": MAX_TOOL_CALLS, "AGENT_MAX_SECONDS": 600}},
    "tools": {
        "allowlist": ["search.read", "notes.write", "paced.read"],
        "timeouts_ms": {"default": 1000},
        "definitions": {
            "search.read": {"effect": "read"},
            "notes.write": {"effect": "write"},
            "paced.read": {
                "effect": "read",
                "upstream": "paced",
                "path": "/paced",
                "rate": {"per_second": 10, "burst": 5},
                "max_concurrency": 4,
                "max_waiting": 20,
            },
        },
    },
    "agents": {"billing": {"max_actions_per_hour": MAX_ACTIONS}, "scout": {}, "default": {}},
}
BAD_POLICY = {"tools": {"allowlist": 7}}
TOOLS = ("search.read", "search.read", "notes.write", "paced.read")
NOT_PACED, WRITES = ("search.read", "notes.write"), ("notes.write",)


class Chaos:
    """One gateway and all that befalls it."""

    def __init__(self, installation: Installation, upstream: Upstream, oracle: Oracle, dice: random.Random) -> None:
        self._installation = installation
        self._upstream = upstream
        self._oracle = oracle
        self._dice = dice
        self._process: Process | None = None
        self.happened: Counter[str] = Counter()

    async def begin(self) -> None:
        """Starts a process on the port of the one before."""
        self._process = await self._installation.begin()
        self._oracle.restarts.append(asyncio.get_running_loop().time())

    async def reign(self, seconds: float) -> None:
        """One misfortune after the other."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        misfortunes: Sequence[Callable[[], Awaitable[None]]] = [self._weather] * 6 + [
            self._kill_9, self._roll_out, self._reload, self._reload_badly, self._kill_switch,
        ]  # fmt: skip
        while loop.time() < end:
            misfortune = self._dice.choice(misfortunes)
            self.happened[misfortune.__name__.strip("_").replace("_", " ")] += 1
            await misfortune()
            await asyncio.sleep(self._dice.uniform(0.5, 4))

    async def calm(self) -> None:
        """Nothing is in flight and all is well; what the gateway counts now is final."""
        await self._upstream.change(WEATHER[0])
        self._installation.write_policy(POLICY)

    async def stop(self) -> None:
        """In order."""
        if self._process is not None:
            await ended(self._process, signal.SIGTERM)

    async def _weather(self) -> None:
        await self._upstream.change(self._dice.choice(WEATHER))

    async def _kill_9(self) -> None:
        if self._process is not None:
            await ended(self._process, signal.SIGKILL)
        await self.begin()

    async def _roll_out(self) -> None:
        await self.stop()
        await self.begin()

    async def _reload(self) -> None:
        self._installation.write_policy({**POLICY, "observability": {"max_logged_bytes": self._dice.randrange(2048)}})

    async def _reload_badly(self) -> None:
        self._installation.write_policy(BAD_POLICY)
        await asyncio.sleep(1.5)
        self._installation.write_policy(POLICY)

    async def _kill_switch(self) -> None:
        scope = self._dice.choice(["all", "writes", "tool:search.*", "agent:scout"])
        switch = {
            "scope": scope,
            "reason": "chaos",
            "for_seconds": 1,
            "cancel_in_flight": self._dice.random() < 0.5,
        }
        async with self._installation.operator() as operator:
            await operator.post("/v1/kill-switches", json=switch)


async def differences(installation: Installation, oracle: Oracle) -> list[str]:
    """The gateway's books against the oracle's, and what must never happen."""
    found = [f"{call} may have run twice" for call in oracle.repeated_writes(WRITES)]
    found += oracle.storms(NOT_PACED)
    runs = Counter(call.run for call in oracle.offered.values())
    performed = oracle.performed()
    async with aiohttp.ClientSession(installation.data) as session:
        for run, offered in runs.items():
            seen = len(performed.get(run, ()))
            headers = {"Agent-Id": run.partition("-")[0]}
            async with session.get(f"/_gateway/runs/{run}", headers=headers) as answer:
                counted = (await answer.json())["counts"]["tool_calls"] if answer.status == 200 else 0
            if not seen <= counted <= min(offered, MAX_TOOL_CALLS):
                found.append(f"run {run}: {seen} performed, {counted} counted, {offered} offered")
    billed = sum(map(len, oracle.performed("billing").values()))
    if billed > MAX_ACTIONS:
        found.append(f"agent billing: {billed} actions performed of {MAX_ACTIONS}")
    for reason in ("internal_error", "invalid_request", "unauthenticated"):
        if oracle.answers[reason]:
            found.append(f"{oracle.answers[reason]} answers {reason}")
    return found


async def main(seconds: float, seed: int, rate: float) -> int:
    """The exit code: 0 where nothing differs."""
    oracle, dice = Oracle(), random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        async with Upstream(oracle, dice) as upstream:
            url = f"http://127.0.0.1:{upstream.port}"
            drain = {"GATEWAY_DRAIN_SECONDS": "8"}  # the load never goes quiet: the lame duck lasts to its end
            installation = Installation(Path(folder) / "installation", upstream=url, environment=drain)
            POLICY["upstreams"] = {
                name: {"url": url, "circuit_breaker": {"open_ms": 2000}} for name in ("default", "paced")
            }
            installation.write_policy(POLICY)
            chaos = Chaos(installation, upstream, oracle, dice)
            try:
                await chaos.begin()
                load = asyncio.create_task(Load(installation, oracle, dice, TOOLS, rate).run())
                await chaos.reign(seconds)
                await chaos.calm()
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
                found = await differences(installation, oracle)
                await chaos.stop()
            finally:
                await installation.destroy()
    report(oracle, chaos, found)
    return 1 if found else 0


def report(oracle: Oracle, chaos: Chaos, found: list[str]) -> None:
    """What a run comes to."""
    admitted = sum(map(len, oracle.performed().values()))
    print("what happened:", ", ".join(f"{what} x {times}" for what, times in chaos.happened.most_common()))
    print(f"offered {len(oracle.offered)}, performed {admitted}, attempts seen {len(oracle.seen)}")
    print("answers:", ", ".join(f"{reason} {number}" for reason, number in oracle.answers.most_common()))
    for line in found[:20]:
        print("DIFFERS:", line)
    print(f"difference to the oracle: {len(found)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rate", type=float, default=60.0, help="calls a second")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:g} s at {given.rate:g} calls a second, agents {', '.join(AGENTS)}")
    sys.exit(asyncio.run(main(given.seconds, given.seed, given.rate)))
