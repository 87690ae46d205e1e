"""The native path door: an agent changes only its base URL (SPEC 2)."""

import pytest

from gateway.denial import Reason
from gateway.model import Door
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer
from tests.doors.wire import ask, request

POLICY = policy_of(
    {
        "search.read": {"effect": "read", "route": "POST /query"},
        "pages.list": {"effect": "read", "route": "GET /pages"},
        "pages.add": {"route": "POST /pages"},
        "pages.read": {"effect": "read", "route": "GET /pages/{rest*}"},
        "pages.index": {"effect": "read", "route": "GET /pages/index"},
        "pages.deep": {"effect": "read", "route": "GET /pages/deep/{rest*}"},
        "any.thing": {"route": "ANY /any"},
    }
)


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start(POLICY)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("POST /query", "search.read"),
        ("GET /pages", "pages.list"),
        ("HEAD /pages", "pages.list"),
        ("POST /pages", "pages.add"),
        ("GET /pages/1/two", "pages.read"),
        ("GET /pages/", "pages.read"),
        ("GET /pages/index", "pages.index"),
        ("GET /pages/%69ndex", "pages.index"),
        ("GET /pages/deep/down", "pages.deep"),
        ("PATCH /any", "any.thing"),
        ("POST /_gateway/native/query", "search.read"),
    ],
)
async def test_a_route_leads_to_its_tool_and_the_path_goes_on_unchanged(
    running: Running, tool: ToolServer, line: str, name: str
) -> None:
    answer = await ask(
        running.gateway.data_url, request(f"{line}?q=%7e&q=~", "Agent-Run-Id: r1"), bodyless=line.startswith("HEAD")
    )
    assert (answer.status, answer.header("Tool-Gateway-Reason")) == (200, "ok")
    method, path = line.split(" ")
    [received] = tool.received
    assert (received.method, received.path) == (method, path.removeprefix("/_gateway/native") + "?q=%7e&q=~")
    record = await running.seen.ended()
    assert (record.tool, record.door, record.run_id) == (name, Door.NATIVE, "r1")


async def test_below_a_run_prefix_the_path_goes_on_without_it(running: Running, tool: ToolServer) -> None:
    for prefix in ("/runs/r1", "/runs/r1/_gateway/native"):
        assert (await ask(running.gateway.data_url, request(f"POST {prefix}/query", body=b"{}"))).status == 200
    assert [received.path for received in tool.received] == ["/query", "/query"]
    assert (await running.seen.ended(2)).run_id == "r1"


@pytest.mark.parametrize("line", ["GET /", "GET /nowhere", "POST /query/more", "GET /queryx"])
async def test_a_path_that_no_route_names_is_not_allowed(running: Running, tool: ToolServer, line: str) -> None:
    answer = await ask(running.gateway.data_url, request(line))
    assert (answer.status, answer.problem()["reason"]) == (403, "tool_not_allowed")
    assert answer.problem()["tool"] is None
    assert answer.header("Tool-Gateway-Attempts") == "0"
    assert tool.calls == 0
    assert (await running.seen.ended()).reason is Reason.TOOL_NOT_ALLOWED


@pytest.mark.parametrize(
    ("line", "allow"), [("DELETE /query", "POST"), ("DELETE /pages", "GET, HEAD, POST"), ("PUT /pages/7", "GET, HEAD")]
)
async def test_a_method_that_no_tool_takes_there_is_405(
    running: Running, tool: ToolServer, line: str, allow: str
) -> None:
    answer = await ask(running.gateway.data_url, request(line))
    assert (answer.status, answer.header("Allow")) == (405, allow)
    assert answer.problem()["reason"] == "invalid_request"
    assert tool.calls == 0


async def test_a_native_call_is_counted_like_any_other(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, AGENT_MAX_TOOL_CALLS="2")
    for line, code in (("POST /query", 200), ("POST /tools/search.read", 200), ("POST /query", 403)):
        answer = await ask(running.gateway.data_url, request(line, "Agent-Run-Id: r1", body=b"{}"))
        assert answer.status == code
    assert tool.calls == 2


async def test_a_route_of_a_tool_that_is_not_allowed_is_refused(start: StartGateway, tool: ToolServer) -> None:
    running = await start(
        "tools: {allowlist: [other.tool], definitions: {search.read: {effect: read, route: POST /query}}}"
    )
    answer = await ask(running.gateway.data_url, request("POST /query", body=b"{}"))
    assert (answer.status, answer.problem()["reason"], answer.problem()["tool"]) == (
        403,
        "tool_not_allowed",
        "search.read",
    )
    assert tool.calls == 0
