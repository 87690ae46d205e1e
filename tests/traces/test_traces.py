"""Each call is one span, below its caller's and above its upstream's."""

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.doors.conftest import Running, policy_of
from tests.doors.tool_server import ToolServer, status
from tests.traces.collector import Collector, plain
from tests.traces.conftest import StartTraced

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PAGE = Path(__file__).parents[2] / "docs/traces.md"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


async def closed(running: Running) -> None:
    """All spans are sent, or given up."""
    assert running.gateway.traces is not None
    async with asyncio.timeout(10):
        await running.gateway.traces.close(1.0)


async def test_a_call_is_a_span_in_the_execute_tool_form(traced: StartTraced, collector: Collector) -> None:
    running = await traced()
    headers = {"Agent-Run-Id": "run-7", "traceparent": TRACEPARENT}
    async with running.agent.post("/tools/search.read", json={"q": "planted"}, headers=headers) as answer:
        assert answer.status == 200
    span = await collector.one()
    assert (span.name, span.kind, span.status.code) == (
        "execute_tool search.read",
        Span.SPAN_KIND_INTERNAL,
        Status.STATUS_CODE_UNSET,
    )
    said = plain([*span.attributes])
    record = running.seen.records[0]
    assert said["gen_ai.operation.name"] == "execute_tool"
    assert said["gen_ai.tool.name"] == "search.read"
    assert said["gen_ai.tool.call.id"] == record.call_id == answer.headers["Tool-Gateway-Call-Id"]
    own = {key.removeprefix("tool_gateway."): value for key, value in said.items() if key.startswith("tool_gateway.")}
    assert own == {
        "agent_id": "default",
        "run_id": "run-7",
        "door": "tool_path",
        "effect": "read",
        "decision": "allow",
        "reason": "ok",
        "status": 200,
        "attempts": 1,
        "waited_ms": 0.0,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "cost_usd": 0.0,
        "upstream": "default",
        "policy": record.policy,
    }
    assert "error.type" not in said


