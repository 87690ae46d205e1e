"""Real MCP servers behind a gateway in this process, and real MCP clients in front of it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest

from tests.doors.conftest import Running, pytest_asyncio_loop_factories, start, tool
from tests.mcp.agents import Agent, PythonAgent
from tests.mcp.npm_clients import Node, node_process, npm_client
from tests.mcp.servers import EverythingServer, FixtureServer, everything_server, fixture_server

KINDS = ["python-2025", "python-2026", "npm-v1-2025", "npm-v2-2025", "npm-v2-2026"]
"""Library and wire: 2025 is the handshake's, 2026 the stateless one."""
__all__ = ["pytest_asyncio_loop_factories", "start", "tool"]


@pytest.fixture(scope="session")
def fixture_process() -> Iterator[FixtureServer]:
    """One for all tests: it takes a second to start."""
    with fixture_server() as server:
        yield server


@pytest.fixture
async def server(fixture_process: FixtureServer) -> FixtureServer:
    """The fixture server, having counted nothing."""
    await fixture_process.forget()
    return fixture_process


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EverythingServer]:
    with everything_server(tmp_path_factory.mktemp("server-everything")) as server:
        yield server


@pytest.fixture(scope="session")
def npm_process() -> Iterator[Node]:
    with node_process() as process:
        yield process


def policy_for(
    url: str,
    *allowed: str,
    tools: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    **sections: Any,
) -> str:
    """A policy that allows these tools of one MCP server called `bed`, and waits next to nothing between attempts. (JSON is YAML.)"""
    allowlist = [f"bed.{name}" for name in allowed or ("*",)]
    said = {"allowlist": allowlist, "retries": {"max": 2, "backoff_ms": [5, 10]}, **(tools or {})}
    return json.dumps({"tools": said, "mcp_servers": {"bed": {"url": url, **(server or {})}}, **sections})


class ConnectAgent(Protocol):
    def __call__(self, url: str, **headers: str) -> AbstractAsyncContextManager[Agent]: ...


@pytest.fixture(params=KINDS)
def agent_of(request: pytest.FixtureRequest) -> ConnectAgent:
    """Connects clients of one kind; the test runs with each."""
    library, wire = request.param.rsplit("-", 1)
    node = request.getfixturevalue("npm_process") if library != "python" else None

    def connect(url: str, **headers: str) -> AbstractAsyncContextManager[Agent]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if node is None:
            return PythonAgent.connected(url, wire, sent)
        return npm_client(node, library.removeprefix("npm-"), wire, url, sent)

    return connect


def door(running: Running) -> str:
    """Where the server is reached through that gateway."""
    return f"{running.gateway.data_url}/mcp/bed"
