"""The incident: a tool became slow, calls piled up in front of it until every agent waited for it and memory ran out.

With `max_concurrency` and `max_waiting` it has what it can bear, so many wait in order, and the others hear at once that it is busy.
"""

import asyncio
import json
from collections import Counter

from aiohttp import web

from gateway.denial import Reason
from gateway.model import Record
from tests.doors.conftest import StartGateway
from tests.doors.tool_server import ToolServer, hang
from tests.scenarios.installation import Installation, call
from tests.scenarios.open_loop import open_loop, percentile
from tests.scenarios.resident import MB, needs_proc, resident

SLOW, QUICK = "search.read", "notes.read"
PLACES, WAITING = 4, 20
HOLD = 0.1
"""Seconds an answer takes, so that 40 calls a second go through and the last in the queue waits half a second."""
OFFERED = 300
POLICY = {
    "tools": {
        "allowlist": [SLOW, QUICK],
        "definitions": {
            SLOW: {"effect": "read", "max_concurrency": PLACES, "max_waiting": WAITING},
            QUICK: {"effect": "read"},
        },
    }
}
OK, BUSY = (200, "ok"), (503, "overloaded")


class SlowTool:
    """Of two tools the one that takes its time."""

    def __init__(self) -> None:
        self.at_work = self.most = 0
        self.order: list[int] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path != f"/{SLOW}":
            return web.json_response({})
        self.order.append(json.loads(await request.text()).get("n", -1))
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(HOLD)
        self.at_work -= 1
        return web.json_response({})


async def begin(installation: Installation, tool: ToolServer) -> tuple[int, SlowTool]:
    """The process id, and the tool."""
    tool.behaviour = slow = SlowTool()
    installation.write_policy(POLICY)
    installation.environment |= {"AGENT_MAX_TOOL_CALLS": "1000000"}
    return (await installation.begin()).pid, slow


@needs_proc
async def test_a_slow_tool_has_what_it_can_bear_and_costs_the_others_nothing(
    installation: Installation, tool: ToolServer
) -> None:
    pid, slow = await begin(installation, tool)
    sizes = []
    async with installation.agent() as agent:
        for _ in range(3):
            piled, others = await asyncio.gather(
                open_loop(lambda: call(agent, SLOW), per_second=OFFERED, seconds=1),
                open_loop(lambda: call(agent, QUICK), per_second=20, seconds=1),
            )
            sizes.append(resident(pid))
    ends = Counter(each.result for each in piled)
    assert set(ends) == {OK, BUSY}
    assert ends[OK] >= PLACES / HOLD  # two thirds of what the time takes
    assert ends[BUSY] > ends[OK]
    assert slow.most <= PLACES
    assert {each.result for each in others} == {OK}
    busy = [each for each in piled if each.result == BUSY]
    assert percentile(busy, 50) < 1000 * HOLD  # sooner than any answer of the tool's: they did not wait for one
    assert sizes[-1] - sizes[0] < 10 * MB, "a pile of calls leaves nothing behind"


async def test_an_operator_who_asks_sees_the_pile(installation: Installation, tool: ToolServer) -> None:
    await begin(installation, tool)
    end = asyncio.Event()
    tool.behaviour = hang(end)
    async with installation.agent() as agent, installation.operator() as operator:
        calls = [asyncio.create_task(call(agent, SLOW)) for _ in range(PLACES + 3)]
        queues: list[object] = []
        while queues != [{"tool": SLOW, "waiting": 3, "paused_seconds": 0}]:
            async with operator.get("/v1/status") as answer:
                queues = (await answer.json())["queues"]
        assert f"  {SLOW}: 3 waiting\n" in (await installation.run("status")).out
        end.set()
        assert set(await asyncio.gather(*calls)) == {OK}


async def test_those_who_wait_go_in_the_order_in_which_they_came(start: StartGateway, tool: ToolServer) -> None:
    tool.behaviour = slow = SlowTool()
    running = await start(json.dumps(POLICY), AGENT_MAX_TOOL_CALLS="1000000")
    numbers = iter(range(1_000_000))
    ends = await open_loop(
        lambda: call(running.agent, SLOW, json={"n": next(numbers)}), per_second=OFFERED, seconds=1.5
    )
    admitted = [record for record in running.seen.records if record.reason is Reason.OK]
    came = [json.loads(record.args)["n"] for record in sorted(admitted, key=began)]
    assert Counter(end.result for end in ends)[OK] == len(came) > PLACES + WAITING
    # Two calls that come in one moment may swap their places before they are at the queue, but none is overtaken in it.
    assert all(abs(came.index(number) - place) <= 3 for place, number in enumerate(slow.order))
    assert running.gateway.counts.pacers.waiting() == {}


def began(record: Record) -> float:
    return record.at.mono - record.duration_ms / 1000
