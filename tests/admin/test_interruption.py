"""What operators stop ends at once, also where it waits: seen from the caller, and counted at the tool."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from gateway.demo import ToolServer
from tests.admin.admin_plane import Operator, started

AT_ONCE = 5.0
"""Seconds; the waits that are interrupted would last far longer."""


@pytest.fixture
def tools() -> ToolServer:
    return ToolServer()


@pytest.fixture
async def busy(tmp_path: Path, tools: ToolServer) -> AsyncIterator[Operator]:
    """`again?after=30` waits between attempts for half a minute, `slow` is at its tool for one."""
    (tmp_path / "policies").mkdir()
    async with TestServer(tools.app) as server:
        (tmp_path / "policies" / "policy.yaml").write_text(
            f"""
tools:
  allowlist: [again, slow]
  timeouts_ms: {{default: 60000}}
  retries: {{max: 2, backoff_ms: [200]}}
  definitions:
    again: {{effect: read, path: /flaky, deadline_ms: 600000}}
    slow: {{effect: read, path: /slow, methods: [POST]}}
runtime: {{env: {{AGENT_MAX_SECONDS: 600}}}}
upstreams: {{default: {{url: "http://127.0.0.1:{server.port}"}}}}
"""
        )
        async with started(tmp_path) as operator:
            yield operator


async def until(condition: Callable[[], bool]) -> None:
    """Neither a tool nor a call tells when it gets there."""
    while not condition():  # noqa: ASYNC110  # there is no event to wait for
        await asyncio.sleep(0.01)


async def calling(operator: Operator, tools: ToolServer, path: str) -> "asyncio.Task[dict[str, object]]":
    """A call that has reached its tool once."""
    call = asyncio.create_task(operator.call(path, 403))
    await until(lambda: tools.received.total() == 1)
    return call


async def between_attempts(operator: Operator) -> None:
    """The one call in flight has its first answer and waits."""
    waits = operator.gateway.counts.in_flight._waits
    await until(lambda: all(wait.waiting for wait in waits))


@pytest.mark.parametrize("scope", ["all", "tool:again", "agent:default", "run:r1"])
async def test_a_kill_ends_a_pending_retry(busy: Operator, tools: ToolServer, scope: str) -> None:
    call = await calling(busy, tools, "/runs/r1/tools/again?after=30")
    await between_attempts(busy)
    await busy.post("/v1/kill-switches", {"scope": scope, "reason": "drill"})
    body = await asyncio.wait_for(call, AT_ONCE)
    assert body["reason"] == ("agent_disabled" if scope.startswith("agent") else "kill_switch")
    assert tools.received["flaky"] == 1


async def test_a_stopped_run_ends_its_pending_retry(busy: Operator, tools: ToolServer) -> None:
    call = await calling(busy, tools, "/runs/r1/tools/again?after=30")
    await between_attempts(busy)
    await busy.post("/v1/runs/default/r1/stop")
    body = await asyncio.wait_for(call, AT_ONCE)
    assert (body["reason"], body["stop_reason"]) == ("kill_switch", "kill_switch")


async def test_a_call_at_its_tool_ends_only_where_that_is_asked_for(busy: Operator, tools: ToolServer) -> None:
    call = await calling(busy, tools, "/runs/r1/tools/slow?seconds=60")
    await busy.post("/v1/kill-switches", {"scope": "tool:slow", "reason": "drill"})
    await busy.get("/v1/status")
    assert not call.done()
    await busy.post("/v1/kill-switches", {"scope": "tool:slow", "reason": "drill", "cancel_in_flight": True})
    assert (await asyncio.wait_for(call, AT_ONCE))["reason"] == "kill_switch"


async def test_cutting_one_tool_cuts_no_other(busy: Operator, tools: ToolServer) -> None:
    """An older switch without cancel_in_flight gains none from a newer one with it."""
    call = await calling(busy, tools, "/runs/r1/tools/slow?seconds=60")
    await busy.post("/v1/kill-switches", {"scope": "all", "reason": "gently"})
    await busy.post("/v1/kill-switches", {"scope": "tool:other", "reason": "hard", "cancel_in_flight": True})
    await busy.get("/v1/status")
    assert not call.done()
    await busy.post("/v1/kill-switches", {"scope": "all", "reason": "hard", "cancel_in_flight": True})
    await asyncio.wait_for(call, AT_ONCE)


WAITS = {
    "all": (1, 1),
    "writes": (1, 0),
    "tool:again": (1, 1),
    "tool:slow": (1, 0),
    "agent:default": (1, 1),
    "agent:other": (0, 0),
    "run:r1": (1, 1),
    "run:other/r1": (0, 0),
}


@pytest.mark.parametrize("scope", WAITS)
async def test_what_a_kill_would_stop_is_counted_before(busy: Operator, tools: ToolServer, scope: str) -> None:
    call = await calling(busy, tools, "/runs/r1/tools/again?after=30")
    await between_attempts(busy)
    told = await busy.get(f"/v1/blast-radius?scope={scope}")
    counted = told["runs_in_progress"], told["calls_in_flight"]
    assert (counted, told["calls_that_end_now"]) == (WAITS[scope], WAITS[scope][1])
    assert str(told["says"]).startswith("Stops every call of ")
    assert not call.done()
    await busy.post("/v1/kill-switches", {"scope": "all", "reason": "the test is over"})
    await asyncio.wait_for(call, AT_ONCE)


async def test_a_call_at_its_tool_ends_now_only_where_it_is_to_be_cut(busy: Operator, tools: ToolServer) -> None:
    call = await calling(busy, tools, "/runs/r1/tools/slow")
    await until(lambda: not any(wait.waiting for wait in busy.gateway.counts.in_flight._waits))
    ends = [
        (await busy.get(f"/v1/blast-radius?scope=all&cancel_in_flight={cut}"))["calls_that_end_now"]
        for cut in ("false", "true")
    ]
    assert ends == [0, 1]
    await busy.post("/v1/kill-switches", {"scope": "all", "reason": "the test is over", "cancel_in_flight": True})
    await asyncio.wait_for(call, AT_ONCE)


@pytest.mark.parametrize("scope", ["agent:default", "run:r1", "run:default/r1"])
async def test_a_run_that_has_ended_is_none_that_a_switch_would_stop(operator: Operator, scope: str) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    foreseen = f"/v1/blast-radius?scope={scope}"
    assert (await operator.get(foreseen))["runs_in_progress"] == 1
    await operator.post("/v1/runs/default/r1/stop")
    assert (await operator.get(foreseen))["runs_in_progress"] == 0


@pytest.mark.parametrize("query", ["", "?scope=everything", "?scope=all&cancel_in_flight=1"])
async def test_a_question_about_no_scope_is_refused(operator: Operator, query: str) -> None:
    await operator.get(f"/v1/blast-radius{query}", 400)
