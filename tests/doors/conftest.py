"""A gateway in this process, on sockets of its own and on the event loop it is served with, in front of a tool server.

Every test that starts one runs on both lanes (doors/lane.py): with the fast one off, and with connections for it before the first call.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import uvloop

from gateway.app import Gateway
from gateway.denial import Reason
from gateway.model import Event, Record, UpstreamError
from gateway.settings import read_settings
from tests.doors.tool_server import ToolServer

TOKEN = "an-admin-token-for-tests"
POLICY = """
tools:
  allowlist: [search.read, notes.write]
  retries: {max: 2, backoff_ms: [5, 10]}
  definitions:
    search.read: {effect: read}
    notes.write: {effect: write}
"""


ORDINARY, FAST = "ordinary", "fast"
ONCE = (
    "test_both_lanes", "test_egress", "test_fetch", "test_governed", "test_housekeeping", "test_lane", "test_mcp", "test_tunnels",
)  # fmt: skip
"""Modules about doors that the fast lane does not take, and those that choose the lanes themselves."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    both_lanes(metafunc, apart=ONCE)


def both_lanes(metafunc: pytest.Metafunc, *, apart: tuple[str, ...]) -> None:
    """Tests that start gateways run once for each lane, those of the modules `apart` only as the gateway is served."""
    chosen = any("start" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "start" in metafunc.fixturenames and not chosen:
        alone = metafunc.module.__name__.rpartition(".")[2].startswith(apart)
        metafunc.parametrize("start", [FAST] if alone else [ORDINARY, FAST], indirect=True)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def policy_of(definitions: Mapping[str, Any], *, retries: int = 2, budget_percent: int = 20, **sections: Any) -> str:
    """A policy that allows exactly these tools and waits next to nothing between attempts. (JSON is YAML.)"""
    tools = {
        "allowlist": [*definitions],
        "retries": {"max": retries, "backoff_ms": [5, 10], "budget_percent": budget_percent},
        "definitions": {name: definition for name, definition in definitions.items() if definition},
    }
    return json.dumps({"tools": tools, **sections})


class Seen:
    """An observer that keeps everything, for tests that look at what the log is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.events: list[Event] = []
        self.fast = 0
        """Calls that the fast lane has answered: it has no task for them."""
        self._told = asyncio.Event()

    def call_ended(self, record: Record) -> None:
        self.records.append(record)
        self.fast += record.reason is Reason.OK and asyncio.current_task() is None
        self._told.set()

    async def ended(self, count: int = 1) -> Record:
        """Waits until so many calls have ended; the last of them. There must not be more."""
        async with asyncio.timeout(10):
            while len(self.records) < count:
                self._told.clear()
                await self._told.wait()
        assert len(self.records) == count
        return self.records[-1]

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def names(self) -> list[str]:
        return [event.name for event in self.events]


class Running:
    """A started gateway and clients for both of its planes."""

    def __init__(
        self, gateway: Gateway, agent: aiohttp.ClientSession, operator: aiohttp.ClientSession, seen: Seen
    ) -> None:
        self.gateway = gateway
        self.agent = agent
        self.operator = operator
        self.seen = seen

    async def warm(self, connections: int = 1) -> None:
        """Every upstream of the policy gets so many idle connections: for the fast lane, which opens none."""
        for plan in self.gateway.policies.snapshot.upstreams.values():
            pool = self.gateway.ways_out.upstreams.of(plan).pool
            try:
                opened = [await pool.take() for _ in range(min(connections, plan.max_connections))]
            except UpstreamError:
                continue  # nobody listens there
            for connection in opened:
                pool.rest(connection)

    @property
    def fast(self) -> int:
        """Calls that the fast lane has answered."""
        return self.seen.fast

    async def kill(self, scope: str, **options: Any) -> dict[str, Any]:
        async with self.operator.post(
            "/v1/kill-switches", json={"scope": scope, "reason": "test", **options}
        ) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()  # type: ignore[no-any-return]  # aiohttp types JSON as Any

    async def restore(self, scope: str) -> int:
        async with self.operator.delete(f"/v1/kill-switches/{scope}") as answer:
            return answer.status


async def nothing_is_left(gateway: Gateway) -> None:
    """Whatever a test did: no call is left in flight and no byte is left counted as held."""
    async with asyncio.timeout(10):
        while len(gateway.counts.in_flight):  # noqa: ASYNC110  the gateway has no event for it, and needs none
            await asyncio.sleep(0.005)
    assert gateway.buffers.held == 0


class StartGateway(Protocol):
    async def __call__(self, policy: str = POLICY, *, lane: str | None = None, **variables: str) -> Running:
        """`lane`: this one's, whatever the test's is."""
        ...


@pytest.fixture
async def tool() -> AsyncIterator[ToolServer]:
    async with ToolServer() as server:
        yield server


@pytest.fixture
async def start(request: pytest.FixtureRequest, tmp_path: Path, tool: ToolServer) -> AsyncIterator[StartGateway]:
    """Starts gateways; each is stopped in order when the test ends."""
    usual = getattr(request, "param", FAST)
    async with AsyncExitStack() as stack:

        async def start_one(policy: str = POLICY, *, lane: str | None = None, **variables: str) -> Running:
            lane = lane or usual
            folder = tmp_path / "policies"
            folder.mkdir(exist_ok=True)
            (folder / "policy.yaml").write_text(policy)
            environ = {
                "GATEWAY_POLICY": str(folder),
                "GATEWAY_LISTEN": "127.0.0.1:0",
                "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
                "GATEWAY_ADMIN_TOKEN": TOKEN,
                "GATEWAY_UPSTREAM": tool.url,
                "GATEWAY_STATE": "memory:",
                "GATEWAY_LOG": str(tmp_path / "log.jsonl"),
                **variables,
            }
            seen = Seen()
            gateway = Gateway(read_settings(environ), environ, seen)
            if lane == ORDINARY:
                gateway.data_plane.listener.lane = None
            await gateway.start()
            stack.push_async_callback(gateway.stop)
            stack.push_async_callback(nothing_is_left, gateway)
            agent = await stack.enter_async_context(
                aiohttp.ClientSession(gateway.data_url, connector=aiohttp.TCPConnector(limit=0))
            )
            operator = await stack.enter_async_context(
                aiohttp.ClientSession(gateway.admin_url, headers={"Authorization": f"Bearer {TOKEN}"})
            )
            running = Running(gateway, agent, operator, seen)
            if lane == FAST:
                await running.warm()
            return running

        yield start_one


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start()
