"""Single lines of docs/agents.md, docs/metrics.md and docs/repeats.md, pasted where the quick start's gateway and tools run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import wait_until_ready
from tests.docs.terminal import Terminal

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.needs("curl", "node")


def line_of(page: str) -> str:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """`tool-gateway init`, `demo` and `serve`; beside them what a clone has in deploy/."""
    folder = tmp_path_factory.mktemp("lines") / "here"
    folder.mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    terminal = Terminal(folder)
    try:
        terminal.paste("tool-gateway init")
        policy = folder / "policies/policy.yaml"
        policy.write_text(policy.read_text().replace("127.0.0.1:9000", str(terminal.tools)))
        terminal.paste("tool-gateway demo &\nGATEWAY_LOG=log tool-gateway serve &")
        terminal.paste(f"export TOOL_BASE_URL=http://{terminal.data}")
        wait_until_ready(terminal.admin, terminal.shell)
        yield terminal
    finally:
        terminal.close()


def test_the_agents_finish_and_end_as_their_page_says(terminal: Terminal) -> None:
    said = terminal.paste(line_of("agents.md"))
    assert re.findall(r'^  "stop_reason": "(\w+)"', said, re.MULTILINE) == ["finish", "loop_detected"]


def test_metrics_are_had_without_a_token(terminal: Terminal) -> None:
    assert "# TYPE tool_gateway_calls_total counter" in terminal.paste(line_of("metrics.md"))


def test_a_call_that_is_repeated_with_its_key_is_made_once(terminal: Terminal) -> None:
    line = line_of("repeats.md").replace("gateway:8080", str(terminal.data)).replace("curl ", "curl -si ")
    first, again = terminal.paste(line), terminal.paste(line)
    assert "Tool-Gateway-Reason: ok" in first
    assert "Tool-Gateway-Reason: dedup" in again
    assert first.split()[-1] == again.split()[-1]
