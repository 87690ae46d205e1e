"""The incident: the volume with the counts filled up, and a budget store that nobody watched let every call pass."""

import asyncio
import json
import resource
import signal
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import pytest

from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import PATIENCE, POLICY, Installation, call, ended


@contextmanager
def full_disk(process: Process, room: int = 0) -> Iterator[None]:
    """The process's files can grow to so many bytes and no further, as on a volume without room: the limit of another process."""
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


async def asked(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def degraded(installation: Installation) -> list[str]:
    async with installation.operator() as operator:
        words: list[str] = (await asked(operator, "/readyz"))["degraded"]
        return words


async def until_state_is(installation: Installation, *, up: bool) -> None:
    async with asyncio.timeout(PATIENCE):
        while ("state_unavailable" in await degraded(installation)) == up:  # noqa: ASYNC110  what another process does sets no event of ours
            await asyncio.sleep(0.02)


async def tool_calls(installation: Installation, run: str) -> int:
    async with installation.agent() as agent:
        number = (await asked(agent, f"/_gateway/runs/{run}"))["counts"]["tool_calls"]
        assert isinstance(number, int)
        return number


async def test_on_a_full_disk_nothing_is_sent_that_could_not_be_written_down(
    installation: Installation, tool: ToolServer
) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")
        with full_disk(process):
            async with agent.post("/runs/r1/tools/search.read", json={}) as answer:
                problem = await answer.json()
            for _ in range(20):
                assert await call(agent, "search.read", "r1") == (503, "state_unavailable")
            assert "state_unavailable" in await degraded(installation)
        assert tool.calls == 1
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (problem["reason"], problem["retryable"]) == ("state_unavailable", True)
        assert "state.on_unavailable: deny" in problem["detail"]
        await until_state_is(installation, up=True)
        assert await call(agent, "search.read", "r1") == (200, "ok")
    assert await tool_calls(installation, "r1") == 2
    assert (await ended(process, signal.SIGKILL)).code == -signal.SIGKILL
    await installation.begin()
    assert await tool_calls(installation, "r1") == tool.calls == 2


async def test_each_change_is_one_line_of_the_log_with_the_remedy(installation: Installation) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        with full_disk(process):
            assert await call(agent, "search.read", "r1") == (503, "state_unavailable")
            async with installation.operator() as operator:
                problems = (await asked(operator, "/v1/status"))["problems"]
            assert any("GATEWAY_STATE: the journal beside" in text for text in problems)
        await until_state_is(installation, up=True)
        assert await call(agent, "search.read", "r1") == (200, "ok")
    await ended(process, signal.SIGTERM)
    (line,) = installation.lines("state_unavailable")
    assert "cannot grow: free space on its volume, or set GATEWAY_STATE to another sqlite:PATH" in line["problem"]
    assert len(installation.lines("state_available")) == 1


async def test_who_prefers_to_be_served_is_served_and_told(installation: Installation, tool: ToolServer) -> None:
    installation.write_policy({**POLICY, "state": {"on_unavailable": "allow"}})
    process = await installation.begin()
    async with installation.agent() as agent:
        with full_disk(process):
            for _ in range(5):
                assert await call(agent, "search.read", "r1") == (200, "ok")
            assert "state_unavailable" in await degraded(installation)
        await until_state_is(installation, up=True)
    await ended(process, signal.SIGKILL)
    await installation.begin()
    assert await tool_calls(installation, "r1") == tool.calls == 5, "what the disk had refused was made up for"


async def test_calls_go_on_while_only_the_database_finds_no_room_and_none_is_forgotten(
    installation: Installation, tool: ToolServer
) -> None:
    """The write-ahead log needs a page of 4 KiB, an entry of the journal some 60 bytes."""
    process = await installation.begin()
    async with installation.agent() as agent:
        with full_disk(process, room=4096):
            assert await call(agent, "search.read", "r1") == (200, "ok")
            await until_state_is(installation, up=False)
            for _ in range(5):
                assert await call(agent, "search.read", "r1") == (200, "ok")
            async with installation.operator() as operator:
                (problem, *_) = (await asked(operator, "/v1/status"))["problems"]
            assert "gateway.db cannot " in problem
            await ended(process, signal.SIGKILL)
    await installation.begin()
    assert await tool_calls(installation, "r1") == tool.calls == 6


async def test_a_disk_that_stays_full_takes_a_bounded_number_of_calls(
    installation: Installation, tool: ToolServer
) -> None:
    installation.environment["AGENT_MAX_TOOL_CALLS"] = "1000"
    process = await installation.begin()
    async with installation.agent() as agent:
        with full_disk(process, room=4096):
            while (answer := await call(agent, "search.read", "r1")) == (200, "ok"):
                assert tool.calls < 1000
            assert answer == (503, "state_unavailable")
            sent = tool.calls
            await ended(process, signal.SIGKILL)
    installation.log.unlink()  # it had no room either, and may end in half a line
    await installation.begin()
    assert await tool_calls(installation, "r1") == tool.calls == sent


async def test_files_deleted_under_a_running_gateway_are_written_anew(
    installation: Installation, tool: ToolServer
) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        for _ in range(3):
            assert await call(agent, "search.read", "r1") == (200, "ok")
        for file in installation.folder.glob("gateway.db*"):
            file.unlink()
        await until_state_is(installation, up=False)
        await until_state_is(installation, up=True)
        assert await call(agent, "search.read", "r1") == (200, "ok")
    await ended(process, signal.SIGKILL)
    await installation.begin()
    assert await tool_calls(installation, "r1") == tool.calls == 4


async def test_an_orderly_end_leaves_the_database_and_nothing_beside_it(installation: Installation) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        await call(agent, "search.read", "r1")
    assert (await ended(process, signal.SIGTERM)).code == 0
    assert [file.name for file in installation.folder.glob("gateway.db*")] == ["gateway.db"]


@pytest.mark.parametrize("content", [b"not a database, " * 500, b"SQLite format 3\0" + b"\xff" * 9000])
async def test_a_spoilt_file_stops_the_start_with_a_line_that_says_what_to_do(
    installation: Installation, content: bytes
) -> None:
    database = installation.folder / "gateway.db"
    database.write_bytes(content)
    end = await installation.run("serve")
    assert end.code == 2
    (line,) = end.err.splitlines()
    assert line.startswith(f"tool-gateway: GATEWAY_STATE: {database} is ")
    assert "set GATEWAY_STATE to another sqlite:PATH" in line
    assert database.read_bytes() == content


async def test_what_a_journal_lost_with_the_power_is_told_at_the_start(installation: Installation) -> None:
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")
    await ended(process, signal.SIGKILL)
    newest = max(installation.folder.glob("gateway.db.journal.*"), key=lambda path: path.stat().st_size)
    with newest.open("ab") as file:
        file.write(b"\0" * 100)
    await installation.begin()
    (warning,) = installation.lines("gateway_started")[-1]["warnings"]
    assert "the last 100 bytes of" in warning, json.dumps(warning)
    assert await tool_calls(installation, "r1") == 1
