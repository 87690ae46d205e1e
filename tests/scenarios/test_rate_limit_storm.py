"""The incident: an upstream with a rate of its own said 429, every 429 was repeated at once, and the repeats kept it saying 429.

Here an upstream takes so many calls a second and answers 429 beyond, five times as many are offered, and what counts is what it sees.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer
from tests.scenarios.open_loop import Timed, open_loop

READ = "search.read"
TAKES = 20
"""Calls a second, and as many at once."""
OFFERED = 100
SECONDS = 4
IN_FLIGHT = 0.25
"""Seconds, generously: what was on its way when a 429 was given is no repeat."""


@dataclass
class Limited:
    """An upstream with a rate limit. Its own counts are what the tests believe."""

    retry_after: str | None
    arrived: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _free: float = TAKES
    _at: float = 0.0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        self.arrived.append(now)
        self._free, self._at = min(TAKES, self._free + (now - self._at) * TAKES), now
        if self._free >= 1:
            self._free -= 1
            return web.json_response({})
        self.refused.append(now)
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return web.json_response({"error": "too many requests"}, status=429, headers=headers)

    @property
    def taken(self) -> int:
        return len(self.arrived) - len(self.refused)

    def in_pauses(self, pause: float) -> int:
        """Attempts that came although a pause had been asked for, and not only just."""
        return sum(any(at + IN_FLIGHT < came < at + pause - 0.05 for at in self.refused) for came in self.arrived)


async def storm(running: Running) -> Counter[tuple[int, str]]:
    """How the calls ended. Each is a run of its own, so that no budget is the reason."""
    number = 0

    async def one() -> tuple[int, str]:
        nonlocal number
        number += 1
        async with running.agent.post(f"/runs/r{number}/tools/{READ}", json={}) as answer:
            await answer.read()
            return answer.status, answer.headers["Tool-Gateway-Reason"]

    ends: list[Timed[tuple[int, str]]] = await open_loop(one, per_second=OFFERED, seconds=SECONDS)
    return Counter(end.result for end in ends)


def policy(**limits: object) -> str:
    return policy_of({READ: {"effect": "read", "deadline_ms": 3000, **limits}})


@pytest.mark.parametrize("seconds", [1, 2])
async def test_a_pause_that_the_upstream_asks_for_is_kept_by_all(
    start: StartGateway, tool: ToolServer, seconds: int
) -> None:
    tool.behaviour = upstream = Limited(retry_after=str(seconds))
    ends = await storm(await start(policy()))
    assert upstream.in_pauses(seconds) == 0
    assert len(upstream.arrived) < OFFERED * SECONDS / 2, "what cannot be taken is not even sent"
    # Between two pauses one goes first, then two, then four: what is refused is what was on its way when the first 429 came.
    assert len(upstream.refused) <= upstream.taken
    late = ends[504, "tool_timeout"]  # its turn came in the last moment of its deadline
    assert late <= 2
    assert ends[200, "ok"] + late == upstream.taken >= TAKES * (1 + SECONDS / (seconds + 1) / 2)
    assert {reason for _, reason in ends} <= {"ok", "tool_error", "tool_timeout", "rate_limited", "overloaded"}


async def test_without_a_word_when_to_come_back_repeats_stay_within_their_budget(
    start: StartGateway, tool: ToolServer
) -> None:
    tool.behaviour = upstream = Limited(retry_after=None)
    ends = await storm(await start(policy(retries={"max": 2, "backoff_ms": [200, 800]})))
    assert len(upstream.arrived) <= 1.2 * OFFERED * SECONDS + 3
    assert ends[200, "ok"] == upstream.taken >= TAKES * SECONDS / 2
    assert sum(ends.values()) - ends[200, "ok"] == ends[429, "tool_error"], "its own answer is relayed"


async def test_a_rate_in_the_policy_spares_the_upstream_every_429(start: StartGateway, tool: ToolServer) -> None:
    tool.behaviour = upstream = Limited(retry_after="1")
    ends = await storm(await start(policy(rate={"per_second": 0.9 * TAKES, "burst": 10}, max_waiting=30)))
    assert upstream.refused == []
    assert len(upstream.arrived) <= 10 + 30 + 0.9 * TAKES * (SECONDS + 1)
    assert ends[200, "ok"] == upstream.taken >= 0.9 * TAKES * SECONDS / 2
    assert {reason for _, reason in ends} == {"ok", "overloaded"}, (
        "30 wait less than two seconds: none beyond its deadline"
    )
