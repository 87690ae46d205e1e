"""The incident: an agent was deleting tickets, and the stop came too late, was forgotten at a restart, or was lifted by the agent."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.deploy.stack import TOKEN
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, status
from tests.scenarios.installation import PATIENCE, POLICY, Installation, call, ended, eventually

AT_ONCE = 0.1
"""Seconds after the admin API's answer within which a stop holds everywhere."""
TOOLS = {"search.read": {"effect": "read"}, "notes.write": {"effect": "write"}}
SLOW_RETRIES = policy_of(TOOLS, retries=2).replace("[5, 10]", "[20000, 20000]")


async def test_kill_writes_lets_reads_pass_and_stops_the_very_next_write(running: Running, tool: ToolServer) -> None:
    agent = running.agent
    assert await call(agent, "notes.write", "r1") == (200, "ok")
    answer = await running.kill("writes")
    assert answer["reach"].startswith("this instance")
    for run in ("r1", "r2", None):
        assert await call(agent, "notes.write", run) == (403, "kill_switch")
        assert await call(agent, "search.read", run) == (200, "ok")
    async with agent.post("/tools/notes.write", json={}) as refused:
        problem = await refused.json()
        assert refused.headers["x-should-retry"] == "false"
    assert "kill switch writes): test." in problem["detail"]
    assert problem["stop_reason"] is None
    assert await running.restore("writes") == 200
    assert await call(agent, "notes.write", "r1") == (200, "ok")
    assert tool.calls == 5
    flips = [event.fields for event in running.seen.events if event.name == "kill_switch"]
    assert [(flip["action"], flip["scope"], flip["reason"]) for flip in flips] == [
        ("on", "writes", "test"),
        ("off", "writes", "test"),
    ]


@pytest.mark.parametrize(
    ("scope", "stopped", "untouched"),
    [
        ("agent:billing", ["billing search.read r1", "billing search.read -"], ["default search.read r1"]),
        ("run:r1", ["billing search.read r1", "default notes.write r1"], ["billing search.read r2"]),
        ("run:billing/r1", ["billing search.read r1"], ["default search.read r1", "billing search.read r2"]),
        ("tool:notes.write", ["default notes.write r1", "billing notes.write -"], ["default search.read r1"]),
        ("tool:notes.*", ["default notes.write r1"], ["default search.read r1"]),
        ("all", ["default notes.write r1", "billing search.read -"], []),
    ],
)
async def test_a_switch_reaches_its_scope_and_nothing_else(
    start: StartGateway, tool: ToolServer, scope: str, stopped: list[str], untouched: list[str]
) -> None:
    running = await start(policy_of(TOOLS, agents={"billing": {}, "default": {}}))

    async def made(caller: str) -> tuple[int, str]:
        agent, name, run = caller.split()
        return await call(running.agent, name, None if run == "-" else run, headers={"Agent-Id": agent})

    await running.kill(scope)
    reason = "agent_disabled" if scope.startswith("agent:") else "kill_switch"
    assert [await made(caller) for caller in stopped] == [(403, reason)] * len(stopped)
    assert tool.calls == 0
    assert [await made(caller) for caller in untouched] == [(200, "ok")] * len(untouched)
    assert await running.restore(scope) == 200
    assert [await made(caller) for caller in stopped] == [(200, "ok")] * len(stopped)


async def test_a_write_that_waits_for_its_next_attempt_ends_at_once(start: StartGateway, tool: ToolServer) -> None:
    running = await start(SLOW_RETRIES)
    loop = asyncio.get_running_loop()
    tool.behaviour = status(429)  # it did not run: even a write is tried again
    async with asyncio.TaskGroup() as group:
        write = group.create_task(call(running.agent, "notes.write", "r1"))
        await eventually(lambda: tool.calls == 1 and all(w.waiting for w in running.gateway.counts.in_flight._waits))
        await running.kill("writes")
        answered = loop.time()
        assert await write == (403, "kill_switch")
        assert loop.time() - answered < AT_ONCE
    assert tool.calls == 1
    assert (await running.seen.ended()).attempts == 1


