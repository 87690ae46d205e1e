"""Answers to tools/list that come in other ways than they should: what may not be called is not shown in any of them."""

import asyncio
import json

import pytest

from tests.doors.conftest import Running, StartGateway
from tests.doors.mcp_server import SERVER, asked, call, event, events, opened, policy_of_server, post, result, says
from tests.doors.tool_server import ToolServer

LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "look"}, {"name": "drop"}]}}).encode()
DEEP = LIST.replace(b'"drop"', b'"drop", "x": ' + b'{"a":' * 3000 + b"1" + b"}" * 3000)


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy_of_server(tool.url, "look", "read"))


@pytest.mark.parametrize("status", [200, 201, 203, 206])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/json; x=text/event-stream"])
async def test_whatever_status_and_type_it_has(status: int, kind: str, running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(LIST, status, kind)
    answer = await post(running, asked("tools/list"))
    assert answer.status == status
    assert (b"look" in answer.body, b"drop" in answer.body) == (True, False)


@pytest.mark.parametrize("kind", ["text/event-stream", "TEXT/Event-Stream ;x=y", "text/plain", "application/json"])
async def test_on_a_stream_that_is_resumed_whatever_its_type(kind: str, running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(event(LIST, b"id: 4"), kind=kind)
    async with running.agent.get(f"/mcp/{SERVER}", headers={"Mcp-Session-Id": "s"}) as answer:
        body = await answer.read()
    assert (b"id: 4\n" in body, b"look" in body, b"drop" in body) == (True, True, False)


@pytest.mark.parametrize("asking", [asked("resources/list", 2), call(identity=2)])
async def test_on_the_stream_of_another_request(asking: dict[str, object], running: Running, tool: ToolServer) -> None:
    for behaviour in (
        events(event(LIST), event(result(2))),
        says(event(LIST) + event(result(2)), 200, "text/event-stream"),
    ):
        tool.behaviour = behaviour
        answer = await post(running, asking)
        assert (b"look" in answer.body, b"drop" in answer.body) == (True, False)
        assert answer.message["id"] == 2


async def test_one_that_cannot_be_read_is_an_error(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(DEEP)
    assert (await post(running, asked("tools/list", 9))).reason == "upstream_failed"
    for deep in (event(DEEP), event(DEEP, b"id: 1"), event(LIST[:-2] + b" " * (9 << 20), b"id: 1")):
        tool.behaviour = events(deep)
        answer = await post(running, asked("tools/list", 9))
        assert b"drop" not in answer.body
        assert (answer.message["id"], answer.reason) == (9, "upstream_failed"), "to resume would not help"
    tool.behaviour = events(event(DEEP, b"id: 1"))
    answer = await post(running, call(identity=9))
    assert b"drop" not in answer.body
    assert answer.message["result"]["_meta"]["tool-gateway/reason"] == "outcome_unknown"


async def test_a_tool_whose_name_no_call_may_have_is_not_shown(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of_server(tool.url, "*"))
    names = ["a b", "x" * 129, "a\nb", "a\0"]
    tool.behaviour = says(json.dumps({"result": {"tools": [{"name": name} for name in names]}}).encode())
    answer = await post(running, asked("tools/list"))
    assert [shown["name"] for shown in answer.message["result"]["tools"]] == ["a b"]


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_long_list_counts_as_held_until_its_reader_has_it(
    kind: str, running: Running, tool: ToolServer
) -> None:
    padding = " " * 7_000_000
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "look", "description": padding}]}}
    ).encode()
    tool.behaviour = says(event(body) if kind == "text/event-stream" else body, kind=kind)
    async with asyncio.timeout(20), await opened(running, asked("tools/list")) as answer:
        await answer.content.readexactly(1)  # from here on the reader is slow
        assert running.gateway.buffers.held > 6_000_000
        assert len(await answer.read()) > 6_000_000


async def test_an_empty_event_stream_is_explained_in_one_piece(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(b"", 200, "text/event-stream")
    answer = await post(running, call(identity=3))
    assert (answer.message["id"], answer.headers["Content-Length"]) == (3, str(len(answer.body)))
