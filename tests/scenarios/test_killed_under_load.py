"""The incident: a gateway that was killed in the middle of its work came back with budgets that knew less than the tools had done."""

import asyncio
import json
import random
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import ANYWHERE, Installation, ended, eventually

RUNS = [f"run-{number}" for number in range(12)]
CALLERS = 16
POLICY = {
    "tools": {
        "allowlist": ["search.read", "notes.write", "gone.read"],
        "retries": {"max": 0},
        "definitions": {
            "search.read": {"effect": "read"},
            "notes.write": {"effect": "write"},
            "gone.read": {"effect": "read", "upstream": "gone"},
        },
    },
    # Nobody listens there: these calls are never sent, so their charges are given back.
    "upstreams": {"gone": {"url": "http://127.0.0.1:9", "circuit_breaker": {"failures": 1000}}},
}


@dataclass
class Load:
    """Agents that call without a pause, and count what they offered."""

    installation: Installation
    dice: random.Random
    offered: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    async def caller(self) -> None:
        async with self.installation.agent() as agent:
            while True:
                run = self.dice.choice(RUNS)
                tool = self.dice.choice(["search.read", "notes.write", "search.read", "gone.read"])
                self.offered[run] += 1
                async with agent.post(f"/runs/{run}/tools/{tool}", json={"run": run}) as answer:
                    await answer.read()
                self.answered[run] += answer.status == 200
                self.offered[run] -= answer.status == 502  # never sent, and given back before the answer

    async def until_killed(self, seconds: float, kill: Any) -> None:
        """The callers end with the connection."""
        callers = [asyncio.create_task(self.caller()) for _ in range(CALLERS)]
        await asyncio.sleep(seconds)
        kill()
        await asyncio.gather(*callers, return_exceptions=True)


def seen_by(tool: ToolServer) -> Counter[str]:
    """The upstream's own ledger."""
    return Counter(json.loads(request.body)["run"] for request in tool.received)


async def counted(installation: Installation) -> dict[str, int]:
    """As the gateway reports to operators."""
    async with installation.operator() as operator:
        numbers = {}
        for run in RUNS:
            async with operator.get(f"/v1/runs/default/{run}") as answer:
                numbers[run] = (await answer.json())["used"]["tool_calls"] if answer.status == 200 else 0
        return numbers


async def kill_again_and_again(installation: Installation, tool: ToolServer, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    installation.write_policy(POLICY)
    installation.environment |= {"AGENT_MAX_TOOL_CALLS": "1000000", "AGENT_MAX_SECONDS": "604800"}
    load = Load(installation, dice)
    for number in range(rounds):
        installation.log.unlink(missing_ok=True)  # `begin` reads all of it, over and over
        process = await installation.begin()
        await load.until_killed(dice.choice([0.02, 0.1, 0.3, 0.9, 1.1]) * dice.uniform(0.5, 1.5), process.kill)
        assert (await ended(process)).code == -signal.SIGKILL
        if dice.random() < 0.3:
            await die_at_the_start(installation, dice)
        # Asked of a gateway that takes no calls: what it knows is what it found.
        process = await installation.begin()
        seen, budgets = seen_by(tool), await counted(installation)
        for run in RUNS:
            assert seen[run] <= budgets[run], f"a charge is missing: seed {seed}, round {number}, {run}"
            assert budgets[run] <= load.offered[run], f"charged for nothing: seed {seed}, round {number}, {run}"
        if dice.random() < 0.5:
            process.kill()
            await ended(process)
        else:
            assert (await ended(process, signal.SIGTERM)).code == 0
    assert sum(load.answered.values()) > rounds
    print(  # noqa: T201  the soak's report; shown when a test fails, too
        f"seed {seed}: {rounds} kills; offered {sum(load.offered.values())}, counted {sum(budgets.values())}, "
        f"seen by the upstream {tool.calls}, answered {sum(load.answered.values())}"
    )


async def die_at_the_start(installation: Installation, dice: random.Random) -> None:
    """Somewhere between the first line of Python and readiness: perhaps while the journal is read or folded."""
    installation.data = installation.admin = ANYWHERE
    process = await installation.spawn("serve")
    with suppress(TimeoutError):
        await eventually(lambda: process.returncode is not None, within=dice.uniform(0.3, 0.9))
    process.kill()
    await ended(process)


async def test_no_charge_of_a_call_that_was_sent_is_missing_after_kill_9(
    installation: Installation, tool: ToolServer
) -> None:
    await kill_again_and_again(installation, tool, rounds=6, seed=random.randrange(10**6))


@pytest.mark.soak
@pytest.mark.parametrize("fifth", range(1, 6))  # a test that takes longer than two minutes counts as hanging
async def test_nor_after_a_hundred(installation: Installation, tool: ToolServer, fifth: int) -> None:
    await kill_again_and_again(installation, tool, rounds=20, seed=random.randrange(10**6))
