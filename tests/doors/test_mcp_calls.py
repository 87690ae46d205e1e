"""tools/call at the MCP door: the same policy as at every other door, said in the words of MCP."""

import asyncio
import json

import pytest

from gateway.denial import Reason
from gateway.model import Door
from tests.doors.conftest import Running, StartGateway
from tests.doors.mcp_server import (
    SERVER,
    TEXT,
    call,
    event,
    events,
    opened,
    policy_of_server,
    post,
    result,
    says,
    silent_after,
)
from tests.doors.tool_server import ToolServer, hang, status

LEGACY = {"Mcp_Session_Id": "s-1", "MCP_Protocol_Version": "2025-11-25"}
STATELESS = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call"}


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    tool.behaviour = says(result())
    definitions = {
        f"{SERVER}.read": {"effect": "read"},
        f"{SERVER}.slow": {"timeout_ms": 100},
        f"{SERVER}.slow_read": {"effect": "read", "timeout_ms": 100, "retries": {"max": 0}},
        f"{SERVER}.strict": {"arguments": {"type": "object", "required": ["q"]}, "max_request_bytes": 500},
    }
    allowed = ("look", "read", "slow", "slow_read", "strict")
    return await start(policy_of_server(tool.url, *allowed, tools={"definitions": definitions}))


async def test_an_allowed_call_goes_through_byte_for_byte(running: Running, tool: ToolServer) -> None:
    body = b' {"jsonrpc":"2.0",  "id":7,"method":"tools/call","params":{"name":"look","arguments":{"n":1.50}}}'
    tool.behaviour = says(b'{"jsonrpc":"2.0","id":7, "result":{"content":[],"x":1.50}}')
    answer = await post(running, body, **LEGACY)
    assert (answer.status, answer.body) == (200, b'{"jsonrpc":"2.0","id":7, "result":{"content":[],"x":1.50}}')
    (received,) = tool.received
    assert (received.method, received.path, received.body) == ("POST", "/mcp", body)
    assert received.headers["Mcp-Session-Id"] == "s-1"
    record = await running.seen.ended()
    assert (record.door, record.tool, record.reason, record.args) == (
        Door.MCP,
        "bed.look",
        Reason.OK,
        b'{"n":1.50}'.replace(b"0}", b"}"),
    )


async def test_what_is_not_allowed_is_a_result_that_a_model_can_read(running: Running, tool: ToolServer) -> None:
    answer = await post(running, call("drop", "an-id"))
    assert answer.status == 200
    assert answer.reason == "tool_not_allowed"
    assert answer.message["id"] == "an-id"
    denial = answer.message["result"]["_meta"]["tool-gateway/denial"]
    assert (denial["tool"], denial["status"]) == ("bed.drop", 403)
    assert tool.calls == 0
    assert (await running.seen.ended()).reason is Reason.TOOL_NOT_ALLOWED


async def test_a_caller_that_takes_events_only_gets_one(running: Running) -> None:
    answer = await post(running, call("drop"), Accept="text/event-stream")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.reason == "tool_not_allowed"
    assert (await post(running, call("drop"), Accept="*/*")).headers["Content-Type"] == "application/json"


async def test_a_name_in_escapes_is_judged_by_what_it_says(running: Running, tool: ToolServer) -> None:
    body = json.dumps(call("drop")).replace("drop", "dr\\u006fp").encode()
    assert (await post(running, body)).reason == "tool_not_allowed"
    assert tool.calls == 0


async def test_a_name_that_no_policy_can_spell_is_not_repeated(running: Running) -> None:
    answer = await post(running, call("hunter 2"))
    assert answer.reason == "tool_not_allowed"
    assert b"hunter" not in answer.body
    assert (await post(running, call("x" * 200))).reason == "invalid_request"
    assert (await post(running, call("x" * 1_000_000))).reason == "invalid_request"
    assert len((await running.seen.ended(3)).tool) < 200, "it would be kept for the log and the admin plane"


async def test_a_name_that_no_policy_can_spell_is_allowed_by_a_pattern(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of_server(tool.url, "*"))
    tool.behaviour = says(result())
    assert (await post(running, call("hunter 2"))).message["result"] == TEXT


