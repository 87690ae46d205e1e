"""docs/quick-start.md, pasted block by block into one shell, says and does what it promises."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import clean_environment, free_address, wait_until_ready

PAGE = (Path(__file__).parents[2] / "docs/quick-start.md").read_text("utf-8")
START, AGENT, OPERATOR, CHANGE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
DONE = "-- done --"

pytestmark = pytest.mark.needs("curl")


class Terminal:
    """A shell in an empty folder, with the page's ports replaced by free ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.admin, self.tools = free_address(), free_address(), free_address()
        commands = folder.parent / "bin"
        commands.mkdir()
        command = commands / "tool-gateway"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
        command.chmod(0o755)
        settings = {"GATEWAY_LISTEN": str(self.data), "GATEWAY_ADMIN_LISTEN": str(self.admin)}
        (commands / ".curlrc").write_text('write-out = "\\n"\n')  # an answer a line
        environment = clean_environment(PATH=f"{commands}:{os.environ['PATH']}", CURL_HOME=str(commands), **settings)
        self.shell = subprocess.Popen(
            ["sh"],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def paste(self, block: str) -> str:
        """What the terminal shows until the block is through."""
        ports = {"8080": self.data, "8081": self.admin, "9000": self.tools}
        for port, address in ports.items():
            block = block.replace(f"127.0.0.1:{port}", str(address))
        block = block.replace("tool-gateway demo &", f"tool-gateway demo --listen {self.tools} &")
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{block}\necho; echo '{DONE}'\n")
        self.shell.stdin.flush()
        shown: list[str] = []
        for line in self.shell.stdout:
            if line.strip() == DONE:
                break
            shown.append(line)
        return "".join(shown)

    def close(self) -> None:
        os.killpg(self.shell.pid, signal.SIGINT)
        self.shell.communicate(timeout=20)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "empty").mkdir()
    terminal = Terminal(tmp_path / "empty")
    try:
        yield terminal
    finally:
        terminal.close()


def test_the_page_can_be_followed_from_top_to_bottom(terminal: Terminal) -> None:
    said = terminal.paste(START)
    assert "policies: ok, version " in said
    policy = terminal.folder / "policies/policy.yaml"
    policy.write_text(policy.read_text().replace("127.0.0.1:9000", str(terminal.tools)))
    wait_until_ready(terminal.admin, terminal.shell)

    said = terminal.paste(AGENT)
    allowed, refused, spent, other = re.findall(r"^\{.*\}$", said, re.MULTILINE)
    assert "HTTP/1.1 200 OK" in said
    assert "Tool-Gateway-Remaining: tool_calls=11" in said
    assert json.loads(allowed)["results"]
    assert json.loads(refused)["reason"] == "tool_not_allowed"
    assert (json.loads(spent)["reason"], json.loads(spent)["stop_reason"]) == ("max_tool_calls", "max_tool_calls")
    assert json.loads(other)["results"]

    said = terminal.paste(OPERATOR)
    assert '"reason":"kill_switch"' in said
    assert "the wiki is being vandalised" in said
    assert '"results"' in said
    assert "kill switches none" in said
    assert "tools.denylist" in said

    assert "ok, version " in terminal.paste(CHANGE)
    assert 'allowlist: ["search.read"]' in policy.read_text()