async def test_without_cancel_in_flight_a_call_at_a_tool_runs_to_its_end(running: Running, tool: ToolServer) -> None:
    done = asyncio.Event()
    tool.behaviour = hang(done)
    async with asyncio.TaskGroup() as group:
        write = group.create_task(call(running.agent, "notes.write", "r1"))
        await eventually(lambda: tool.calls == 1)
        await running.kill("all")
        done.set()
        assert await write == (200, "ok")


async def test_cancel_in_flight_ends_hanging_attempts_and_open_streams(running: Running, tool: ToolServer) -> None:
    loop = asyncio.get_running_loop()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        return response

    async def write() -> Any:
        async with running.agent.post("/tools/notes.write", json={}) as answer:
            return await answer.json()

    tool.replies += [endless, hang(asyncio.Event())]
    stream_of = running.agent.post("/tools/search.read", json={})
    async with asyncio.timeout(PATIENCE), stream_of as stream, asyncio.TaskGroup() as group:
        assert await stream.content.readuntil(b"\n\n") == b"data: 1\n\n"
        hanging = group.create_task(write())
        await eventually(lambda: tool.calls == 2)
        await running.kill("all", cancel_in_flight=True)
        answered = loop.time()
        told = await last_words(stream)
        problem = await hanging
        assert loop.time() - answered < AT_ONCE
    assert problem["reason"] == "kill_switch"
    assert "was sent" in problem["detail"]
    assert "may have run" in problem["detail"]
    assert told.startswith(b"\n\nevent: error\ndata: {")
    assert json.loads(told.partition(b"data: ")[2])["reason"] == "kill_switch"
    await eventually(lambda: tool.cancelled == 2)


async def test_a_switch_for_some_time_lifts_itself_with_an_event(running: Running) -> None:
    await running.kill("writes", for_seconds=0.3)
    assert await call(running.agent, "notes.write") == (403, "kill_switch")
    expired = [("on", "writes"), ("expired", "writes")]
    flips = running.seen.events
    await eventually(
        lambda: [(e.fields["action"], e.fields["scope"]) for e in flips if e.name == "kill_switch"] == expired, 3
    )
    assert await call(running.agent, "notes.write") == (200, "ok")
    assert await running.restore("writes") == 404


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["orderly", "kill -9"])
async def test_a_stop_and_its_lifting_outlive_the_process(
    installation: Installation, tool: ToolServer, end: signal.Signals
) -> None:
    process = await installation.begin()
    killed = await installation.run("kill", "writes", "--reason", "it deletes tickets")
    assert (killed.code, killed.err) == (0, "")
    assert killed.out.startswith("ON: writes")
    async with installation.operator() as operator:  # SIGKILL comes the moment the API has answered
        await operator.post("/v1/kill-switches", json={"scope": "run:r9", "reason": "test", "for_seconds": 3600})
    await ended(process, end)
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "notes.write") == (403, "kill_switch")
        assert await call(agent, "search.read", "r9") == (403, "kill_switch")
        assert await call(agent, "search.read") == (200, "ok")
    told = await installation.run("status")
    assert "writes: it deletes tickets (runtime, by " in told.out
    restored = await installation.run("restore", "writes")
    assert (restored.code, restored.out.splitlines()[0]) == (0, "OFF: writes")
    await ended(process, end)
    await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "notes.write") == (200, "ok")
        assert await call(agent, "search.read", "r9") == (403, "kill_switch")
    assert tool.calls == 2


