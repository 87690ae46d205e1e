"""The incident: a browser that keeps hundreds of tunnels open and uses none of them, in memory and in the way of a rollout."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.doors.wire import Wire, dial
from tests.scenarios.installation import PATIENCE, POLICY, Installation, call, ended, eventually
from tests.scenarios.resident import resident

MANY = 500
MIB = 2**20


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a target that takes what it is sent and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0, backlog=MANY) as server:
        yield server.sockets[0].getsockname()[1]


def allow_tunnels(installation: Installation, port: int) -> None:
    tools = {**POLICY["tools"], "allowlist": ["search.read", "http.connect"]}
    egress = {"allow_hosts": ["127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.0/8"]}
    installation.write_policy({"tools": tools, "egress": egress})
    installation.environment |= {"AGENT_MAX_TOOL_CALLS": "10000", "AGENT_MAX_SECONDS": "3600"}


async def open_tunnel(wire: Wire, port: int) -> None:
    to = f"127.0.0.1:{port}"
    await wire.say(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nGET / HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
    assert (await wire.head())[0] == 200


async def test_five_hundred_of_them_cost_less_than_thirty_megabytes(installation: Installation, port: int) -> None:
    allow_tunnels(installation, port)
    process = await installation.begin()
    async with AsyncExitStack() as stack:
        await open_tunnel(await stack.enter_async_context(dial(installation.data)), port)
        before = resident(process.pid)
        for _ in range(MANY):
            await open_tunnel(await stack.enter_async_context(dial(installation.data)), port)
        assert resident(process.pid) - before < 30 * MIB
    await eventually(lambda: len(installation.lines("tool_call")) == MANY + 1)
    assert {line["reason"] for line in installation.lines("tool_call")} == {"ok"}


async def test_they_are_no_traffic_that_a_shutdown_waits_for(installation: Installation, port: int) -> None:
    allow_tunnels(installation, port)
    installation.environment["GATEWAY_DRAIN_IDLE_SECONDS"] = "0.5"
    process = await installation.begin()
    async with dial(installation.data) as wire, installation.agent() as agent:
        await open_tunnel(wire, port)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):  # of the 20 s that the lame duck would take with traffic
            while await call(agent, "search.read", "r1") != (503, "draining"):  # noqa: ASYNC110  there is no event for it
                await asyncio.sleep(0.8)  # each call is traffic
        end = await asyncio.wait_for(ended(process, signal.SIGTERM), 3)
        assert await wire.rest() == b""
    assert end.code == 0
    assert [line["reason"] for line in installation.lines("tool_call") if line["tool"] == "http.connect"] == [
        "draining"
    ]
