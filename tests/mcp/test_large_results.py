"""Large results stream through a gateway process whose memory stays bounded, on both wires, with readers that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mcp.conftest import policy_for
from tests.mcp.servers import FixtureServer
from tests.mcp.test_differences import STATELESS, call, session_of
from tests.scenarios.installation import Installation
from tests.scenarios.resident import MB, SlowReader, most_resident, needs_proc, resident

pytestmark = needs_proc

READERS = 16
SIZE = 5 * MB
BIG = json.dumps(call("big")).encode()


@pytest.fixture
async def installation(tmp_path: Path, server: FixtureServer) -> AsyncIterator[Installation]:
    installed = Installation(tmp_path / "installation", upstream="", environment={"AGENT_MAX_TOOL_CALLS": "1000"})
    installed.write_policy(json.loads(policy_for(server.url)))
    yield installed
    await installed.destroy()


async def ask(gateway: str, wire: str) -> SlowReader:
    """Calls the tool whose result is large, in a session of its own: in one session, readers that do not read stop each other."""
    headers = {**STATELESS, "Mcp-Name": "big"} if wire == "2026" else await session_of(f"{gateway}/mcp/bed")
    reader = await SlowReader.ask(gateway, "/mcp/bed", BIG, headers=headers)
    assert (await reader.head()).startswith(b"HTTP/1.1 200 ")
    return reader


@pytest.mark.parametrize("wire", ["2025", "2026"])
async def test_results_of_five_megabytes_wait_at_their_server(
    wire: str, installation: Installation, server: FixtureServer
) -> None:
    process = await installation.begin()
    first = await ask(installation.data, wire)
    assert await first.rest(SIZE) >= SIZE
    before = resident(process.pid)

    readers = [await ask(installation.data, wire) for _ in range(READERS)]
    await server.reached("big", READERS + 1)
    assert min(await asyncio.gather(*(reader.rest(SIZE) for reader in readers[:4]))) >= SIZE
    assert most_resident(process.pid) - before < 16 * MB, "of most of the bytes nobody has read one"
    for reader in (first, *readers):
        await reader.leave()
