"""The incident: a rollout that ended the gateway under an agent still at work, and lost what its calls had done."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.doors.tool_server import ToolServer, hang
from tests.scenarios.installation import POLICY, Installation, call, ended, eventually


@pytest.fixture
def done() -> asyncio.Event:
    """What a hanging tool waits for."""
    return asyncio.Event()


@asynccontextmanager
async def at_work(
    installation: Installation, tool: ToolServer, done: asyncio.Event
) -> AsyncIterator[tuple[Process, aiohttp.ClientSession, "asyncio.Task[tuple[int, str]]"]]:
    """A process with one call at a tool, of the run `r1`."""
    process = await installation.begin()
    tool.replies.append(hang(done))
    async with installation.agent() as agent, asyncio.TaskGroup() as group:
        task = group.create_task(call(agent, "search.read", "r1"))
        await eventually(lambda: tool.calls == 1)
        yield process, agent, task


async def test_sigterm_is_told_at_once_and_the_agent_still_at_work_is_served(
    installation: Installation, tool: ToolServer, done: asyncio.Event
) -> None:
    async with at_work(installation, tool, done) as (process, agent, task):
        loop = asyncio.get_running_loop()
        process.send_signal(signal.SIGTERM)
        sent = loop.time()
        for plane in (installation.admin, installation.data):
            while await installation.readiness(plane) != 503:
                assert loop.time() - sent < 0.1
        assert await call(agent, "search.read", "r1") == (200, "ok")
        assert process.returncode is None
        done.set()
        assert await task == (200, "ok")
    end = await ended(process)
    assert (end.code, end.err) == (0, "")
    assert [line["reason"] for line in installation.lines("tool_call")] == ["ok", "ok"]
    assert len(installation.lines("gateway_stopped")) == 1


async def test_an_agent_that_goes_quiet_for_the_idle_time_lets_the_gateway_end(
    installation: Installation, tool: ToolServer
) -> None:
    installation.environment["GATEWAY_DRAIN_IDLE_SECONDS"] = "0.5"
    process = await installation.begin()
    async with installation.agent() as agent:
        await call(agent, "search.read", "r1")
        await asyncio.sleep(0.7)  # an agent that thinks longer than the idle time still finds the lame duck
        process.send_signal(signal.SIGTERM)
        for _ in range(4):  # a call every 0.2 s keeps the lame duck at it
            await asyncio.sleep(0.2)
            assert await call(agent, "search.read", "r1") == (200, "ok")
    assert (await ended(process)).code == 0
    assert tool.calls == 5


async def test_the_last_seconds_refuse_new_calls_and_cut_what_still_runs(
    installation: Installation, tool: ToolServer, done: asyncio.Event
) -> None:
    installation.environment |= {"GATEWAY_DRAIN_SECONDS": "1"}  # less than the last five seconds: no lame duck
    async with at_work(installation, tool, done) as (process, agent, task):
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: installation.lines("gateway_stopping"))
        assert await call(agent, "search.read", "r1") == (503, "draining")
        assert await task == (503, "draining")
    assert (await ended(process)).code == 0
    assert tool.calls == tool.cancelled == 1
    assert [(line["reason"], line["attempts"]) for line in installation.lines("tool_call")] == [
        ("draining", 0),
        ("draining", 1),
    ]
    await installation.begin()
    async with installation.agent() as agent, agent.get("/_gateway/runs/r1") as answer:
        assert (await answer.json())["counts"]["tool_calls"] == 1  # the one that was cut: it may have run


async def test_a_stream_that_still_runs_is_cut_and_told_why(installation: Installation, tool: ToolServer) -> None:
    installation.environment |= {"GATEWAY_DRAIN_SECONDS": "0.5"}

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        return response

    tool.behaviour = endless
    process = await installation.begin()
    async with installation.agent() as agent, agent.post("/tools/search.read", json={}) as answer:
        assert await answer.content.readline() == b"data: 1\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.readuntil(b"never")
    assert (await ended(process)).code == 0
    [line] = installation.lines("tool_call")
    assert (line["reason"], line["status"], line["bytes_out"]) == ("draining", 200, len(b"data: 1\n\n"))


async def test_a_second_sigterm_ends_at_once(installation: Installation, tool: ToolServer, done: asyncio.Event) -> None:
    async with at_work(installation, tool, done) as (process, _, task):
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: installation.lines("gateway_stopping"))
        end = await asyncio.wait_for(ended(process, signal.SIGTERM), 3)  # of the 25 s that one SIGTERM would have
        assert await task == (503, "draining")
    assert (end.code, end.err) == (0, "")
    assert [line["reason"] for line in installation.lines("tool_call")] == ["draining"]


async def test_sigint_has_no_lame_duck_but_lets_calls_in_flight_complete(
    installation: Installation, tool: ToolServer, done: asyncio.Event
) -> None:
    installation.environment["GATEWAY_DRAIN_IDLE_SECONDS"] = "10"
    async with at_work(installation, tool, done) as (process, agent, task):
        process.send_signal(signal.SIGINT)
        await eventually(lambda: installation.lines("gateway_stopping"))
        assert await call(agent, "search.read", "r2") == (503, "draining")
        done.set()
        assert await task == (200, "ok")
        end = await asyncio.wait_for(ended(process), 3)
    assert (end.code, end.err) == (0, "")


async def test_sighup_writes_on_in_a_new_log_and_reads_the_policy(installation: Installation) -> None:
    process = await installation.begin()
    rotated = installation.folder / "log.jsonl.1"
    async with installation.agent() as agent:
        await call(agent, "search.read", "before")
        await eventually(lambda: installation.lines("tool_call"))
        installation.log.rename(rotated)
        installation.write_policy({"tools": {"allowlist": []}})
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: installation.log.exists() and installation.lines("policy_loaded"))
        assert await call(agent, "search.read", "after") == (403, "tool_not_allowed")
    assert (await ended(process, signal.SIGTERM)).code == 0
    assert [line["run_id"] for line in installation.lines("tool_call")] == ["after"]
    assert b'"before"' in rotated.read_bytes()
    assert b'"after"' not in rotated.read_bytes()


IN_FLIGHT, STREAMS = 160, 40


async def test_a_rollout_under_two_hundred_calls_in_flight_cuts_none(
    installation: Installation, tool: ToolServer
) -> None:
    for _ in range(2):
        await roll_out_under_load(installation, tool)


@pytest.mark.soak
async def test_twenty_rollouts_under_two_hundred_calls_in_flight_cut_none(
    installation: Installation, tool: ToolServer
) -> None:
    for _ in range(20):
        await roll_out_under_load(installation, tool)


async def roll_out_under_load(installation: Installation, tool: ToolServer) -> None:
    """SIGTERM while calls and streams are at a tool, which ends them only after it. None is cut, and the process ends in order."""
    installation.write_policy(POLICY | {"upstreams": {"default": {"max_connections": IN_FLIGHT + STREAMS}}})
    process = await installation.begin()
    begun, done = tool.calls, asyncio.Event()

    async def works(request: web.Request) -> web.StreamResponse:
        if "search.read" in request.path:
            await done.wait()
            return web.json_response({"ok": True})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await done.wait()
        await response.write(b"data: last\n\n")
        return response

    tool.behaviour = works
    async with installation.agent() as agent, asyncio.TaskGroup() as group:
        calls = [group.create_task(call(agent, "search.read", f"r{begun + n}")) for n in range(IN_FLIGHT)]
        streams = [group.create_task(events(agent, f"s{begun + n}")) for n in range(STREAMS)]
        await tool.seen(begun + IN_FLIGHT + STREAMS)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: installation.lines("gateway_stopping"))
        done.set()
    assert {task.result() for task in calls} == {(200, "ok")}
    assert {task.result() for task in streams} == {b"data: first\n\ndata: last\n\n"}
    end = await ended(process)
    assert (end.code, end.err) == (0, "")
    assert {line["reason"] for line in installation.lines("tool_call")} == {"ok"}
    installation.log.unlink()


async def events(agent: aiohttp.ClientSession, run: str) -> bytes:
    """A whole stream. Raises where it was cut."""
    async with agent.post(f"/runs/{run}/tools/notes.write", json={}) as answer:
        return await answer.read()
