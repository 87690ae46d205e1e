"""The incident the design starts from: "client retried, agent retried tools". A client that gives up before the gateway does sends the
same request three times to tools that hang or fail; what they get must not be a multiple of a multiple.
"""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, status

HANGING, FAILING, WRITING = "hanging.read", "failing.read", "hanging.write"
GIVES_UP = aiohttp.ClientTimeout(1.0)
APART, TIMES = 1.6, 3
"""Seconds from one to the next, and how many. The incident's 3.5 and 5.5 s were longer: either is less than an attempt may take."""


class Tools:
    """What each of them got, and how many at a time."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}
        self.at_work: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        tool = request.path.removeprefix("/")
        self.attempts[tool] = self.attempts.get(tool, 0) + 1
        self.at_work[tool] = self.at_work.get(tool, 0) + 1
        self.most[tool] = max(self.most.get(tool, 0), self.at_work[tool])
        try:
            if tool == FAILING:
                return await status(503)(request)
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        finally:
            self.at_work[tool] -= 1


async def insist(running: Running, tool: str) -> list[str]:
    """What the client hears, each time."""
    heard, began = [], asyncio.get_running_loop().time()
    for number in range(TIMES):
        await asyncio.sleep(began + number * APART - asyncio.get_running_loop().time())
        try:
            async with running.agent.post(f"/runs/r/tools/{tool}", json={"q": "tea"}, timeout=GIVES_UP) as answer:
                heard.append(answer.headers["Tool-Gateway-Reason"])
                await answer.read()
        except TimeoutError:
            heard.append("nothing")
    return heard


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    """As the safe default: two repeats a call, eight seconds an attempt, a breaker that opens at five failures in a row."""
    definitions = {
        HANGING: {"effect": "read"},
        WRITING: {"effect": "write"},
        FAILING: {"effect": "read", "upstream": "failing", "path": f"/{FAILING}"},
    }
    return await start(policy_of(definitions, upstreams={"failing": {"url": tool.url}}))


async def test_three_times_the_same_request_is_three_calls_and_no_pile_at_the_tool(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = tools = Tools()
    hanging, writing, failing = await asyncio.gather(*(insist(running, name) for name in (HANGING, WRITING, FAILING)))
    assert hanging == writing == ["nothing"] * TIMES
    # Whoever gives up takes its attempt along: one is at work at a time, and nothing is repeated for a client that is gone.
    await tool.left(2 * TIMES)
    for name in (HANGING, WRITING):
        assert (tools.attempts[name], tools.most[name]) == (TIMES, 1)
    # Nine attempts would be the client's three times the gateway's three. The first call has three; its repeats are most of what the
    # budget lets the next one have; and the fifth failure in a row is the last.
    assert set(failing) == {"tool_error", "circuit_open"}
    assert tools.attempts[FAILING] <= 5
    assert tools.most[FAILING] == 1
    run = next(iter(running.gateway.counts.ledger.runs()))
    assert run.tool_calls == 2 * TIMES + failing.count("tool_error"), "what was refused is not charged"
    ends = [record.reason.value for record in running.seen.records]
    assert ends.count("client_gone") == 2 * TIMES