async def test_restore_names_what_still_holds_and_exits_1(installation: Installation) -> None:
    installation.write_policy(POLICY | {"kill_switch": {"disable_writes": True}})
    installation.write_policy({"disable_all": True, "reason": "maintenance"}, "kill_switch.yaml")
    await installation.begin()
    await installation.run("kill", "writes", "--reason", "test")
    for scope, holder in (("writes", "the kill_switch section of policy.yaml"), ("all", "kill_switch.yaml")):
        restored = await installation.run("restore", scope)
        assert (restored.code, restored.out) == (1, "")
        assert restored.err.count("\n") == 1
        assert f"{scope} is still stopped by {holder}: remove it there." in restored.err
    async with installation.agent() as agent:
        assert await call(agent, "search.read") == (403, "kill_switch")
        (installation.policies / "kill_switch.yaml").unlink()
        await eventually(
            lambda: (
                ("off", "kill_switch.yaml") in [(f["action"], f["source"]) for f in installation.lines("kill_switch")]
            )
        )
        assert await call(agent, "search.read") == (200, "ok")
        assert await call(agent, "notes.write") == (403, "kill_switch")


def replace_policy(running: Running, policy: str) -> None:
    Path(running.gateway.settings.policy, "policy.yaml").write_text(policy)


async def last_words(stream: aiohttp.ClientResponse) -> bytes:
    """What comes before the connection is cut."""
    told = b""
    try:
        async for piece in stream.content.iter_any():
            told += piece
    except aiohttp.ClientPayloadError:
        return told
    raise AssertionError("the stream ended as if it were whole")


PLACES = ["", "/runs/r1", "/_gateway", "/_gateway/native", "/runs/r1/_gateway/native", "/tools", "/tools/search.read"]
ADMIN = ["/v1/kill-switches", "/v1/kill-switches/writes", "/v1/runs/default/r1/stop", "/v1/policy/reload", "/v1/calls"]


@pytest.mark.parametrize("place", PLACES)
async def test_the_data_plane_has_no_way_to_the_switch(running: Running, tool: ToolServer, place: str) -> None:
    """Not even for an agent that has got hold of the admin token."""
    await running.kill("writes")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in ADMIN:
        for method in ("GET", "POST", "DELETE"):
            body = None if method == "GET" else {"scope": "all", "reason": "mine"}
            async with running.agent.request(method, place + path, json=body, headers=headers) as answer:
                assert answer.status in (400, 401, 403, 404, 405)
                assert "Tool-Gateway-Reason" in answer.headers
    assert [str(s.scope) for s in running.gateway.counts.switches._held.values()] == ["writes"]
    assert await call(running.agent, "notes.write") == (403, "kill_switch")
    assert tool.calls == 0


async def test_the_gateway_fetches_nothing_from_itself(start: StartGateway) -> None:
    """Whatever the policy allows, and also on ports that the system chose: else http.get would be the agent's way to the switch."""
    running = await start()
    ports = [int(url.rpartition(":")[2]) for url in (running.gateway.admin_url, running.gateway.data_url)]
    egress = {"allow_hosts": ["*"], "ports": ports, "allow_private": ["127.0.0.0/8", "::1/128"]}
    policy = json.dumps({"tools": {"allowlist": ["http.get"]}, "egress": egress})
    replace_policy(running, policy)
    assert await running.gateway.policies.reload() == ()
    for port in ports:
        for host in ("127.0.0.1", "localhost"):
            target = {"url": f"http://{host}:{port}/healthz"}
            assert await call(running.agent, "http.get", json=target) == (403, "egress_not_allowed")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}, {"Authorization": f"Basic {TOKEN}"}])
async def test_a_reader_without_the_token_sees_and_changes_nothing(running: Running, headers: dict[str, str]) -> None:
    assert await call(running.agent, "search.read", "a-run-nobody-should-see") == (200, "ok")
    async with aiohttp.ClientSession(running.gateway.admin_url, headers=headers) as reader:
        for path in ("calls", "status", "runs", "policy", "kill-switches", "upstreams", "explain?agent=a&tool=t"):
            async with reader.get(f"/v1/{path}") as answer:
                assert answer.status == 401
                assert "search" not in await answer.text()
                assert "a-run" not in await answer.text()
        async with reader.post("/v1/kill-switches", json={"scope": "all", "reason": "mine"}) as answer:
            assert answer.status == 401
    assert await call(running.agent, "search.read") == (200, "ok")
