"""The way to the store is encrypted, and the store is who it says it is. (The packaged server has no TLS: what ends it stands in front.)"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.fleet.conftest import Start
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import call

CALLS_2 = {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 2}}}


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
async def tls_port(authority: trustme.CA, valkey: ValkeyServer) -> AsyncIterator[int]:
    """Ends TLS as `127.0.0.1` and passes on what is inside."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    passing: set[asyncio.Task[None]] = set()
    open_ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", valkey.port)
        open_ends.extend((writer, back))
        for way in (pump(reader, back), pump(there, writer)):
            passing.add(asyncio.create_task(way))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for end in open_ends:
        end.transport.abort()
    await asyncio.gather(*passing, *(end.wait_closed() for end in open_ends), return_exceptions=True)


async def test_gateways_share_a_store_behind_tls(start_fleet: Start, tls_port: int, tmp_path: Path) -> None:
    state = f"valkeys://127.0.0.1:{tls_port}/0?ca_file={tmp_path / 'ca.pem'}"
    fleet = await start_fleet(CALLS_2, gateways=2, state=state)
    assert [await call(agent, "search.read", "r1") for agent in (*fleet.agents, fleet.agents[0])] == [
        (200, "ok"),
        (200, "ok"),
        (403, "max_tool_calls"),
    ]
    told = await fleet.kill(0, "all")
    assert told["reach"] == f"all instances on valkeys://127.0.0.1:{tls_port}/0"


async def test_a_store_that_cannot_prove_its_name_is_told_nothing(start_fleet: Start, tls_port: int) -> None:
    fleet = await start_fleet(CALLS_2, gateways=1, state=f"rediss://127.0.0.1:{tls_port}/0")
    assert await call(fleet.agents[0], "search.read", "r1") == (503, "state_unavailable")
    assert "state_unavailable" in await fleet.degraded(0)
