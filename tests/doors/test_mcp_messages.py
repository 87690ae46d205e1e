"""All other messages at the MCP door: passed on untouched, lists filtered, what is no message refused."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from gateway.denial import Reason
from gateway.model import Door
from tests.doors.conftest import Running, StartGateway
from tests.doors.mcp_server import SERVER, asked, call, event, events, opened, policy_of_server, post, result, says
from tests.doors.tool_server import ToolServer, hang, status

INITIALIZE = asked("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})
TOOLS = [
    {"name": "look", "annotations": {"readOnlyHint": True}, "n": 1.50},
    {"name": "drop"},
    {"name": "note", "annotations": {"readOnlyHint": False}},
]
LIST = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "result": {"tools": TOOLS, "ttlMs": 300000, "cacheScope": "public"}}
).encode()


class Pushing:
    """A server's stream that a test writes to."""

    def __init__(self, *first: bytes) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for piece in first:
            self._queue.put_nowait(piece)

    def say(self, piece: bytes | None) -> None:
        self._queue.put_nowait(piece)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while (piece := await self._queue.get()) is not None:
            await response.write(piece)
        await response.write_eof()
        return response


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy_of_server(tool.url, "look", "note", deny_methods=["prompts/*", "logging/setLevel"]))


async def get(running: Running, **headers: str) -> aiohttp.ClientResponse:
    named = {"Accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await running.agent.get(f"/mcp/{SERVER}", headers=named)


def names(body: bytes) -> list[str]:
    return [tool["name"] for tool in json.loads(body)["result"]["tools"]]


async def test_initialize_passes_with_its_session(running: Running, tool: ToolServer) -> None:
    answered = result(0, protocolVersion="2025-11-25", capabilities={"tools": {}})
    tool.behaviour = says(answered, Mcp_Session_Id="s-1", X_Other="kept")
    answer = await post(running, INITIALIZE)
    assert (answer.status, answer.body) == (200, answered)
    assert (answer.headers["Mcp-Session-Id"], answer.headers["X-Other"]) == ("s-1", "kept")
    assert running.seen.records == []


async def test_notifications_and_responses_pass_with_their_202(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(b"", 202)
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 5, "result": {}},
    ):
        answer = await post(running, message)
        assert (answer.status, answer.body) == (202, b"")
    assert json.loads(tool.received[0].body)["params"] == {"requestId": 1}


