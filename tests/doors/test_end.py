"""The listener's end: a call that is at work has some time to be answered in, and a connection that waits for a request takes none."""

import asyncio

from gateway.app import Gateway
from tests.doors.conftest import Running
from tests.doors.tool_server import ToolServer, hang
from tests.doors.wire import PATIENCE, dial, request

LONG = 3600.0
"""Seconds that nobody waits for."""
CALL = request("POST /tools/search.read", body=b"{}")


async def ended(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE):
        await gateway.data_plane.listener.shutdown(LONG)


async def test_connections_that_wait_for_a_request_do_not_hold_it_up(running: Running) -> None:
    async with dial(running.gateway.data_url) as used, dial(running.gateway.data_url) as fresh:
        await used.say(CALL)
        assert (await used.answer()).status == 200
        await running.agent.get("/healthz")  # by now the gateway has seen the connection that says nothing
        await ended(running.gateway)
        assert await used.rest() == await fresh.rest() == b""


async def test_a_call_at_work_is_answered_in_the_time_there_is(running: Running, tool: ToolServer) -> None:
    done = asyncio.Event()
    tool.replies.append(hang(done))
    async with dial(running.gateway.data_url) as wire:
        await wire.say(CALL)
        await tool.seen()
        end = asyncio.create_task(running.gateway.data_plane.listener.shutdown(PATIENCE))
        await asyncio.sleep(0)
        done.set()
        assert (await wire.answer()).status == 200
        wire.leave()
        await end