async def test_it_lies_between_its_callers_span_and_its_upstreams(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    for _ in range(3):  # the last ones on connections that stand: no lane passes the trace by
        headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
        async with running.agent.post("/tools/search.read", json={}, headers=headers) as answer:
            assert answer.status == 200
    spans = await collector.seen(3)
    assert {(span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) for span in spans} == {
        (TRACE, CALLER, "vendor=1")
    }
    sent = [(received.headers["traceparent"], received.headers["tracestate"]) for received in tool.received]
    assert sent == [(f"00-{TRACE}-{span.span_id.hex()}-01", "vendor=1") for span in spans]


async def test_a_call_without_a_trace_begins_one_that_the_log_names(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    async with running.agent.post("/tools/search.read", json={}):
        pass
    span = await collector.one()
    assert span.parent_span_id == b""
    begun = (
        f"00-{span.trace_id.hex()}-{span.span_id.hex()}-0[13]"  # the 2: its trace id is random (Trace Context level 2)
    )
    assert re.fullmatch(begun, tool.received[0].headers["traceparent"])
    assert running.seen.records[0].trace_id == span.trace_id.hex()


async def test_attempts_are_events_with_their_result_and_wait(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced(policy_of({"search.read": {"effect": "read"}}, budget_percent=100))
    tool.replies = [status(503), status(429)]
    async with running.agent.post("/tools/search.read", json={}) as answer:
        assert answer.status == 200
    span = await collector.one()
    told = [plain([*event.attributes]) for event in span.events]
    assert [event.name for event in span.events] == ["tool_gateway.attempt"] * 3
    assert [one["tool_gateway.attempt.result"] for one in told] == ["status_503", "status_429", "2xx"]
    waited = [one["tool_gateway.attempt.waited_ms"] for one in told]
    assert min(waited[1:]) > 0
    assert sum(waited) >= running.seen.records[0].waited_ms - 1
    times = [event.time_unix_nano for event in span.events]
    assert span.start_time_unix_nano <= times[0] < times[1] < times[2] <= span.end_time_unix_nano


async def test_a_refused_call_is_an_error_with_its_reason_below_the_same_caller(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    async with running.agent.post("/tools/shell.run", json={}, headers={"traceparent": TRACEPARENT}) as answer:
        assert answer.status == 403
    span = await collector.one()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "tool_not_allowed")
    said = plain([*span.attributes])
    assert (said["error.type"], said["tool_gateway.decision"]) == ("tool_not_allowed", "deny")
    assert (tool.calls, [*span.events]) == (0, [])


async def test_a_failed_call_is_an_error_whose_attempts_say_how(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()
    tool.behaviour = status(404)
    async with running.agent.post("/tools/notes.write", json={}):
        pass
    span = await collector.one()
    assert span.status.message == plain([*span.attributes])["error.type"] == "tool_error"
    assert [plain([*event.attributes])["tool_gateway.attempt.result"] for event in span.events] == ["4xx"]


async def test_no_argument_result_or_credential_is_in_a_span(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced()

    async def planted(request: web.Request) -> web.StreamResponse:
        return web.Response(text="planted-result", headers={"X-Planted": "planted"})

    tool.behaviour = planted
    headers = {"X-Planted": "planted-header", "Authorization": "Basic cGxhbnRlZC1hOmI="}
    async with running.agent.post("/tools/search.read?k=planted-query", json={"q": "planted-arg"}, headers=headers):
        pass
    async with running.agent.post("/tools/sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD", json={}):
        pass
    await collector.seen(2)
    sent = b"".join(collector.bodies)
    assert not re.search(b"planted|cGxhbn|abcdefghijklmnop", sent)


async def test_the_sdks_own_variables_are_obeyed(traced: StartTraced, collector: Collector) -> None:
    running = await traced(
        OTEL_SERVICE_NAME="checkout-sidecar",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
        OTEL_EXPORTER_OTLP_HEADERS="x-team=tools",
    )
    async with running.agent.post("/tools/search.read", json={}):
        pass
    await collector.one()
    assert collector.headers[0]["x-team"] == "tools"
    (resource,) = collector.resources
    assert (resource["service.name"], resource["deployment.environment"]) == ("checkout-sidecar", "test")


async def test_unnamed_it_calls_itself_tool_gateway(traced: StartTraced, collector: Collector) -> None:
    running = await traced()
    async with running.agent.post("/tools/search.read", json={}):
        pass
    await collector.one()
    assert collector.resources[0]["service.name"] == "tool-gateway"


@pytest.mark.parametrize(("sampler", "flags"), [("always_off", "01"), ("parentbased_always_on", "00")])
async def test_a_call_that_is_not_sampled_is_no_span_and_tells_its_upstream_so(
    traced: StartTraced, collector: Collector, tool: ToolServer, sampler: str, flags: str
) -> None:
    running = await traced(OTEL_TRACES_SAMPLER=sampler)
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}
    async with running.agent.post("/tools/search.read", json={}, headers=headers):
        pass
    await closed(running)
    assert collector.bodies == []
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", tool.received[0].headers["traceparent"])


async def test_a_collector_that_hangs_holds_up_no_call_and_no_end_and_what_it_costs_is_counted(
    traced: StartTraced, collector: Collector
) -> None:
    collector.answers = False
    running = await traced(OTEL_BSP_MAX_QUEUE_SIZE="2", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
    async with running.agent.post("/tools/search.read", json={}):
        pass
    await collector.asked()  # with the first span; two more can wait
    for _ in range(5):
        async with running.agent.post("/tools/search.read", json={}) as answer:
            assert answer.status == 200
    async with running.operator.get("/metrics") as metrics:
        assert 'tool_gateway_spans_dropped_total{why="queue_full"} 3.0' in await metrics.text()
    (event,) = [event for event in running.seen.events if event.name == "spans_dropped"]
    assert event.fields["dropped"] == {"queue_full": 1, "not_taken": 0}
    await closed(running)


async def test_a_collector_out_of_reach_is_told_in_log_and_metrics_and_not_on_stderr(
    traced: StartTraced, collector: Collector, tool: ToolServer, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await traced(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{tool.url}/v1/traces")
    tool.behaviour = status(401)
    async with running.agent.post("/tools/search.read", json={}):
        pass
    await tool.seen(2)  # the call, and its span
    text = ""
    async with asyncio.timeout(10):
        while 'tool_gateway_spans_dropped_total{why="not_taken"} 1.0' not in text:
            async with running.operator.get("/metrics") as metrics:
                text = await metrics.text()
    async with running.agent.post("/tools/search.read", json={}):
        pass
    (event,) = [event for event in running.seen.events if event.name == "spans_dropped"]
    assert event.fields["dropped"] == {"queue_full": 0, "not_taken": 1}
    assert "401" in str(event.fields["problem"])
    await closed(running)
    assert capfd.readouterr().err == ""


async def test_hosts_that_are_no_upstream_get_a_traceparent_only_in_the_place_of_their_callers(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    port = int(tool.url.rpartition(":")[2])
    egress = {"allow_hosts": ["127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.1/32"]}
    running = await traced(policy_of({"http.get": {}}, egress=egress))
    for headers in ({}, {"traceparent": TRACEPARENT}):
        async with running.agent.get(f"{tool.url}/page", proxy=running.gateway.data_url, headers=headers) as answer:
            assert answer.status == 200
    spans = await collector.seen(2)
    assert "traceparent" not in tool.received[0].headers
    assert tool.received[1].headers["traceparent"] == f"00-{TRACE}-{spans[1].span_id.hex()}-01"


async def test_the_reference_names_exactly_what_a_span_carries(
    traced: StartTraced, collector: Collector, tool: ToolServer
) -> None:
    running = await traced(policy_of({"search.read": {}}, mode="report", runs={"max_usd": 1}))
    tool.replies = [status(404)]
    for path in ("/tools/search.read", "/tools/shell.run"):
        async with running.agent.post(path, json={}, headers={"Agent-Run-Id": "r"}):
            pass
    spans = await collector.seen(2)
    page = PAGE.read_text()
    told = set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))
    (own,) = re.findall(r"^\| `tool_gateway\.\*` \| .*?: (.*), as far", page, re.MULTILINE)
    told |= {f"tool_gateway.{name}" for name in re.findall(r"`(\w+)`", own)}
    carried = {key for span in spans for key in plain([*span.attributes])}
    carried |= {key for span in spans for event in span.events for key in plain([*event.attributes])}
    assert carried <= told
    assert told - carried == {"tool_gateway.stop_reason", "tool_gateway.candidate"}
