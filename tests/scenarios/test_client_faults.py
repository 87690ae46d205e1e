"""Clients that bend HTTP, and clients that are slow on purpose: what they send is refused or becomes exactly one well-formed request,
and nobody else is harmed. (What single malformed requests are answered is in tests/doors.)
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.denial import Reason
from gateway.doors.listener import Listener
from tests.doors.conftest import StartGateway, nothing_is_left, policy_of
from tests.doors.wire import Wire, ask, dial, request
from tests.scenarios.hostile import (
    PLENTY,
    READ,
    WRITE,
    Hostile,
    answers_in,
    hostile,
    nothing_escapes,
    until_closed,
    until_silent,
)
from tests.upstreams.loopback import Answer, Request, loopback

BODY = b"2\r\n{}\r\n0\r\n\r\n"
NEXT = request(f"GET /tools/{READ}?next", "Connection: close")
"""Stands behind every case: where the first request is taken, this one is answered after it, and nothing between."""


@pytest.fixture(autouse=True)
async def escapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    async with nothing_escapes(tmp_path / "log.jsonl", caplog):
        yield


@pytest.fixture
async def gateway(escapes: None, start: StartGateway) -> AsyncIterator[Hostile]:
    async with hostile(start) as started:
        yield started


def post(*fields: bytes, body: bytes = b"{}", version: bytes = b"1.1") -> bytes:
    line = b"POST /tools/search.read HTTP/%b\r\nHost: localhost\r\n" % version
    return line + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def lengths(*values: bytes) -> dict[str, bytes]:
    return {f"Content-Length: {value!r}": post(b"Content-Length: " + value) for value in values}


def codings(*values: bytes) -> dict[str, bytes]:
    return {f"Transfer-Encoding: {value!r}": post(b"Transfer-Encoding: " + value, body=BODY) for value in values}


def chunks(*values: bytes) -> dict[str, bytes]:
    return {f"chunks {value[:40]!r}": post(b"Transfer-Encoding: chunked", body=value) for value in values}


def lines(*values: bytes) -> dict[str, bytes]:
    return {f"line {value!r}": value + b"\r\nHost: localhost\r\n\r\n" for value in values}


def fields(*values: bytes) -> dict[str, bytes]:
    line = b"GET /tools/search.read HTTP/1.1\r\nHost: localhost\r\n"
    return {f"field {value!r}": line + value + b"\r\n\r\n" for value in values}


REFUSED = {
    **lengths(b"+2", b"0x2", b"2 2", b"2,2", b"-2", b"", b"1_0", b"2.0", b"2;", b"2\x0b", b"\xd9\xa2", b"9" * 30, b"18446744073709551618"),
    **codings(b"xchunked", b"chunked, identity", b"identity", b"gzip, chunked", b",chunked", b"chunked,", b"\x0bchunked", b""),
    **chunks(
        b"+2\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b" 2\r\n{}\r\n0\r\n\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"10000000000000002\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}x\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\n0\r\n\r\n",
        b"2\r{}\r\n0\r\n\r\n",
        b'2;a="\r\n{}\r\n0\r\n\r\n',
        b"2;a\n{}\r\n0\r\n\r\n",
        b"2;\0\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX A\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX-A: b\n\r\n\r\n",
    ),
    **lines(
        b"GET\t/tools/search.read HTTP/1.1",
        b" GET /tools/search.read HTTP/1.1",
        b"GET /tools/search.read http/1.1",
        b"GET /tools/search.read HTTP/1.10",
        b"GET /tools/search.read HTTP/1.1x",
        b"GET /tools/search.read HTTP/3.0",
        b"GET /tools/search\0read HTTP/1.1",
        b"GET tools/search.read HTTP/1.1",
        b"G@T /tools/search.read HTTP/1.1",
        b"get /tools/search.read HTTP/1.1",
        b"FOO /tools/notes.write HTTP/1.1",
        b"GET /tools/search.read?a\rb HTTP/1.1",
        b"GET HTTP/1.1",
    ),
    **fields(b"X-A", b"X A: b", b" X-A: b", b"X-A: a\r\n\tb", b"X-A: a\rb: c", b"X-A: b\n", b"X-A: a\x7f", b"X(A): b", b"Host : localhost"),
    "the coding before the length": post(b"Transfer-Encoding: chunked", b"Content-Length: 2", body=BODY),
    "the length before the coding": post(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=BODY),
    "two lines of codings": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=BODY),
    "a blank before a coding's colon": post(b"Transfer-Encoding : chunked", b"Content-Length: 2"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=BODY),
    "a coding behind a bare LF": post(b"X: a\nTransfer-Encoding: chunked", b"Content-Length: 2"),
    "chunks in HTTP/1.0": post(b"Transfer-Encoding: chunked", body=BODY, version=b"1.0"),
}  # fmt: skip

TAKEN = {
    **lengths(b"02", b"2\t"),
    **codings(b"Chunked"),
    **chunks(
        b"2;a=b\r\n{}\r\n0\r\n\r\n",
        b'2;a="b;c"\r\n{}\r\n0;x\r\n\r\n',
        b"0" * 30 + b"2\r\n{}\r\n000\r\n\r\n",
        b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX-A: b\r\n\r\n",
    ),
    **lines(
        b"\r\n\r\nGET /tools/search.read HTTP/1.1",
        b"GET  /tools/search.read  HTTP/1.1",
        b"M-SEARCH /tools/notes.write HTTP/1.1",
        b"OPTIONS /tools/notes.write HTTP/1.1",
    ),
    **fields(b"X-A: \xff\xfe", b"X-A:", b"Connection: Upgrade\r\nUpgrade: websocket"),
    "a look-alike of the length": post(b"Content_Length: 100", b"Content-Length: 2"),
    "a connection that names the framing": post(b"Connection: Content-Length, Host, Via", b"Content-Length: 2"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_two_servers_could_read_differently_is_refused(gateway: Hostile, case: str) -> None:
    answers = answers_in(await until_closed(gateway.running.gateway.data_url, REFUSED[case] + NEXT))
    assert [answer.problem()["reason"] for answer in answers] == ["invalid_request"]
    assert answers[0].status in (400, 501, 505)
    assert answers[0].header("Connection") == "close"
    assert (gateway.upstream.heard, gateway.upstream.begun, gateway.upstream.flaws) == ([], [], [])


@pytest.mark.parametrize("case", TAKEN)
async def test_what_only_looks_odd_goes_on_as_exactly_one_well_formed_request(gateway: Hostile, case: str) -> None:
    answers = answers_in(await until_closed(gateway.running.gateway.data_url, TAKEN[case] + NEXT))
    in_chunks = case.startswith(
        ("chunks", "Transfer-Encoding")
    )  # behind which aiohttp would take a trailer for the next request's
    assert [(answer.status, answer.header("Connection")) for answer in answers] == (
        [(200, "close")] if in_chunks else [(200, None), (200, "close")]
    )
    assert gateway.upstream.flaws == []
    taken, *after = gateway.upstream.heard
    assert taken.target in (f"/{READ}", f"/{WRITE}")
    assert taken.body == (b"{}" if taken.method == "POST" else b"")
    assert [each.target for each in after] == ([] if in_chunks else [f"/{READ}?next"])


async def test_a_request_for_an_upgrade_with_a_body_is_the_last_on_its_connection(gateway: Hostile) -> None:
    data = post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAM", b"Content-Length: 2")
    answers = answers_in(await until_closed(gateway.running.gateway.data_url, data + NEXT))
    assert [(answer.status, answer.header("Connection")) for answer in answers] == [(200, "close")]
    assert [heard.summary for heard in gateway.upstream.heard] == [("POST", f"/{READ}", 2)]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", b"GET /\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
async def test_what_is_not_http_1_is_answered_in_http_1_1(gateway: Hostile, data: bytes) -> None:
    assert (await until_closed(gateway.running.gateway.data_url, data)).startswith(b"HTTP/1.1 ")


async def test_a_caller_that_half_closes_has_left(start: StartGateway) -> None:
    """Only writing to it would tell it from one that is gone, and the call of an agent that is gone must stop."""
    held = asyncio.Event()

    async def hold(request: Request) -> None:
        held.set()
        await request.reader.read()

    async with loopback(hold) as upstream:
        running = await start(GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        async with dial(running.gateway.data_url) as wire:
            await wire.say(request(f"GET /tools/{READ}"))
            await held.wait()
            wire.writer.write_eof()
            assert await wire.rest() == b""
        assert (await running.seen.ended()).reason is Reason.CLIENT_GONE
        await upstream.closed()


@pytest.mark.parametrize(
    "part", [b"G", b"GET /tools/sea", b"GET /tools/search.read HTTP/1.1\r\nHost: loc", b"POST / HTTP/1.1\r\n"]
)
async def test_part_of_a_head_behind_a_request_is_408_in_time(start: StartGateway, part: bytes) -> None:
    async with hostile(start, GATEWAY_READ_TIMEOUT="0.4") as (running, upstream):
        answers = answers_in(await until_closed(running.gateway.data_url, request(f"GET /tools/{READ}") + part))
        assert [answer.status for answer in answers] == [200, 408]
        assert len(upstream.heard) == 1


async def test_a_connection_whose_refused_body_was_read_stays_open(start: StartGateway) -> None:
    async with hostile(start, GATEWAY_READ_TIMEOUT="0.2") as (running, _), dial(running.gateway.data_url) as wire:
        await wire.say(request("POST /tools/no.such", "Content-Length: 300000"))
        assert (await wire.answer()).status == 403
        for _ in range(3):
            await wire.say(b"x" * 100_000)
            await asyncio.sleep(0.02)
        assert await until_silent(wire, 0.6) == (b"", False)
        await wire.say(request(f"GET /tools/{READ}"))
        assert (await wire.answer()).status == 200


async def asking_without_reading(url: str, data: bytes) -> socket.socket:
    """A client that takes next to nothing in, and reads none of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", int(url.rpartition(":")[2])))
    await loop.sock_sendall(client, data)
    return client


