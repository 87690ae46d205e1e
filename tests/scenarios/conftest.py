"""What incidents happen to: a gateway in this process (as in tests/doors), and one installed on disk whose processes come and go."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.conftest import FAST, ORDINARY, pytest_asyncio_loop_factories, running, start, tool
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation

__all__ = ["pytest_asyncio_loop_factories", "running", "start", "tool"]


BOTH_LANES = (
    "test_agent_in_a_loop", "test_budgets_over_restart", "test_client_faults", "test_impatient_client",
    "test_kill_switch", "test_killed_under_load", "test_planted_secret", "test_rate_limit_storm", "test_reload_under_traffic",
    "test_shutdown", "test_state_out_of_reach",
)  # fmt: skip
"""Retries, kills, budgets, charges that cannot be written down, callers' faults, secrets in the log, drains and ends of the process: what
must hold on either lane, and a call may be caught by on either. The other scenarios run as the gateway is served, with the fast lane.
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_LANES:
        for way in {"start", "installation"} & {*metafunc.fixturenames}:
            metafunc.parametrize(way, [ORDINARY, FAST], indirect=True)


@pytest.fixture
async def installation(request: pytest.FixtureRequest, tmp_path: Path, tool: ToolServer) -> AsyncIterator[Installation]:
    """In front of the tool server. No process runs yet; whatever a test leaves running ends with it."""
    fast = getattr(request, "param", FAST) == FAST
    installed = Installation(tmp_path / "installation", upstream=tool.url, fast=fast)
    yield installed
    await installed.destroy()