async def test_arguments_are_held_to_their_schema(running: Running, tool: ToolServer) -> None:
    assert (await post(running, call("strict", x=1))).reason == "arguments_not_allowed"
    assert (await post(running, asked_without_arguments("strict"))).reason == "arguments_not_allowed"
    assert (await post(running, call("strict", q="x" * 600))).reason == "request_too_large"
    assert tool.calls == 0
    assert "result" in (await post(running, call("strict", q="tea"))).message


def asked_without_arguments(tool: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}


async def test_a_run_has_its_calls_and_no_more(running: Running, tool: ToolServer) -> None:
    answers = await asyncio.gather(*(post(running, call(identity=n), Agent_Run_Id="r1") for n in range(20)))
    assert sum("isError" not in answer.message["result"] for answer in answers) == 12
    assert tool.calls == 12
    refused = next(answer for answer in answers if "isError" in answer.message["result"])
    assert refused.reason == "max_tool_calls"
    assert refused.message["result"]["_meta"]["tool-gateway/denial"]["stop_reason"] == "max_tool_calls"


async def test_a_session_has_a_window_of_its_own_and_its_id_stays_secret(running: Running) -> None:
    for session in ("secret-one", "secret-two"):
        for n in range(13):
            answer = await post(running, call(identity=n), Mcp_Session_Id=session)
        assert answer.reason == "max_tool_calls"
    runs = {record.run_id for record in running.seen.records}
    assert len(runs) == 2
    assert all(run is not None and run.startswith("mcp-") and len(run) == 36 for run in runs)
    assert "run_started" not in running.seen.names()
    assert (await post(running, call(), Mcp_Session_Id="secret-one", Agent_Run_Id="r1")).message["result"] == TEXT
    assert (await post(running, call(), f"/runs/r2/mcp/{SERVER}", Mcp_Session_Id="secret-one")).message[
        "result"
    ] == TEXT


async def test_an_answer_that_asks_for_input_passes_and_its_repeat_counts(running: Running, tool: ToolServer) -> None:
    asks = result(resultType="input_required", inputRequests={}, requestState="sealed")
    tool.behaviour = says(asks)
    for n in range(12):
        repeat = call(identity=n)
        repeat["params"] |= {"inputResponses": {"a": "private"}, "requestState": "sealed"}
        assert (await post(running, repeat, Agent_Run_Id="r1", **STATELESS)).body == asks
    assert (await post(running, call(), Agent_Run_Id="r1", **STATELESS)).reason == "max_tool_calls"
    for record in running.seen.records:
        assert b"private" not in record.args
        assert b"sealed" not in record.args + record.result


async def test_a_timeout_is_a_result_that_names_the_timer(running: Running, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    answer = await post(running, call("slow"), **STATELESS)
    assert answer.reason == "outcome_unknown"
    assert "timeout of 100 ms" in answer.message["result"]["content"][0]["text"]
    await tool.left()
    assert tool.calls == 1
    assert (await post(running, call("slow_read"), **STATELESS)).reason == "tool_timeout"
    assert not any(b"notifications/cancelled" in received.body for received in tool.received)


async def test_on_the_handshake_wire_a_timeout_is_told_to_the_server(running: Running, tool: ToolServer) -> None:
    tool.replies = [hang(asyncio.Event())]
    assert (await post(running, call("slow", "id-1"), **LEGACY)).reason == "outcome_unknown"
    await tool.seen(2)
    notice = tool.received[1]
    said = json.loads(notice.body)
    assert (said["method"], said["params"]["requestId"]) == ("notifications/cancelled", "id-1")
    assert notice.headers["Mcp-Session-Id"] == "s-1"
    assert notice.headers["MCP-Protocol-Version"] == "2025-11-25"
    assert len(running.seen.records) == 1


async def test_a_silent_event_stream_times_out_and_ends_with_the_answer(running: Running, tool: ToolServer) -> None:
    progress = event(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}')
    tool.replies = [silent_after(progress)]
    answer = await post(running, call("slow", 5), **LEGACY)
    assert answer.status == 200
    assert answer.body.startswith(progress)
    assert answer.message["id"] == 5
    assert answer.message["result"]["_meta"]["tool-gateway/reason"] == "outcome_unknown"
    assert "went silent for 100 ms" in answer.message["result"]["content"][0]["text"]
    assert (await running.seen.ended()).reason is Reason.OUTCOME_UNKNOWN
    await tool.seen(2)
    assert b"notifications/cancelled" in tool.received[1].body


async def test_events_of_a_call_pass_as_they_are(running: Running, tool: ToolServer) -> None:
    pieces = [
        b"id: 1\ndata:\n\n",
        b": ping\n\n",
        event(b'{"jsonrpc":"2.0","method":"notifications/progress"}', b"event: message"),
        event(result(3), b"id: 2"),
    ]
    tool.behaviour = events(*pieces)
    answer = await post(running, call(identity=3))
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.body == b"".join(pieces)
    assert (await running.seen.ended()).reason is Reason.OK


async def test_a_stream_that_ends_before_the_result_is_explained(running: Running, tool: ToolServer) -> None:
    tool.behaviour = events(event(b'{"jsonrpc":"2.0","method":"notifications/progress"}'))
    answer = await post(running, call(identity=3))
    assert (answer.message["id"], answer.message["result"]["_meta"]["tool-gateway/reason"]) == (3, "outcome_unknown")
    resumable = event(b'{"jsonrpc":"2.0","method":"notifications/progress"}', b"id: 1")
    tool.behaviour = events(resumable)
    assert (await post(running, call(identity=4))).body == resumable


async def test_what_the_server_says_in_http_is_passed_on(running: Running, tool: ToolServer) -> None:
    mismatch = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"no"}}'
    tool.replies = [
        says(mismatch, 400),
        says(b"gone", 404, "text/plain"),
        says(b"", 401, WWW_Authenticate='Bearer realm="x"'),
    ]
    answer = await post(running, call())
    assert (answer.status, answer.body) == (400, mismatch)
    answer = await post(running, call(), **LEGACY)
    assert (answer.status, answer.body) == (404, b"gone")
    answer = await post(running, call())
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="x"')


