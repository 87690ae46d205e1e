"""deploy/examples/frameworks: agents of three frameworks, in an environment of their own, need nothing but a base URL."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from gateway.demo import ToolServer
from tests.deploy.stack import GatewayProcess, clean_environment
from tests.mcp.servers import FixtureServer, fixture_server

FRAMEWORKS = Path(__file__).resolve().parents[2] / "deploy/examples/frameworks"
PYTHON = FRAMEWORKS / ".venv/bin/python"
POLICY = """
runs: {{max_identical_calls: 0}}
tools:
  allowlist: [search.read, notes.note]
  definitions:
    search.read: {{effect: read, arguments: {{type: object, properties: {{q: {{type: string, maxLength: 20}}}}}}}}
mcp_servers:
  notes: {{url: "{url}"}}
"""
SEARCH = ["search", {"q": "budgets"}]
NOTE = ["note", {"text": "hello"}]

pytestmark = pytest.mark.skipif(
    not PYTHON.exists() and "CI" not in os.environ, reason="`make test` makes the environment of these examples"
)


@pytest.fixture(scope="module")
def notes() -> Iterator[FixtureServer]:
    with fixture_server() as server:
        yield server


@pytest.fixture
async def tools() -> Any:
    async with TestServer(ToolServer().app) as server:
        yield server


@pytest.fixture
def gateway(tmp_path: Path, tools: TestServer, notes: FixtureServer) -> Iterator[GatewayProcess]:
    upstream = str(tools.make_url("")).rstrip("/")
    budgets = {"AGENT_MAX_TOOL_CALLS": "3"}
    with GatewayProcess(tmp_path / "gateway", upstream, POLICY.format(url=notes.url), budgets) as gateway:
        yield gateway


@pytest.fixture(params=["langchain_agent.py", "openai_agent.py", "pydantic_ai_agent.py"])
def example(request: pytest.FixtureRequest) -> Path:
    name: str = request.param
    return FRAMEWORKS / name


async def run(example: Path, gateway: GatewayProcess, *script: object) -> Any:
    """What the agent prints for what its model says."""
    environment = clean_environment(TOOL_BASE_URL=f"http://{gateway.data}", OPENAI_API_KEY="none")
    command = [str(PYTHON), str(example), json.dumps(script)]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return json.loads(printed)


async def test_calls_of_a_run_and_a_refusal_the_model_reads(example: Path, gateway: GatewayProcess) -> None:
    """Over HTTP and MCP; the loop goes on after what is refused."""
    ended = await run(example, gateway, ["search", {"q": "far more than twenty characters"}], SEARCH, NOTE, "So be it.")
    refused, found, noted = ended["told"]
    assert "q: " in refused
    assert "budgets" in found
    assert "noted hello" in noted
    assert ended["answer"] == "So be it."
    _, listed = gateway.operate("GET", "/v1/calls")
    calls = [call for call in listed["calls"] if call["reason"] == "ok"]
    assert {(call["door"], call["tool"]) for call in calls} == {("tool_path", "search.read"), ("mcp", "notes.note")}
    assert len({call["run_id"] for call in calls}) == 1


async def test_a_run_out_of_budget_ends_the_loop(example: Path, gateway: GatewayProcess) -> None:
    assert await run(example, gateway, *[SEARCH] * 9, "Never said.") == {"stopped": "max_tool_calls"}