async def trickle(request: Request) -> None:
    """A reply in pieces, each too small to be waited for."""
    await request.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(0.002)
        await request.say(b"%x\r\n" % 15_000 + b"x" * 15_000 + b"\r\n")
    await request.say(b"0\r\n\r\n")


async def whole(request: Request) -> None:
    await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)


@pytest.mark.parametrize("reply", [whole, trickle])
async def test_answers_that_nobody_reads_do_not_hold_a_connection(start: StartGateway, reply: Answer) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 1000, "deadline_ms": 1000}}, retries=0)
    async with loopback(reply) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        running = await start(policy, GATEWAY_UPSTREAM=url, GATEWAY_READ_TIMEOUT="0.5", AGENT_MAX_TOOL_CALLS=PLENTY)
        with await asking_without_reading(running.gateway.data_url, request(f"GET /tools/{READ}") * 500):
            await upstream.seen(10)
            await all_closed(running.gateway.data_plane.listener)
            await nothing_is_left(running.gateway)
        assert len(upstream.requests) < 500


async def all_closed(listener: Listener) -> None:
    async with asyncio.timeout(10):
        while listener.connections:  # noqa: ASYNC110  aiohttp has no event for it
            await asyncio.sleep(0.01)


READ_TIMEOUT, DEADLINE, MARGIN, EACH = 1.5, 2.0, 4.0, 125
"""Seconds, and slow clients of each kind. The margin is for machines that have other things to do."""


