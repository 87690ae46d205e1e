"""The incident: retries amplified load. An upstream goes down, or half down, and comes back; agents go on calling all the time.

What the upstream counts is held against what it was offered, in every ten seconds; then the fault ends, and calls succeed again soon.
"""

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import aiohttp
from aiohttp import web

from tests.doors.tool_server import Behaviour, ToolServer, hang, ok, reset, status
from tests.scenarios.installation import Installation, call

GUARDED, OPEN = "guarded.read", "open.read"
"""Two tools at one server: behind a breaker, and behind one that never opens, so that the retry budget alone holds."""
OPEN_MS, TIMEOUT_MS = 1000, 1000
RECOVERY = 1.2 * OPEN_MS / 1000 + 5
"""Seconds after the end of a fault within which calls succeed again."""
PER_SECOND = 25
"""Calls of each tool."""
OUTAGE = 4
"""Seconds."""
SPAN, LATE = 10.0, 0.25
"""Seconds: what the bound is counted over, and by how much an attempt may reach the upstream later than its call was offered."""


class Call(NamedTuple):
    """One call as its agent saw it."""

    offered: float
    status: int
    reason: str


@dataclass
class Outage:
    """The tools' server under a fault, and all that happened. Times are of this process's loop."""

    installation: Installation
    fault: Behaviour
    faulty: bool = False
    ended: float = 0.0
    """When the fault was over."""
    attempts: dict[str, list[float]] = field(default_factory=lambda: {GUARDED: [], OPEN: []})
    calls: dict[str, list[Call]] = field(default_factory=lambda: {GUARDED: [], OPEN: []})

    def configure(self) -> None:
        url = self.installation.upstream
        tools = {name: {"effect": "read", "upstream": name, "path": f"/{name}"} for name in (GUARDED, OPEN)}
        breakers = {GUARDED: {"failures": 5, "open_ms": OPEN_MS}, OPEN: {"failures": 1000}}
        self.installation.environment |= {"AGENT_MAX_TOOL_CALLS": "1000000"}
        self.installation.write_policy(
            {
                "tools": {"allowlist": [*tools], "timeouts_ms": {"default": TIMEOUT_MS}, "definitions": tools},
                "upstreams": {name: {"url": url, "circuit_breaker": breaker} for name, breaker in breakers.items()},
            }
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What the server does."""
        self.attempts[request.path[1:]].append(asyncio.get_running_loop().time())
        return await (self.fault if self.faulty else ok)(request)

    async def happen(self, agent: aiohttp.ClientSession) -> None:
        """A good second, the fault, and then load until calls have succeeded for two seconds. An open loop: nobody waits for answers."""
        loop, under_way = asyncio.get_running_loop(), []
        began = loop.time()
        for number in count():
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - loop.time()))
            if number == PER_SECOND:
                self.faulty = True
            elif number == PER_SECOND * (1 + OUTAGE):
                self.faulty, self.ended = False, loop.time()
            elif self.ended and loop.time() > min(self.recovered(GUARDED), self.ended + RECOVERY) + 2:
                break
            under_way += [asyncio.create_task(self._offer(agent, tool)) for tool in (GUARDED, OPEN)]
        await asyncio.gather(*under_way)

    def recovered(self, tool: str) -> float:
        """From when on all calls succeeded."""
        return max((call.offered for call in self.calls[tool] if call.status != 200), default=0.0)

    async def _offer(self, agent: aiohttp.ClientSession, tool: str) -> None:
        offered = asyncio.get_running_loop().time()
        self.calls[tool].append(Call(offered, *await call(agent, tool)))


def in_span(times: list[float], ends: float, span: float = SPAN) -> int:
    """How many lie in the seconds that end so."""
    return bisect_right(times, ends) - bisect_right(times, ends - span)


def no_storm(outage: Outage, tool: str) -> None:
    """In every ten seconds, whether an attempt begins or ends them."""
    attempts, offered = sorted(outage.attempts[tool]), sorted(call.offered for call in outage.calls[tool])
    for ends in [*attempts, *(attempt + SPAN for attempt in attempts)]:
        assert in_span(attempts, ends) <= 1.2 * in_span(offered, ends, SPAN + LATE) + 3


def calls_succeed_again(outage: Outage, tool: str) -> None:
    """Soon after the fault, and from then on."""
    assert outage.recovered(tool) <= outage.ended + RECOVERY
    after = [call for call in outage.calls[tool] if call.offered > outage.recovered(tool)]
    assert len(after) >= PER_SECOND


async def during(installation: Installation, tool: ToolServer, fault: Behaviour) -> Outage:
    outage = Outage(installation, fault)
    outage.configure()
    tool.behaviour = outage.answer
    await installation.begin()
    async with installation.agent() as agent:
        await outage.happen(agent)
    return outage


async def test_a_full_outage_is_not_amplified_and_is_over_soon_after_it_ends(
    installation: Installation, tool: ToolServer
) -> None:
    outage = await during(installation, tool, reset)
    for name in (GUARDED, OPEN):
        no_storm(outage, name)
        calls_succeed_again(outage, name)
    during_it = [attempt for attempt in outage.attempts[GUARDED] if outage.ended - OUTAGE <= attempt < outage.ended]
    probes = OUTAGE * 1000 / (0.8 * OPEN_MS) + 1
    assert len(during_it) <= 5 + 3 + probes + PER_SECOND, (
        "a row of failures, its retries, then probes; a second's calls may overlap"
    )
    reasons = Counter(call.reason for call in outage.calls[GUARDED])
    assert set(reasons) == {"ok", "upstream_failed", "circuit_open"}
    assert reasons["circuit_open"] > reasons["upstream_failed"]
    states = [line["state"] for line in installation.lines("breaker")]
    assert states == ["open", "half_open"] * (len(states) // 2) + ["closed"]


async def test_a_brown_out_is_not_amplified_and_every_call_is_answered_in_time(
    installation: Installation, tool: ToolServer
) -> None:
    dice, for_ever, unavailable = random.Random(4), hang(asyncio.Event()), status(503)

    async def brown_out(request: web.Request) -> web.StreamResponse:
        thrown = dice.random()
        return await (unavailable if thrown < 0.3 else for_ever if thrown < 0.6 else ok)(request)

    outage = await during(installation, tool, brown_out)
    for name in (GUARDED, OPEN):
        no_storm(outage, name)
        calls_succeed_again(outage, name)
        assert {call.reason for call in outage.calls[name]} <= {"ok", "tool_error", "tool_timeout", "circuit_open"}
    deadline = 3 * TIMEOUT_MS + 200 + 800
    assert all(line["duration_ms"] < deadline + 1000 for line in installation.lines("tool_call"))
