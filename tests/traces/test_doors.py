"""One span a call, whatever door it came through and whatever became of it."""

import asyncio
import re

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.doors.conftest import Running, policy_of
from tests.doors.mcp_server import call, policy_of_server, post, result, says
from tests.doors.tool_server import ToolServer, hang
from tests.doors.wire import dial
from tests.traces.collector import Collector, plain
from tests.traces.conftest import StartTraced
from tests.traces.test_traces import CALLER, TRACE, TRACEPARENT


def ends(spans: list[Span]) -> list[tuple[str, str, int]]:
    """Tool, reason and status of each, in the order of their ends."""
    return [
        (str(said["gen_ai.tool.name"]), str(said["tool_gateway.reason"]), span.status.code)
        for span in sorted(spans, key=lambda span: span.end_time_unix_nano)
        for said in [plain([*span.attributes])]
    ]


async def test_calls_of_mcp_tools_and_no_other_messages_are_spans(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced(policy_of_server(tool.url, "look"))
    tool.behaviour = says(result())
    await post(running, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    await post(running, call("look"), traceparent=TRACEPARENT)
    await post(running, call("delete"), traceparent=TRACEPARENT)
    spans = await collector.seen(2)
    assert ends(spans) == [
        ("bed.look", "ok", Status.STATUS_CODE_UNSET),
        ("bed.delete", "tool_not_allowed", Status.STATUS_CODE_ERROR),
    ]
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, CALLER)}
    assert tool.received[-1].headers["traceparent"] == f"00-{TRACE}-{spans[0].span_id.hex()}-01"


async def test_a_repeat_that_is_answered_from_what_is_kept_is_a_span_without_attempts(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    for _ in range(2):
        async with running.agent.post("/tools/notes.write", json={}, headers={"Idempotency-Key": "k"}) as answer:
            assert answer.status == 200
    first, second = await collector.seen(2)
    assert ends([first, second]) == [
        ("notes.write", "ok", Status.STATUS_CODE_UNSET),
        ("notes.write", "dedup", Status.STATUS_CODE_UNSET),
    ]
    assert (len(first.events), len(second.events), tool.calls) == (1, 0, 1)


async def test_a_tunnel_is_a_span_from_its_opening_to_its_end(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    port = int(tool.url.rpartition(":")[2])
    egress = {"allow_hosts": ["127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.0/8"]}
    running = await traced(policy_of({"http.connect": {}}, egress=egress))
    asked = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\ntraceparent: {TRACEPARENT}\r\n\r\n"
    async with dial(running.gateway.data_url) as wire:
        await wire.say(asked.encode())
        assert (await wire.answer(bodyless=True)).status == 200
        assert collector.spans == []
    span = await collector.one()
    assert (span.name, span.parent_span_id.hex()) == ("execute_tool http.connect", CALLER)


async def test_a_call_whose_caller_leaves_is_a_span_that_says_so(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    tool.behaviour = hang(asyncio.Event())
    left = asyncio.create_task(begun(running))
    await tool.seen()
    left.cancel()
    span = await collector.one()
    assert ends([span]) == [("search.read", "client_gone", Status.STATUS_CODE_ERROR)]
    (event,) = span.events
    assert plain([*event.attributes])["tool_gateway.attempt.result"] == "abandoned"
    assert re.fullmatch(r"[0-9a-f]{16}", span.span_id.hex())


async def begun(running: Running) -> None:
    async with running.agent.post("/tools/search.read", json={}):
        pass


async def test_calls_at_the_same_time_have_spans_of_their_own(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    await asyncio.gather(*(begun(running) for _ in range(8)))
    spans = await collector.seen(8)
    assert len({span.span_id for span in spans}) == len({span.trace_id for span in spans}) == 8
    sent = {received.headers["traceparent"].split("-")[2] for received in tool.received}
    assert sent == {span.span_id.hex() for span in spans}
