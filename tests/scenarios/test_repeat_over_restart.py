"""The incident: the gateway was restarted between a payment and its answer, the agent repeated the call, and the payment was made twice."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.doors.tool_server import ToolServer, hang
from tests.scenarios.installation import POLICY, Installation, call, ended, eventually

KEY = {"Idempotency-Key": "payment-4711"}


async def pay(agent: aiohttp.ClientSession, amount: int = 10) -> tuple[int, str, Any]:
    async with agent.post("/tools/notes.write", json={"amount": amount}, headers=KEY) as answer:
        return answer.status, answer.headers["Tool-Gateway-Reason"], await answer.json()


async def paid(request: web.Request) -> web.StreamResponse:
    return web.json_response({"payment": id(request)}, status=201)


def begun_to_write(state: Path, key: bytes) -> bool:
    """Is the key in the file, or in the log beside it?"""
    files = (state, state.with_name(state.name + "-wal"))
    return any(key in file.read_bytes() for file in files if file.exists())


async def test_a_repeat_after_an_orderly_restart_is_not_paid_again(
    installation: Installation, tool: ToolServer
) -> None:
    tool.behaviour = paid
    process = await installation.begin()
    async with installation.agent() as agent:
        first = await pay(agent)
    assert (await ended(process, signal.SIGTERM)).code == 0
    await installation.begin()
    async with installation.agent() as agent:
        again = await pay(agent)
        other = await pay(agent, amount=11)
    assert first[:2] == (201, "ok")
    assert again == (201, "dedup", first[2])
    assert other[:2] == (400, "invalid_request")
    assert tool.calls == 1


async def test_a_repeat_after_kill_9_is_not_paid_again_once_the_answer_is_written(
    installation: Installation, tool: ToolServer
) -> None:
    tool.behaviour = paid
    process = await installation.begin()
    async with installation.agent() as agent:
        first = await pay(agent)
        state = installation.folder / "gateway.db"
        await eventually(lambda: begun_to_write(state, b"payment-4711"))
        await call(agent, "notes.write", headers={"Idempotency-Key": "payment-4712"})
        await eventually(lambda: begun_to_write(state, b"payment-4712"))  # so the write before it is complete
    await ended(process, signal.SIGKILL)
    await installation.begin()
    async with installation.agent() as agent:
        assert await pay(agent) == (201, "dedup", first[2])
    assert tool.calls == 2


async def test_a_call_in_flight_at_kill_9_is_charged_and_performed_when_it_is_repeated(
    installation: Installation, tool: ToolServer
) -> None:
    """Nobody knows whether it ran: a tool that must not run twice honours the key itself (idempotency_key: true)."""
    definitions = POLICY["tools"]["definitions"] | {"notes.write": {"effect": "write", "idempotency_key": True}}  # type: ignore[operator]  # a plain dict
    installation.write_policy({"tools": POLICY["tools"] | {"definitions": definitions}})
    process = await installation.begin()
    tool.replies = [hang(asyncio.Event())]
    async with installation.agent() as agent:
        waiting = asyncio.create_task(call(agent, "notes.write", "r1", headers=KEY))
        await tool.seen()
        await ended(process, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await waiting
    await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "notes.write", "r1", headers=KEY) == (200, "ok")
        async with agent.get("/_gateway/runs/r1") as answer:
            assert (await answer.json())["counts"]["tool_calls"] == 2
    assert [received.headers["Idempotency-Key"] for received in tool.received] == ["payment-4711"] * 2
