"""The README's three lines for MCP, run by a shell, and the client that they promise to work for."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import clean_environment, free_address, wait_until_ready
from tests.mcp.agents import PythonAgent
from tests.mcp.servers import EverythingServer
from tests.mcp.test_clients import refused_for

README = Path(__file__).resolve().parents[2] / "README.md"
COMMAND = ".venv/bin/tool-gateway serve"


def lines() -> list[str]:
    """What stands in the README."""
    block = re.search(
        r"^## Put an MCP client behind it\n+```sh\n(.*?)```", README.read_text(), re.DOTALL | re.MULTILINE
    )
    assert block is not None
    return block[1].splitlines()


@pytest.fixture
def door(tmp_path: Path, everything: EverythingServer) -> Iterator[str]:
    """The second line writes the policy, the third starts the gateway; only addresses are others."""
    _, write, serve = lines()
    assert serve.endswith(COMMAND)
    data, admin = free_address(), free_address()
    environment = clean_environment(GATEWAY_LISTEN=str(data), GATEWAY_ADMIN_LISTEN=str(admin), GATEWAY_LOG="log")
    server = everything.url.removesuffix("/mcp").removeprefix("http://")
    script = f"{write}\n{serve.replace(COMMAND, f'exec {sys.executable} -m gateway serve')}"
    command = ["sh", "-c", script.replace("127.0.0.1:3001", server)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_ready(admin, process)
            yield f"http://{data}/mcp/everything"
        finally:
            process.kill()


def test_the_first_line_starts_the_server_that_these_tests_use() -> None:
    assert lines()[0] == "npx -y @modelcontextprotocol/server-everything streamableHttp &"


async def test_a_client_then_lists_one_tool_and_can_call_no_other(door: str) -> None:
    async with PythonAgent.connected(door, "2025", {}) as agent:
        assert await agent.list() == ["echo"]
        assert "hi" in (await agent.call("echo", message="hi")).text
        assert refused_for(await agent.call("get-env"), "tool_not_allowed")
