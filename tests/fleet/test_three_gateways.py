"""Three gateways that share one Valkey: what one has used, the others have."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.doors.tool_server import ToolServer
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import POLICY, Installation, call

LIMITS: dict[str, Any] = {
    "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 12}},
    **POLICY,
}


@pytest.fixture
async def fleet(tmp_path: Path, tool: ToolServer, valkey: ValkeyServer) -> AsyncIterator[list[Installation]]:
    installed = [
        Installation(tmp_path / f"gateway{n}", upstream=tool.url, environment={"GATEWAY_STATE": valkey.url})
        for n in range(3)
    ]
    for one in installed:
        one.write_policy(LIMITS)
    await asyncio.gather(*(one.begin() for one in installed))
    yield installed
    for one in installed:
        await one.destroy()


async def test_a_thousand_parallel_calls_of_one_run_over_three_gateways_admit_exactly_twelve(
    fleet: list[Installation], tool: ToolServer
) -> None:
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(one.agent()) for one in fleet]
        answers = await asyncio.gather(*(call(agents[n % 3], "search.read", "r1") for n in range(1000)))
    assert Counter(answers) == {(200, "ok"): 12, (403, "max_tool_calls"): 988}
    assert tool.calls == 12
