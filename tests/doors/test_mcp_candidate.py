"""A candidate policy at the MCP door: calls and lists of its runs go by it, those of the others are compared with it."""

import json
from pathlib import Path

import pytest

from tests.doors.conftest import StartGateway
from tests.doors.mcp_server import SERVER, asked, call, policy_of_server, post, result, says
from tests.doors.tool_server import ToolServer

LISTED = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "look"}, {"name": "note"}]}}).encode()


@pytest.mark.parametrize("percent", [0, 100])
async def test_a_run_of_the_candidate_is_judged_and_shown_by_it(
    percent: int, start: StartGateway, tool: ToolServer, tmp_path: Path
) -> None:
    (tmp_path / "policies").mkdir()
    candidate = {"tools": {"allowlist": [f"{SERVER}.look"]}}
    (tmp_path / "policies" / "candidate.yaml").write_text(json.dumps(candidate))
    policy = json.loads(policy_of_server(tool.url, "look", "note"))
    running = await start(json.dumps({**policy, "rollout": {"canary_percent": percent}}))

    tool.behaviour = says(LISTED)
    listed = json.loads((await post(running, asked("tools/list"), Agent_Run_Id="r1")).body)
    tool.behaviour = says(result())
    look = await post(running, call("look"), Agent_Run_Id="r1")
    note = await post(running, call("note"), Agent_Run_Id="r1")

    words = [record.candidate for record in running.seen.records]
    names = [shown["name"] for shown in listed["result"]["tools"]]
    if percent:
        assert names == ["look"]
        assert note.reason == "tool_not_allowed"
        assert words == ["canary", "denied:tool_not_allowed"]
    else:
        assert names == ["look", "note"]
        assert note.body == result()
        assert words == ["same", "would_deny:tool_not_allowed"]
    assert look.body == result()