async def test_the_end_of_a_session_passes_and_its_refusal_too(running: Running, tool: ToolServer) -> None:
    for code in (200, 202, 204, 404, 405):
        tool.behaviour = says(b"", code)
        async with running.agent.delete(f"/mcp/{SERVER}", headers={"Mcp-Session-Id": "s"}) as answer:
            assert answer.status == code
    tool.behaviour = says(b"", 405, Allow="POST")
    async with await get(running) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_list_shows_what_may_be_called(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(LIST)
    answer = await post(running, asked("tools/list"))
    assert names(answer.body) == ["look", "note"]
    assert b'"n": 1.5' in answer.body
    assert json.loads(answer.body)["result"] | {"tools": []} == {"tools": [], "ttlMs": 0, "cacheScope": "private"}
    tool.behaviour = events(event(b'{"jsonrpc":"2.0","method":"x"}'), event(LIST, b"id: 4", b"event: message"))
    answer = await post(running, asked("tools/list"))
    assert names(json.dumps(answer.message).encode()) == ["look", "note"]
    assert b"id: 4\nevent: message\ndata: " in answer.body


async def test_a_list_shows_what_is_killed_no_more(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(LIST)
    await running.kill("tool:bed.note")
    assert names((await post(running, asked("tools/list"))).body) == ["look"]
    await running.restore("tool:bed.note")
    await running.kill("writes")
    assert names((await post(running, asked("tools/list"))).body) == []


async def test_a_server_that_is_trusted_says_what_reads(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of_server(tool.url, "*", trust_annotations=True))
    await running.kill("writes")
    tool.behaviour = says(result())
    assert (await post(running, call("look"))).reason == "kill_switch"
    tool.behaviour = says(LIST)
    assert names((await post(running, asked("tools/list"))).body) == ["look"]
    tool.behaviour = says(result())
    assert "isError" not in (await post(running, call("look"))).message["result"]
    assert (await post(running, call("note"))).reason == "kill_switch"
    lies = json.dumps({"result": {"tools": [{"name": "note", "annotations": {"readOnlyHint": True}}]}}).encode()
    tool.behaviour = says(lies)
    assert names((await post(running, asked("tools/list"))).body) == []


async def test_a_list_that_cannot_be_read_or_is_coded_is_not_passed_on(running: Running, tool: ToolServer) -> None:
    for behaviour in (
        says(b"{drop"),
        says(LIST, Content_Encoding="identity, gzip"),
        says(LIST[:-1] + b" " * (9 << 20)),
    ):
        tool.behaviour = behaviour
        answer = await post(running, asked("tools/list", 9))
        assert (answer.status, answer.reason, answer.message["id"]) == (502, "upstream_failed", 9)
        assert b"drop" not in answer.body
    tool.behaviour = says(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}', 404)
    assert (await post(running, asked("tools/list"))).status == 404


async def test_a_stream_opens_at_once_passes_as_it_comes_and_filters_what_is_replayed(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = pushing = Pushing()
    async with asyncio.timeout(10), await get(running, Mcp_Session_Id="s", Last_Event_ID="7") as answer:
        assert answer.status == 200
        assert tool.received[0].headers["Last-Event-ID"] == "7"
        for piece in (b": ping\n\n", event(b'{"jsonrpc":"2.0","method":"m"}', b"id: 8"), b"retry: 5\n\n"):
            pushing.say(piece)
            assert await answer.content.readany() == piece
        pushing.say(event(LIST, b"id: 9"))
        shown = await answer.content.readany()
        assert shown.startswith(b"id: 9\ndata: ")
        assert b"drop" not in shown
        big = event(result(content=[{"type": "text", "text": "x" * 3_000_000}]))
        pushing.say(big)
        assert await answer.content.readexactly(len(big)) == big
        pushing.say(None)
        assert await answer.content.read() == b""


async def test_a_stream_ends_with_its_caller(running: Running, tool: ToolServer) -> None:
    tool.behaviour = Pushing(b": hello\n\n")
    answer = await get(running)
    await answer.content.readany()
    answer.close()
    await tool.left()


async def test_a_caller_that_leaves_before_the_first_event_leaves_nothing_behind(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = Pushing()
    asking = asyncio.create_task(get(running))
    await tool.seen()
    asking.cancel()
    await tool.left()


async def test_a_kill_that_cancels_ends_streams_and_refuses_new_ones(running: Running, tool: ToolServer) -> None:
    tool.behaviour = Pushing(b": hello\n\n")
    async with (
        asyncio.timeout(10),
        await get(running) as answer,
        await opened(running, asked("subscriptions/listen", 4)) as listening,
    ):
        assert await answer.content.readany() == b": hello\n\n"
        await running.kill("agent:default", cancel_in_flight=True)
        assert await answer.content.read() == b""
        last = await listening.content.read()
        assert json.loads(last.split(b"data: ")[1])["error"]["data"]["reason"] == "agent_disabled"
    async with await get(running) as answer:
        assert answer.status == 403


async def test_what_stops_everybody_stops_every_request_but_ping(running: Running, tool: ToolServer) -> None:
    tool.behaviour = says(result())
    for scope in ("all", "agent:default"):
        await running.kill(scope)
        for method in ("initialize", "tools/list", "resources/read", "server/discover"):
            answer = await post(running, asked(method, "x"))
            assert (answer.status, answer.message["id"]) == (200, "x")
            assert answer.message["error"]["code"] == -31000
            assert answer.reason in ("kill_switch", "agent_disabled")
        before = tool.calls
        await post(running, asked("ping"))
        await post(running, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        async with running.agent.delete(f"/mcp/{SERVER}"):
            pass
        assert tool.calls == before + 3
        await running.restore(scope)
    await running.kill("writes")
    assert (await post(running, asked("resources/read"))).body == result()
    await running.kill("run:r1")
    assert (await post(running, asked("resources/read"), Agent_Run_Id="r1")).reason == "kill_switch"


async def test_methods_that_the_policy_denies_go_no_further(running: Running, tool: ToolServer) -> None:
    for method in ("prompts/list", "prompts/get", "logging/setLevel"):
        answer = await post(running, asked(method))
        assert (answer.status, answer.reason) == (200, "invalid_request")
    assert (await post(running, {"jsonrpc": "2.0", "method": "prompts/x"})).status == 400
    assert tool.calls == 0
    tool.behaviour = says(result())
    assert (await post(running, asked("promptsx/get"))).body == result()


@pytest.mark.parametrize(
    ("body", "headers", "code", "http"),
    [
        (b"[" + json.dumps(call("drop")).encode() + b"]", {}, -32600, 400),
        (b"\xef\xbb\xbf" + json.dumps(call()).encode(), {}, -32700, 400),
        (json.dumps(call()).encode("utf-16"), {}, -32700, 400),
        (b"{", {}, -32700, 400),
        (json.dumps(call()).encode(), {"Mcp_Name": "other"}, -32020, 400),
        (json.dumps(call()).encode(), {"Content_Type": "text/plain"}, -32600, 415),
        (b" " * (5 << 20), {}, -31000, 413),
    ],
)
async def test_what_is_no_message_is_never_forwarded(
    running: Running, tool: ToolServer, body: bytes, headers: dict[str, str], code: int, http: int
) -> None:
    answer = await post(running, body, **headers)
    assert (answer.status, answer.message["error"]["code"], answer.message["id"]) == (http, code, None)
    assert tool.calls == 0
    record = await running.seen.ended()
    assert (record.door, record.args) == (Door.MCP, b"")


async def test_other_servers_paths_and_methods_do_not_exist(running: Running, tool: ToolServer) -> None:
    for path in ("/mcp/other", "/mcp", "/mcp/default", f"/mcp/{SERVER}/below"):
        assert (await post(running, call(), path)).status == 404
    async with running.agent.put(f"/mcp/{SERVER}") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "DELETE, GET, POST")
    assert tool.calls == 0


async def test_the_old_transport_is_refused(running: Running, tool: ToolServer) -> None:
    first = b"event: endpoint\ndata: /messages?session=1\n\n"
    tool.replies = [Pushing(first), Pushing(first)]
    async with await get(running) as answer:
        assert answer.status == 502
        assert b"session=1" not in await answer.read()
    async with await get(running, Mcp_Session_Id="s") as answer:
        assert await answer.read() == b""


async def test_an_upstream_that_is_away_is_502_with_a_reason(start: StartGateway) -> None:
    running = await start(policy_of_server("http://127.0.0.1:9", "look"))
    answer = await post(running, INITIALIZE)
    assert (answer.status, answer.reason, answer.message["id"]) == (502, "upstream_failed", 0)
    assert (await running.seen.ended()).reason is Reason.UPSTREAM_FAILED


async def test_a_redirect_of_a_message_is_502(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(308, Location="http://elsewhere/")
    answer = await post(running, INITIALIZE)
    assert (answer.status, answer.reason) == (502, "upstream_failed")
    tool.behaviour = says(result(0), 201, Location="http://elsewhere/")
    assert "Location" not in (await post(running, INITIALIZE)).headers


async def test_open_streams_leave_the_connections_to_calls(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of_server(tool.url, "look", max_connections=1))
    tool.behaviour = Pushing()
    async with await get(running, Mcp_Session_Id="a"), await get(running, Mcp_Session_Id="b"):
        tool.behaviour = says(result())
        assert "isError" not in (await post(running, call())).message["result"]


async def test_while_a_call_asks_its_caller_its_silence_is_not_the_tools(start: StartGateway, tool: ToolServer) -> None:
    policy = policy_of_server(tool.url, "look", tools={"timeouts_ms": {"default": 100}})
    running = await start(policy)
    question = event(json.dumps(asked("sampling/createMessage", "s1")).encode())
    pushing = Pushing(question)
    tool.replies = [pushing]
    async with await opened(running, call()) as answer:
        assert await answer.content.readany() == question
        tool.behaviour = says(b"", 202)
        await asyncio.sleep(0.3)  # three timeouts long: nothing may happen
        assert (await post(running, {"jsonrpc": "2.0", "id": "s1", "result": {}})).status == 202
        pushing.say(event(result()))
        pushing.say(None)
        assert await answer.content.read() == event(result())
    assert (await running.seen.ended()).reason is Reason.OK


async def test_a_path_with_the_slash_that_a_server_insists_on(start: StartGateway, tool: ToolServer) -> None:
    policy = json.loads(policy_of_server(tool.url, "look"))
    policy["mcp_servers"][SERVER]["url"] += "/"
    running = await start(json.dumps(policy))
    await post(running, call())
    await post(running, call(), f"/mcp/{SERVER}/?a=b")
    assert [received.path for received in tool.received] == ["/mcp/", "/mcp/?a=b"]


async def test_a_message_waits_as_long_as_it_takes(running: Running, tool: ToolServer) -> None:
    until = asyncio.Event()
    tool.replies = [hang(until)]
    asking = asyncio.create_task(post(running, asked("resources/read")))
    await tool.seen()
    until.set()
    assert (await asking).status == 200


async def test_streams_that_only_listen_take_no_place_of_calls(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of_server(tool.url, "look"), GATEWAY_MAX_IN_FLIGHT="1")
    tool.behaviour = Pushing(b": hello\n\n")
    async with (
        await get(running, Mcp_Session_Id="a"),
        await get(running, Mcp_Session_Id="b"),
        await opened(running, asked("subscriptions/listen", 4)),
    ):
        tool.behaviour = says(result())
        assert "isError" not in (await post(running, call())).message["result"]
