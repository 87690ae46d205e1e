"""A gateway in this process with the governed door open, and the unmodified SDK in front of it."""

from collections.abc import Iterator

import pytest

from tests.doors.conftest import Running, StartGateway, pytest_asyncio_loop_factories, start, tool
from tests.doors.tool_server import ToolServer
from tests.governed.sdk import ADMIN_KEY, KEYS, Sdk, opened, policy

__all__ = ["pytest_asyncio_loop_factories", "start", "tool"]


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy(tool), **KEYS)


@pytest.fixture
def sdk(running: Running) -> Sdk:
    return Sdk(running.gateway.data_url)


@pytest.fixture
def admin(running: Running) -> Sdk:
    """With the admin_key."""
    return Sdk(running.gateway.data_url, api_key=ADMIN_KEY)


@pytest.fixture(autouse=True)
def clients_are_closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()
