"""One Valkey, and gateways that share it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.conftest import pytest_asyncio_loop_factories, tool
from tests.fleet.valkey_server import ValkeyServer

__all__ = ["pytest_asyncio_loop_factories", "tool"]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    await server.begin()
    yield server
    await server.kill()
