"""One Valkey, and gateways that share it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.doors.conftest import pytest_asyncio_loop_factories, tool
from tests.doors.tool_server import ToolServer
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE, POLICY, Installation

__all__ = ["pytest_asyncio_loop_factories", "tool"]


@dataclass
class Fleet:
    """Gateways of one policy in front of the tool server, each with an agent of its own."""

    gateways: list[Installation]
    agents: list[aiohttp.ClientSession]
    operators: list[aiohttp.ClientSession]

    async def degraded(self, number: int) -> list[str]:
        async with self.operators[number].get("/readyz") as answer:
            assert answer.status == 200
            words: list[str] = (await answer.json())["degraded"]
            return words

    async def all_are(self, *, up: bool) -> None:
        async with asyncio.timeout(PATIENCE):
            for number in range(len(self.gateways)):
                while ("state_unavailable" in await self.degraded(number)) == up:  # noqa: ASYNC110  what another process did sets no event of ours
                    await asyncio.sleep(0.02)

    async def kill(self, number: int, scope: str) -> dict[str, Any]:
        body = {"scope": scope, "reason": "too eager", "who": "ops"}
        async with self.operators[number].post("/v1/kill-switches", json=body) as answer:
            assert answer.status < 300, await answer.text()
            told: dict[str, Any] = await answer.json()
            return told

    async def restore(self, number: int, scope: str) -> None:
        async with self.operators[number].delete(f"/v1/kill-switches/{scope}") as answer:
            assert answer.status == 200, await answer.text()


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    await server.begin()
    yield server
    await server.kill()


Start = Callable[..., Awaitable[Fleet]]


@pytest.fixture
async def start_fleet(tmp_path: Path, tool: ToolServer, valkey: ValkeyServer) -> AsyncIterator[Start]:
    """`start_fleet(policy, gateways=3, state=URL)`: its keys stand beside those of POLICY."""
    stack = AsyncExitStack()
    installed: list[Installation] = []

    async def start(
        policy: dict[str, Any] | None = None, gateways: int = 3, state: str | None = None, **variables: str
    ) -> Fleet:
        fleet = [
            Installation(
                tmp_path / f"gateway{len(installed) + number}",
                upstream=tool.url,
                environment={"GATEWAY_STATE": state or valkey.url, **variables},
            )
            for number in range(gateways)
        ]
        installed.extend(fleet)
        for one in fleet:
            one.write_policy({**POLICY, **(policy or {})})
        await asyncio.gather(*(one.begin() for one in fleet))
        agents = [await stack.enter_async_context(one.agent()) for one in fleet]
        operators = [await stack.enter_async_context(one.operator()) for one in fleet]
        return Fleet(fleet, agents, operators)

    yield start
    await stack.aclose()
    for one in installed:
        await one.destroy()
