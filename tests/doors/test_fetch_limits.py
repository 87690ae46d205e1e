"""What a fetch's target may not do: send too much, too long, unpack itself here, or lead on for ever."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.denial import Reason
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.wire import Answer, Wire, dial, request
from tests.upstreams.loopback import Answer as Behaviour
from tests.upstreams.loopback import Loopback, Request, always, loopback, reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = 204_800


@asynccontextmanager
async def target(
    start: StartGateway, behaviour: Behaviour, **definition: Any
) -> AsyncIterator[tuple[Running, Loopback, Wire]]:
    """A gateway whose http.get may go to this server alone, once, and a connection to the gateway."""
    async with loopback(behaviour) as server:
        tool = {"retries": {"max": 0}, "max_response_bytes": LIMIT, **definition}
        egress = {"allow_hosts": ["127.0.0.1"], "ports": [server.port], "allow_private": ["127.0.0.1/32"]}
        running = await start(policy_of({"http.get": tool}, egress=egress))
        async with dial(running.gateway.data_url) as wire:
            yield running, server, wire


async def ask(wire: Wire, server: Loopback, path: str = "/") -> None:
    body = json.dumps({"url": f"http://127.0.0.1:{server.port}{path}"}).encode()
    await wire.say(request("POST /tools/http.get", body=body))


async def fetched(wire: Wire, server: Loopback, path: str = "/") -> Answer:
    await ask(wire, server, path)
    return await wire.answer()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_a_page_announced_too_large_is_explained(start: StartGateway) -> None:
    async with target(start, always(reply(b"x" * (LIMIT + 1)))) as (_, server, wire):
        answer = await fetched(wire, server)
        assert (answer.status, answer.problem()["reason"]) == (424, "response_too_large")


@pytest.mark.parametrize("head", [CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_page_that_grows_too_large_is_cut(start: StartGateway, head: bytes) -> None:
    piece = chunk(b"x" * 10_000) if head is CHUNKED else b"x" * 10_000
    async with target(start, always(head + piece * 40)) as (running, server, wire):
        await ask(wire, server)
        assert (await wire.head())[0] == 200
        rest = await wire.rest()
        assert len(rest) < LIMIT * 1.1
        assert not rest.endswith(b"0\r\n\r\n")
        assert (await running.seen.ended()).reason is Reason.RESPONSE_TOO_LARGE


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_packed_page_is_passed_on_as_it_is(start: StartGateway, framing: str) -> None:
    """50 MB in 50 KB: the limit is of what arrives, and nothing is unpacked here."""
    bomb = gzip.compress(bytes(50_000_000))
    packed = reply(bomb, "Content-Encoding: gzip")
    if framing == "chunks":
        packed = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + chunk(bomb) + b"0\r\n\r\n"
    async with target(start, always(packed)) as (running, server, wire):
        answer = await fetched(wire, server)
        assert (answer.status, answer.header("Content-Encoding")) == (200, "gzip")
        assert answer.body == bomb
        assert server.requests[0].header("Accept-Encoding") == []
        record = await running.seen.ended()
        assert record.bytes_out == len(bomb)
        assert len(record.result) <= len(bomb)


async def test_a_page_that_drips_ends_with_the_deadline(start: StartGateway) -> None:
    ended = asyncio.Event()

    async def drip(page: Request) -> None:
        await page.say(CHUNKED)
        while not ended.is_set():
            await page.say(chunk(b"x"))
            await asyncio.sleep(0.02)

    async with target(start, drip, timeout_ms=200, deadline_ms=400) as (running, server, wire):
        await ask(wire, server)
        await wire.rest()
        record = await running.seen.ended()
        assert "deadline of 400 ms" in str(record.detail)
        await server.closed()
        ended.set()


async def test_all_hops_together_have_the_time_of_one_attempt(start: StartGateway) -> None:
    """Each of them is quick enough by itself."""

    async def onward(page: Request) -> None:
        await asyncio.sleep(0.1)
        await page.say(reply(b"", f"Location: /{len(server.requests)}", status="302 Found"))

    async with target(start, onward, timeout_ms=250) as (_, server, wire):
        answer = await fetched(wire, server)
        assert (answer.status, answer.problem()["reason"]) == (504, "tool_timeout")
        assert len(server.requests) < 5
        await server.closed()


@pytest.mark.parametrize(
    "location",
    [lambda page: page.line.split()[1], lambda page: "/a" if "/b " in page.line else "/b"],
    ids=["itself", "ring"],
)
async def test_a_ring_of_redirects_ends_after_five(start: StartGateway, location: Callable[[Request], str]) -> None:
    async def onward(page: Request) -> None:
        await page.say(reply(b"", f"Location: {location(page)}", status="302 Found"))

    async with target(start, onward) as (_, server, wire):
        answer = await fetched(wire, server, "/a")
        assert (answer.status, answer.problem()["reason"]) == (502, "upstream_failed")
        assert len(server.requests) == 6
        await server.closed()


async def test_the_body_of_a_redirect_is_not_read(start: StartGateway) -> None:
    async def endless(page: Request) -> None:
        if "/there" in page.line:
            await page.say(reply(b"found"))
            return
        await page.say(CHUNKED.replace(b"200 OK", b"302 Found\r\nLocation: /there"))
        while True:
            await page.say(chunk(b"x" * 100_000))

    async with target(start, endless) as (running, server, wire):
        answer = await fetched(wire, server)
        assert (answer.status, answer.body) == (200, b"found")
        assert (await running.seen.ended()).bytes_out == 5
        await server.closed()