async def drip(url: str, said: bytes, dripped: bytes) -> tuple[int, float]:
    """The status that ends it, and the seconds that took."""
    began = time.monotonic()
    async with dial(url) as wire:
        await wire.say(said)
        dripping = asyncio.create_task(drop_by_drop(wire, dripped))
        try:
            status = answers_in(await wire.rest())[-1].status
        finally:
            dripping.cancel()
        return status, time.monotonic() - began


async def drop_by_drop(wire: Wire, data: bytes) -> None:
    for at in range(len(data)):
        wire.writer.write(data[at : at + 1])
        await asyncio.sleep(0.1)


async def test_500_slow_clients_are_closed_in_time_and_harm_nobody(start: StartGateway) -> None:
    async def pour(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await request.say(b"10000\r\n" + b"x" * 65_536 + b"\r\n")

    big = {"upstream": "big", "path": "/", "timeout_ms": 2000, "deadline_ms": 2000, "max_response_bytes": "1GiB"}
    async with loopback(pour) as upstream:
        policy = policy_of(
            {READ: {"effect": "read"}, "big.read": {"effect": "read", **big}},
            retries=0,
            upstreams={"big": {"url": f"http://127.0.0.1:{upstream.port}", "max_connections": 2 * EACH}},
        )
        running = await start(policy, GATEWAY_READ_TIMEOUT=str(READ_TIMEOUT), AGENT_MAX_TOOL_CALLS=PLENTY)
        url = running.gateway.data_url
        head, body = request(f"POST /tools/{READ}", "Content-Length: 1000"), b"x" * 1000
        dripping = [asyncio.create_task(drip(url, b"", head)) for _ in range(EACH)]
        dripping += [asyncio.create_task(drip(url, head, body)) for _ in range(EACH)]
        dripping += [
            asyncio.create_task(drip(url, request(f"GET /tools/{READ}") + head[:20], b"")) for _ in range(EACH)
        ]
        readers = [await asking_without_reading(url, request("GET /tools/big.read")) for _ in range(EACH)]
        normal = 0
        while not all(task.done() for task in dripping) or len(running.gateway.counts.in_flight):
            assert (await ask(url, request(f"GET /tools/{READ}"))).status == 200
            normal += 1
            await asyncio.sleep(0.02)
        assert normal > 10
        for status, seconds in [task.result() for task in dripping]:
            assert status == 408
            assert seconds < READ_TIMEOUT + MARGIN
        ends = [record for record in running.seen.records if record.tool == "big.read"]
        assert {(record.reason, record.status) for record in ends} == {(Reason.TOOL_TIMEOUT, 200)}
        assert max(record.duration_ms for record in ends) < (DEADLINE + MARGIN) * 1000
        assert len(ends) == EACH
        await all_closed(running.gateway.data_plane.listener)
        for reader in readers:
            reader.close()
