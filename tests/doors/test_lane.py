"""What only the fast lane has to get right: calls that leave it, at any moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.denial import Reason
from tests.doors.conftest import FAST, Running, StartGateway
from tests.doors.wire import Wire, dial, request
from tests.upstreams.loopback import Loopback, Request, loopback

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CALL = request("POST /tools/search.read", body=b"{}")

only_fast = pytest.mark.parametrize("start", [FAST], indirect=True)


class Slow:
    """An upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Request] = asyncio.Queue()

    async def __call__(self, request: Request) -> None:
        self.asked.put_nowait(request)
        await asyncio.Event().wait()


@asynccontextmanager
async def slow_upstream(start: StartGateway, **variables: str) -> AsyncIterator[tuple[Running, Loopback, Slow, Wire]]:
    slow = Slow()
    async with loopback(slow) as upstream:
        running = await start(GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", **variables)
        async with dial(running.gateway.data_url) as wire:
            yield running, upstream, slow, wire


@only_fast
async def test_a_reply_that_comes_just_behind_the_next_request_is_answered_once(start: StartGateway) -> None:
    """The next request has the call go on in aiohttp, whose handler has not begun when the reply is there."""
    async with slow_upstream(start) as (running, upstream, slow, wire):
        await wire.say(CALL)
        asked = await slow.asked.get()
        wire.writer.write(request("GET /healthz"))
        asked.writer.write(REPLY)
        assert (await wire.answer()).body == b"hi"
        assert (await wire.answer()).body == b'{"ok":true}'
        assert (await running.seen.ended(1)).reason is Reason.OK


@only_fast
async def test_a_body_that_drips_has_no_more_time_than_any_other(start: StartGateway) -> None:
    """However often a byte comes: beyond a moment the read timeout runs."""
    async with slow_upstream(start, GATEWAY_READ_TIMEOUT="1") as (running, _, _, wire):
        call = request("POST /tools/search.read", body=b" " * 1000)
        await wire.say(call[:-900])
        answer = asyncio.ensure_future(wire.answer())
        for _ in range(300):
            await wire.say(b" ")
            await asyncio.wait([answer], timeout=0.02)
            if answer.done():
                break
        assert answer.done()
        assert (await answer).status == 408
