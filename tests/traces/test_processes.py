"""Traces of a gateway process: its last spans, and starts that cannot send any."""

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation, call, ended
from tests.traces.collector import Collector

PAGE = Path(__file__).parents[2] / "docs/traces.md"
WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry"] = None
sys.argv = ["tool-gateway", "serve"]
from gateway.cli import main
main()
"""


@pytest.fixture
async def installation(tmp_path: Path, tool: ToolServer) -> AsyncIterator[Installation]:
    installation = Installation(tmp_path / "gateway", tool.url)
    yield installation
    await installation.destroy()


async def test_spans_that_wait_are_sent_before_the_process_ends(
    installation: Installation, collector: Collector
) -> None:
    (variable,) = re.findall(r"^(\w+)=http://127.0.0.1:4318 tool-gateway serve$", PAGE.read_text(), re.MULTILINE)
    installation.environment = {variable: collector.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    process = await installation.begin()
    async with installation.agent() as agent:
        assert (await call(agent, "search.read"))[0] == 200
    end = await ended(process, signal.SIGTERM)
    assert (end.code, end.err) == (0, "")
    assert (await collector.one()).name == "execute_tool search.read"


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    installation: Installation, collector: Collector
) -> None:
    collector.answers = False
    installation.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    process = await installation.begin()
    async with installation.agent() as agent:
        assert (await call(agent, "search.read"))[0] == 200
    end = await ended(process, signal.SIGTERM)
    assert (end.code, end.err) == (0, "")


def test_without_the_extra_the_start_fails_with_the_remedy(installation: Installation) -> None:
    environment = installation.settings() | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    end = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], env=environment, capture_output=True, text=True, timeout=60
    )
    assert end.returncode == 2
    assert end.stderr == (
        "tool-gateway: OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry's SDK is not installed:"
        " pip install 'tool-gateway[otel]', or unset it\n"
    )


def test_who_does_not_trace_does_not_load_it() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, gateway.app; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [name for name in loaded.stdout.split() if name.startswith(("opentelemetry", "requests"))]
