"""What incidents happen to: a gateway in this process (as in tests/doors), and one installed on disk whose processes come and go."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.conftest import pytest_asyncio_loop_factories, running, start, tool
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation

__all__ = ["pytest_asyncio_loop_factories", "running", "start", "tool"]


@pytest.fixture
async def installation(tmp_path: Path, tool: ToolServer) -> AsyncIterator[Installation]:
    """In front of the tool server. No process runs yet; whatever a test leaves running ends with it."""
    installed = Installation(tmp_path / "installation", upstream=tool.url)
    yield installed
    await installed.destroy()
