"""docs/quick-start.md, pasted block by block into one shell, says and does what it promises."""

import json
import re
from pathlib import Path

import pytest

from tests.deploy.stack import wait_until_ready, within_seconds
from tests.docs.terminal import Terminal

PAGE = (Path(__file__).parents[2] / "docs/quick-start.md").read_text("utf-8")
START, AGENT, OPERATOR, CHANGE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

pytestmark = pytest.mark.needs("curl")


def test_the_page_can_be_followed_from_top_to_bottom(terminal: Terminal) -> None:
    said = terminal.paste(START)
    assert "policies: ok, version " in said
    policy = terminal.folder / "policies/policy.yaml"
    policy.write_text(policy.read_text().replace("127.0.0.1:9000", str(terminal.tools)))
    wait_until_ready(terminal.admin, terminal.shell)
    within_seconds(terminal.has_tools)

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
