"""The tool path door, end to end: agent → gateway → tool and back."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, status
from tests.doors.wire import ask, request


async def test_an_allowed_call_reaches_the_tool_and_its_answer_comes_back(running: Running, tool: ToolServer) -> None:
    async with running.agent.post(
        "/tools/search.read?lang=en", json={"q": "tea"}, headers={"Agent-Run-Id": "r1"}
    ) as answer:
        assert answer.status == 200
        assert await answer.json() == {"ok": True}
        assert answer.headers["Tool-Gateway-Reason"] == "ok"
        assert answer.headers["Tool-Gateway-Attempts"] == "1"
        assert answer.headers["Tool-Gateway-Remaining"] == "tool_calls=11, steps=25, seconds=59"
        assert len(answer.headers["Tool-Gateway-Policy"]) == 12
    [received] = tool.received
    assert (received.method, received.path, json.loads(received.body)) == ("POST", "/search.read?lang=en", {"q": "tea"})
    assert received.headers["Tool-Gateway-Attempt"] == "1"
    assert 0 < int(received.headers["Tool-Gateway-Deadline-Ms"]) <= 25_000
    assert received.headers["Via"] == "1.1 tool-gateway"
    assert "Agent-Run-Id" not in received.headers


async def test_a_tool_that_no_allowlist_names_is_refused_with_a_sentence(running: Running, tool: ToolServer) -> None:
    async with running.agent.post("/runs/r1/tools/shell.exec", json={}) as answer:
        problem = await answer.json()
        assert answer.status == 403
        assert answer.content_type == "application/problem+json"
        assert answer.headers["x-should-retry"] == "false"
        assert "Retry-After" not in answer.headers
    assert problem["reason"] == "tool_not_allowed"
    assert problem["tool"] == "shell.exec"
    assert problem["run_id"] == "r1"
    assert problem["retryable"] is False
    assert problem["policy"] == running.gateway.policies.snapshot.version
    assert tool.calls == 0


async def test_twelve_tool_calls_are_admitted_of_a_thousand_parallel_ones(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(AGENT_MAX_TOOL_CALLS="12")

    async def call() -> tuple[int, str]:
        async with running.agent.post("/runs/r1/tools/search.read", json={}) as answer:
            await answer.read()
            return answer.status, answer.headers["Tool-Gateway-Reason"]

    ends = await asyncio.gather(*(call() for _ in range(1000)))
    assert tool.calls == 12
    assert ends.count((200, "ok")) == 12
    assert ends.count((403, "max_tool_calls")) + ends.count((403, "run_finished")) == 988
    assert ends.count((403, "run_finished")) == 0


async def test_the_thirteenth_call_says_why_and_what_to_do(running: Running) -> None:
    for _ in range(12):
        async with running.agent.post("/runs/r1/tools/search.read", json={}) as answer:
            assert answer.status == 200
    async with running.agent.post("/runs/r1/tools/search.read", json={}) as answer:
        problem = await answer.json()
        assert answer.status == 403
        assert answer.headers["Tool-Gateway-Remaining"].startswith("tool_calls=0, ")
        assert answer.headers["x-should-retry"] == "false"
    assert problem["reason"] == problem["stop_reason"] == "max_tool_calls"
    assert "all 12 of its 12 tool calls" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/tools/search.read/../notes.write", 400),
        ("/tools/search.read/%2e%2e/notes.write", 400),
        ("/tools/search.read%2f", 400),
        ("/tools//search.read", 400),
        ("/tools/", 400),
        ("/tools/.hidden", 400),
        ("/runs/a%20b/tools/search.read", 400),
        ("/runs/r1", 400),
        ("/mcp/github", 404),
        ("/_gateway/nothing", 404),
    ],
)
async def test_a_path_that_is_not_taken_never_reaches_the_tool(
    running: Running, tool: ToolServer, path: str, code: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(running.gateway.data_url).port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert b"invalid_request" in answer
    assert tool.calls == 0


async def test_a_method_the_tool_does_not_take_is_405(running: Running, tool: ToolServer) -> None:
    async with running.agent.delete("/tools/search.read") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD, POST"
        assert answer.headers["Tool-Gateway-Reason"] == "invalid_request"
    assert tool.calls == 0


async def test_an_upstreams_own_error_is_relayed_unchanged(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(418, X_Tea="pot")
    async with running.agent.post("/tools/search.read", json={}) as answer:
        assert (answer.status, answer.headers["X-Tea"]) == (418, "pot")
        assert answer.headers["Tool-Gateway-Reason"] == "tool_error"


async def test_the_log_tells_the_call(running: Running, tmp_path: Path) -> None:
    async with running.agent.post("/runs/r1/tools/search.read", json={"q": "tea"}):
        pass
    [record] = running.seen.records
    assert (record.tool, record.run_id, record.agent_id, record.reason) == ("search.read", "r1", "default", "ok")
    assert (record.status, record.attempts, record.bytes_in) == (200, 1, len(b'{"q": "tea"}'))
    assert running.seen.names().count("run_started") == 1


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/tools/whole.api", "/base"),
        ("/tools/whole.api/", "/base/"),
        ("/tools/whole.api/a%20b/c;d=e?x=%2F&y", "/base/a%20b/c;d=e?x=%2F&y"),
        ("/tools/one.path?x=1", "/base/query?x=1"),
        ("/tools/below.path/a/b", "/base/docs/a/b"),
        ("/tools/by.name", "/by.name"),
    ],
)
async def test_a_call_goes_to_the_tools_url_path_rest_and_query(
    start: StartGateway, tool: ToolServer, path: str, arrives: str
) -> None:
    running = await start(
        policy_of(
            {
                "whole.api": {"upstream": "own"},
                "one.path": {"upstream": "own", "path": "/query"},
                "below.path": {"upstream": "own", "path": "/docs/{rest*}"},
                "by.name": {},
            },
            upstreams={"own": {"url": f"{tool.url}/base"}},
        )
    )
    assert (await ask(running.gateway.data_url, request(f"POST {path}"))).status == 200
    assert [received.path for received in tool.received] == [arrives]


@pytest.mark.parametrize("path", ["/tools/search.read/", "/tools/search.read/more", "/tools/notes.write/x"])
async def test_a_tool_without_a_rest_takes_none(running: Running, tool: ToolServer, path: str) -> None:
    answer = await ask(running.gateway.data_url, request(f"POST {path}"))
    assert (answer.status, answer.problem()["reason"]) == (400, "invalid_request")
    assert tool.calls == 0


async def test_an_allowed_tool_without_an_upstream_names_the_missing_key(start: StartGateway, tool: ToolServer) -> None:
    running = await start("tools: {allowlist: [http.brew]}")
    answer = await ask(running.gateway.data_url, request("POST /tools/http.brew"))
    assert (answer.status, answer.problem()["reason"]) == (403, "tool_not_configured")
    assert tool.calls == 0


async def test_credentials_are_injected_and_the_callers_own_do_not_replace_them(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(
        policy_of(
            {"search.read": {"upstream": "own", "path": "/q", "effect": "read", "forward_authorization": True}},
            upstreams={"own": {"url": tool.url, "headers": {"X-Api-Key": "${env:KEY}"}}},
        ),
        KEY="the-tools-key",
    )
    fields = (
        "X-Api-Key: mine",
        "Authorization: Basic dTpw",
        "Connection: X-Hop",
        "X-Hop: 1",
        "TE: trailers",
        "Cookie: a=b",
    )
    assert (await ask(running.gateway.data_url, request("POST /tools/search.read", *fields, body=b"{}"))).status == 200
    [received] = tool.received
    assert (received.headers["X-Api-Key"], received.headers["Authorization"]) == ("the-tools-key", "Basic dTpw")
    assert received.headers["Cookie"] == "a=b"
    assert not {"x-hop", "te", "connection"} & {name.lower() for name in received.headers}
    assert received.headers["Forwarded"] == 'for=127.0.0.1;host="localhost";proto=http'


async def test_the_callers_framing_is_not_copied(running: Running, tool: ToolServer) -> None:
    """A Transfer-Encoding beside our Content-Length would let a second request ride along (TRAPS: smuggling)."""
    inner = b"POST /tools/notes.write HTTP/1.1\r\nHost: x\r\n\r\n"
    data = request("POST /tools/search.read", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (
        len(inner),
        inner,
    )
    assert (await ask(running.gateway.data_url, data)).status == 200
    [received] = tool.received
    assert received.body == inner
    assert received.headers["Content-Length"] == str(len(inner))
    assert "Transfer-Encoding" not in received.headers


async def test_a_kill_of_writes_lets_reads_pass_and_is_lifted_again(running: Running, tool: ToolServer) -> None:
    await running.kill("writes")
    for name, code in (("search.read", 200), ("notes.write", 403)):
        assert (await ask(running.gateway.data_url, request(f"POST /tools/{name}"))).status == code
    assert await running.restore("writes") == 200
    assert (await ask(running.gateway.data_url, request("POST /tools/notes.write"))).status == 200
    assert tool.calls == 2


async def test_the_data_plane_reaches_no_switch(running: Running) -> None:
    for path in ("/v1/kill-switches", "/v1/status", "/v1/calls", "/metrics"):
        assert (await ask(running.gateway.data_url, request(f"GET {path}"))).status == 403