async def test_a_redirect_is_neither_followed_nor_handed_on(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(307, Location="http://elsewhere/mcp")
    answer = await post(running, call())
    assert answer.reason == "outcome_unknown"
    assert b"elsewhere" not in answer.body
    assert "Location" not in answer.headers


async def test_only_what_is_safe_is_repeated(running: Running, tool: ToolServer) -> None:
    tool.replies = [says(b"", 503), says(b"", 503)]
    assert (await post(running, call("read"), **STATELESS, Mcp_Name="read")).message["result"] == TEXT
    assert tool.calls == 3
    tool.replies = [says(b"", 503)]
    assert (await post(running, call("look"), **STATELESS, Mcp_Name="look")).status == 503
    assert tool.calls == 4


async def test_on_the_handshake_wire_an_id_that_was_sent_is_not_sent_again(running: Running, tool: ToolServer) -> None:
    tool.replies = [says(b"", 503)]
    assert (await post(running, call("read"), **LEGACY)).status == 503
    assert tool.calls == 1
    tool.replies = [says(b"", 429)]  # nobody has read the message
    assert (await post(running, call("read"), **LEGACY)).message["result"] == TEXT
    assert tool.calls == 3


async def test_credentials_are_the_gateways_and_origin_and_coding_stay_here(
    start: StartGateway, tool: ToolServer
) -> None:
    tool.behaviour = says(result())
    server = {"headers": {"Authorization": "Bearer ${env:SECRET}"}}
    policy = json.loads(policy_of_server(tool.url, "look", **server))
    policy["agents"] = {"a": {"token": "${env:TOKEN}", "allowlist": ["bed.look"]}, "default": {"allowlist": []}}
    running = await start(json.dumps(policy), SECRET="the-servers", TOKEN="the-agents")
    answer = await post(running, call(), Authorization="Bearer the-agents", Origin="http://localhost:3000")
    assert answer.message["result"] == TEXT
    headers = {name.lower(): value for name, value in tool.received[0].headers.items()}
    assert headers["authorization"] == "Bearer the-servers"
    assert not {"origin", "accept-encoding", "agent-token"} & set(headers)
    assert (await post(running, call())).reason == "tool_not_allowed"
    answer = await post(running, call(), Authorization="Bearer somebody-elses")
    assert (answer.status, answer.reason) == (401, "unauthenticated")
    assert (await post(running, call(), Origin="http://evil.example")).status == 403
    assert tool.calls == 1


async def test_a_call_is_stopped_by_every_switch_that_reaches_it(running: Running, tool: ToolServer) -> None:
    for scope in ("all", "writes", f"tool:{SERVER}.*", "agent:default"):
        await running.kill(scope)
        assert (await post(running, call())).reason in ("kill_switch", "agent_disabled")
        await running.restore(scope)
    await running.kill("writes")
    assert (await post(running, call("read"))).message["result"] == TEXT
    assert tool.calls == 1


async def test_a_kill_that_cancels_reaches_a_call_at_work(running: Running, tool: ToolServer) -> None:
    tool.replies = [hang(asyncio.Event())]
    asking = asyncio.create_task(post(running, call(), **LEGACY))
    await tool.seen()
    await running.kill("all", cancel_in_flight=True)
    answer = await asking
    assert answer.reason == "kill_switch"
    assert "It may have run" in answer.message["result"]["content"][0]["text"]


async def test_a_kill_that_cancels_ends_a_calls_stream_with_its_answer(running: Running, tool: ToolServer) -> None:
    tool.replies = [silent_after(b": hello\n\n")]
    async with await opened(running, call(identity=6), **LEGACY) as answer:
        assert await answer.content.readany() == b": hello\n\n"
        await running.kill(f"tool:{SERVER}.look", cancel_in_flight=True)
        last = json.loads((await answer.content.read()).split(b"data: ")[1])
    assert (last["id"], last["result"]["_meta"]["tool-gateway/reason"]) == (6, "kill_switch")
    assert (await running.seen.ended()).reason is Reason.KILL_SWITCH


async def test_a_caller_that_leaves_takes_its_call_along_without_a_word(running: Running, tool: ToolServer) -> None:
    tool.replies = [silent_after(b": hello\n\n")]
    answer = await opened(running, call(), **LEGACY)
    assert await answer.content.readany() == b": hello\n\n"
    answer.close()
    await tool.left()
    assert (await running.seen.ended()).reason is Reason.CLIENT_GONE
    assert tool.calls == 1


@pytest.mark.parametrize(("failed", "reason"), [(False, Reason.OK), (True, Reason.TOOL_ERROR)])
async def test_a_caller_that_leaves_behind_its_result_has_its_answer(
    failed: bool, reason: Reason, running: Running, tool: ToolServer
) -> None:
    """As the SDK's clients do: they do not wait for the stream to end."""
    said = event(result(content=[], isError=failed))
    tool.replies = [silent_after(said)]
    answer = await opened(running, call(), **LEGACY)
    assert await answer.content.readany() == said
    answer.close()
    await tool.left()
    assert (await running.seen.ended()).reason is reason


async def test_a_large_result_streams(running: Running, tool: ToolServer) -> None:
    large = result(content=[{"type": "text", "text": "x" * 5_000_000}])
    for behaviour in (says(large), events(event(large))):
        tool.behaviour = behaviour
        answer = await post(running, call())
        assert large in answer.body


async def test_a_tool_of_an_mcp_server_is_not_served_at_the_tool_path(running: Running, tool: ToolServer) -> None:
    async with running.agent.post(f"/tools/{SERVER}.look", json={}) as answer:
        assert answer.status == 400
        assert f"/mcp/{SERVER}" in (await answer.json(content_type=None))["detail"]
    async with running.agent.post(f"/tools/{SERVER}.drop", json={}) as answer:
        assert answer.status == 403
    assert tool.calls == 0


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"result": {"content": [], "isError": True}}, Reason.TOOL_ERROR),
        ({"error": {"code": -32602, "message": "no"}}, Reason.TOOL_ERROR),
        ({"result": {"content": [], "isError": False}}, Reason.OK),
        (
            {
                "result": {
                    "content": [{"type": "text", "text": '"isError": true'}],
                    "structuredContent": {"isError": True},
                }
            },
            Reason.OK,
        ),
    ],
)
async def test_a_tool_that_says_it_failed_is_told_apart_in_the_log(
    answered: dict[str, object], reason: Reason, streams: bool, running: Running, tool: ToolServer
) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, **answered}).encode()
    tool.behaviour = events(event(body)) if streams else says(body)
    answer = await post(running, call("read"))
    assert json.loads(body) == answer.message
    assert (await running.seen.ended()).reason is reason
    assert tool.calls == 1, "it is an answer, not repeated"
    if not streams:
        assert answer.headers["Tool-Gateway-Reason"] == reason
