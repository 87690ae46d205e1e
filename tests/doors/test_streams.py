"""Replies that are passed on while they arrive, and what the proxy does and does not change in any reply (SPEC 2 and 5)."""

import asyncio
import gzip
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.denial import Reason
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.test_attempts import Fault
from tests.doors.wire import Answer, Wire, ask, dial, request
from tests.upstreams.loopback import Loopback, Request, always, loopback, reply

READ, WRITE, STREAM = "search.read", "notes.write", "events.stream"
POLICY = policy_of(
    {
        READ: {"effect": "read", "methods": ["GET", "HEAD"], "max_response_bytes": "200KiB"},
        WRITE: {},
        STREAM: {"effect": "read", "stream": True, "stream_idle_ms": 200, "timeout_ms": 2000, "deadline_ms": 400},
    }
)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Source:
    """An upstream's answer that a test writes piece by piece."""

    def __init__(self, head: bytes = SSE) -> None:
        self.head = head
        self.request: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: Request) -> None:
        await request.say(self.head)
        self.request.set_result(request)
        await request.reader.read()  # until the gateway closes

    async def say(self, data: bytes) -> None:
        await (await self.request).say(data)


@asynccontextmanager
async def behind(
    start: StartGateway, answer: Fault, policy: str = POLICY, **variables: str
) -> AsyncIterator[tuple[Running, Loopback, Wire]]:
    async with loopback(answer) as upstream:
        running = await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", **variables)
        async with dial(running.gateway.data_url) as wire:
            yield running, upstream, wire


def last_event(rest: bytes) -> dict[str, object]:
    """The `event: error` at the very end, and no last chunk behind it."""
    size, _, event = rest.partition(b"\r\n")
    assert event == b"\n\n" + event.strip(b"\n\r") + b"\n\n\r\n"
    assert int(size, 16) == len(event) - 2
    name, _, data = event.strip(b"\n\r").partition(b"\n")
    assert name == b"event: error"
    return json.loads(data.removeprefix(b"data: "))  # type: ignore[no-any-return]  # JSON is Any


async def test_events_pass_piece_by_piece_as_they_come(start: StartGateway) -> None:
    source = Source()
    async with behind(start, source) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        status, headers = await wire.head()
        assert (status, dict(headers)["Content-Type"]) == (200, "text/event-stream")
        chunks = wire.chunks()
        for n in range(5):
            await source.say(chunk(b"data: %d\n\n" % n))
            async with asyncio.timeout(5):
                assert await anext(chunks) == b"data: %d\n\n" % n
        await source.say(b"0\r\n\r\n")
        assert [piece async for piece in chunks] == []
        record = await running.seen.ended()
        assert (record.reason, record.bytes_out, record.result) == (
            Reason.OK,
            45,
            b"".join(b"data: %d\n\n" % n for n in range(5)),
        )


async def test_a_stream_outlives_timeout_and_deadline_but_not_silence(start: StartGateway) -> None:
    source = Source()
    async with behind(start, source) as (running, upstream, wire):
        await wire.say(request(f"GET /tools/{STREAM}"))
        await wire.head()
        chunks = wire.chunks()
        for _ in range(6):
            await asyncio.sleep(0.1)
            await source.say(chunk(b":\n\n"))
            assert await anext(chunks) == b":\n\n"
        problem = last_event(await wire.rest())
        assert problem["reason"] == "tool_timeout"
        assert "went silent for 200 ms" in str(problem["detail"])
        record = await running.seen.ended()
        assert (record.reason, record.status, record.duration_ms > 700) == (Reason.TOOL_TIMEOUT, 200, True)
        await upstream.closed()


async def test_an_event_stream_of_an_ordinary_tool_may_be_silent_beyond_its_timeout(start: StartGateway) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 100, "stream_idle_ms": 300}})
    source = Source()
    async with behind(start, source, policy) as (_, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        await asyncio.sleep(0.2)
        await source.say(chunk(b":\n\n"))
        assert await anext(wire.chunks()) == b":\n\n"
        assert "went silent for 300 ms" in str(last_event(await wire.rest())["detail"])


async def test_the_end_of_its_run_ends_a_stream(start: StartGateway) -> None:
    policy = policy_of({STREAM: {"effect": "read", "stream": True}})
    async with behind(start, Source(), policy, AGENT_MAX_SECONDS="1") as (running, _, wire):
        began = time.monotonic()
        await wire.say(request(f"GET /tools/{STREAM}", "Agent-Run-Id: r1"))
        await wire.head()
        problem = last_event(await wire.rest())
        assert (problem["reason"], problem["stop_reason"]) == ("tool_timeout", "max_seconds")
        assert time.monotonic() - began >= 0.99
        assert (await running.seen.ended()).stop_reason == "max_seconds"


async def test_a_kill_with_cancel_in_flight_ends_a_stream_within_100_ms(start: StartGateway) -> None:
    async with behind(start, Source()) as (running, upstream, wire):
        await wire.say(request(f"GET /tools/{READ}", "Agent-Run-Id: r1"))
        await wire.head()
        await running.kill("run:r1")
        assert running.seen.records == []  # without cancel_in_flight what is open stays open
        rest = asyncio.create_task(wire.rest())
        await running.kill("run:r1", cancel_in_flight=True)
        async with asyncio.timeout(1):  # promised are 100 ms; the rest is for slow machines
            problem = last_event(await rest)
        assert (problem["reason"], problem["stop_reason"]) == ("kill_switch", "kill_switch")
        record = await running.seen.ended()
        assert (record.reason, record.status, record.stop_reason) == (Reason.KILL_SWITCH, 200, "kill_switch")
        await upstream.closed()


async def test_a_stream_whose_reader_leaves_is_closed_upstream(start: StartGateway) -> None:
    async with behind(start, Source()) as (running, upstream, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        wire.leave()
        assert (await running.seen.ended()).reason is Reason.CLIENT_GONE
        await upstream.closed()


async def test_silence_in_an_ordinary_body_is_cut_after_the_timeout(start: StartGateway) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 200}})
    source = Source(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    async with behind(start, source, policy) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        await source.say(b"x" * 50_000)
        assert await wire.rest() == b"x" * 50_000
        record = await running.seen.ended()
        assert (record.reason, record.status) == (Reason.TOOL_TIMEOUT, 200)
        assert "went silent for 200 ms" in str(record.detail)


async def test_the_deadline_bounds_an_ordinary_body_that_drips(start: StartGateway) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 200, "deadline_ms": 400}})
    source = Source(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    async with behind(start, source, policy) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        ended = asyncio.create_task(running.seen.ended())
        while not ended.done():
            await source.say(b"x")
            await asyncio.wait([ended], timeout=0.05)
        assert "deadline of 400 ms" in str((await ended).detail)


async def test_a_large_body_streams_down_in_bounded_memory(start: StartGateway) -> None:
    """The agent stops reading: so does the gateway, and the tool is held back, long before the body is through."""
    size, written = 50_000_000, 0

    async def flood(request: Request) -> None:
        nonlocal written
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(100):
            await request.say(b"x" * 500_000)
            written += 500_000

    policy = policy_of({READ: {"effect": "read", "max_response_bytes": "64MiB"}})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with behind(start, flood, policy) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        await asyncio.sleep(0.3)
        assert written < size / 2
        read = 0
        while read < size:
            read += len(await wire.reader.read(1_000_000))
        assert (await running.seen.ended()).bytes_out == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


async def test_an_answer_announced_too_large_is_explained(start: StartGateway) -> None:
    async with behind(start, always(reply(b"x" * 204_801))) as (_, upstream, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        answer = await wire.answer()
        assert (answer.status, answer.problem()["reason"]) == (424, "response_too_large")
        assert "204800 bytes (max_response_bytes)" in answer.problem()["detail"]
        assert "The tool has run" in answer.problem()["detail"]
        assert len(upstream.requests) == 1


async def test_an_answer_that_grows_too_large_is_cut(start: StartGateway) -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 10_000) * 30
    async with behind(start, always(endless)) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        assert (await wire.head())[0] == 200
        rest = await wire.rest()
        assert len(rest) < 230_000
        assert not rest.endswith(b"0\r\n\r\n")
        assert (await running.seen.ended()).reason is Reason.RESPONSE_TOO_LARGE


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 204_800])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_a_body_comes_back_as_the_tool_sent_it(start: StartGateway, size: int, framing: str) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def answer(request: Request) -> None:
        if framing == "length":
            await request.say(reply(body))
        elif framing == "chunks":
            pieces = b"".join(chunk(body[at : at + 9_999]) for at in range(0, size, 9_999))
            await request.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        else:
            await request.say(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            request.writer.close()

    async with behind(start, answer) as (running, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        answered = await wire.answer()
        assert (answered.status, answered.body) == (200, body)
        assert (await running.seen.ended()).bytes_out == size
        await wire.say(request(f"GET /tools/{READ}"))  # the connection is good for another call
        assert (await wire.answer()).body == body


@pytest.mark.parametrize("length", ["10", "99999999"])
async def test_head_tells_the_length_of_a_body_that_does_not_come(start: StartGateway, length: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: {length}\r\n\r\n".encode()
    async with behind(start, always(head)) as (_, upstream, wire):
        for _ in range(2):
            await wire.say(request(f"HEAD /tools/{READ}"))
            answer = await wire.answer(bodyless=True)
            assert (answer.status, answer.header("Content-Length"), answer.header("Content-Type")) == (
                200,
                length,
                "text/x",
            )
        assert [r.line for r in upstream.requests] == [f"HEAD /{READ} HTTP/1.1"] * 2


async def test_a_denied_head_has_no_body_either(start: StartGateway) -> None:
    async with behind(start, always(reply())) as (_, _, wire):
        await wire.say(request("HEAD /tools/nobody.knows") + request("HEAD /tools/nobody.knows"))
        for _ in range(2):
            assert (await wire.answer(bodyless=True)).status == 403


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 204 No Content\r\n\r\n", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n']
)
async def test_answers_that_have_no_body(start: StartGateway, head: bytes) -> None:
    async with behind(start, always(head)) as (running, upstream, wire):
        for _ in range(2):
            await wire.say(request(f"GET /tools/{READ}"))
            answer = await wire.answer()
            assert answer.status == int(head[9:12])
            assert answer.header("Transfer-Encoding") is None
        assert upstream.connections == 1
        assert (await running.seen.ended(2)).reason is Reason.OK


async def relayed(
    start: StartGateway, *headers: str, status: str = "200 OK", body: bytes = b"ok", **sent: str
) -> Answer:
    async with behind(start, always(reply(body, *headers, status=status))) as (_, _, wire):
        await wire.say(request(f"GET /tools/{READ}", *(f"{k}: {v}" for k, v in sent.items())))
        return await wire.answer()


async def test_every_set_cookie_passes_and_none_is_kept(start: StartGateway) -> None:
    async with behind(start, always(reply(b"ok", "Set-Cookie: a=1", "Set-Cookie: b=2; Path=/"))) as (_, upstream, wire):
        for _ in range(2):
            await wire.say(request(f"GET /tools/{READ}"))
            answer = await wire.answer()
            assert [v for n, v in answer.headers if n.lower() == "set-cookie"] == ["a=1", "b=2; Path=/"]
        assert upstream.requests[1].header("Cookie") == []


async def test_nothing_is_decompressed_or_encoded_anew(start: StartGateway) -> None:
    body = gzip.compress(b"tea" * 1000)
    answer = await relayed(start, "Content-Encoding: gzip", "Vary: Accept-Encoding", body=body)
    assert (answer.body, answer.header("Content-Encoding")) == (body, "gzip")


async def test_hop_by_hop_headers_and_the_gateways_own_names_do_not_come_back(start: StartGateway) -> None:
    answer = await relayed(
        start, "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=1", "Proxy-Authenticate: Basic", "Upgrade: h2c",
        "Tool-Gateway-Attempts: 99", "Tool-Gateway-Evil: 1", "X-Kept: 1", "Server: tool/1", "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    )  # fmt: skip
    names = [name.lower() for name, _ in answer.headers]
    assert not {"x-hop", "keep-alive", "proxy-authenticate", "upgrade", "tool-gateway-evil"} & set(names)
    assert answer.header("Tool-Gateway-Attempts") == "1"
    assert (answer.header("X-Kept"), answer.header("Server")) == ("1", "tool/1")
    assert answer.header("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert len(names) - names.count("set-cookie") == len(set(names))


async def test_a_header_keeps_its_letters_in_utf_8_and_in_latin_1(start: StartGateway) -> None:
    said = reply(b"ok", "X-Utf: caf\u00e9", "X-Latin: caf?").replace(b"?", b"\xe9")
    async with behind(start, always(said)) as (_, _, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        answer = await wire.answer()
        assert [(answer.header(name) or "").encode("latin-1").decode() for name in ("X-Utf", "X-Latin")] == [
            "caf\u00e9"
        ] * 2


LOCATIONS = [
    ("/tools/api", "{own}/v1/jobs/7?x=1", "/tools/api/v1/jobs/7?x=1"),
    ("/tools/api", "/v1/jobs/7", "/tools/api/v1/jobs/7"),
    ("/runs/r1/tools/api", "/v1/jobs/7#part", "/runs/r1/tools/api/v1/jobs/7#part"),
    ("/tools/api/v1/jobs", "jobs/7", "/tools/api/v1/jobs/7"),
    ("/tools/api", "?page=2", "/tools/api/?page=2"),
    ("/tools/deep", "{own}/deep/path/below", "/tools/deep/below"),
    ("/tools/deep", "/deep/pathological", "/deep/pathological"),
    ("/tools/deep", "/elsewhere", "/elsewhere"),
    ("/native/x", "/native/y?z=1", "/native/y?z=1"),
    ("/native/x", "{own}/native/y", "/native/y"),
    ("/native/x", "y", "/native/y"),
    ("/runs/r1/native/x", "/native/y", "/runs/r1/native/y"),
    ("/_gateway/native/native/x", "/runs/y", "/_gateway/native/runs/y"),
    ("/runs/r1/_gateway/native/native/x", "/native/y", "/runs/r1/_gateway/native/native/y"),
    ("/native/x", "/runs/y", "/_gateway/native/runs/y"),
    ("/tools/api", "https://elsewhere.example/v1", "https://elsewhere.example/v1"),
    ("/tools/api", "//elsewhere.example/v1", "//elsewhere.example/v1"),
    ("/tools/api", "{own}.evil.example/v1", "{own}.evil.example/v1"),
    ("/tools/api", "http://[/v1", "http://[/v1"),
]


@pytest.mark.parametrize(("asked", "given", "told"), LOCATIONS)
async def test_a_location_on_the_tools_own_origin_leads_back_through_the_door(
    start: StartGateway, asked: str, given: str, told: str
) -> None:
    async def redirect(request: Request) -> None:
        await request.say(reply(b"", f"Location: {given.format(own=own)}", status="307 Temporary Redirect"))

    async with loopback(redirect) as upstream:
        own = f"http://127.0.0.1:{upstream.port}"
        policy = policy_of(
            {
                "api": {"upstream": "own", "effect": "read"},
                "deep": {"upstream": "own", "path": "/deep/path", "effect": "read"},
                "native": {"upstream": "own", "route": "GET /native/{rest*}", "path": "/n", "effect": "read"},
            },
            upstreams={"own": {"url": own}},
        )
        running = await start(policy)
        answer = await ask(running.gateway.data_url, request(f"GET {asked}"))
        assert (answer.status, answer.header("Location")) == (307, told.format(own=own))
        assert len(upstream.requests) == 1  # never followed


async def test_a_reader_that_is_behind_is_cut_without_waiting_for_it(start: StartGateway) -> None:
    async def flood(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while True:
            await request.say(b"x" * 500_000)

    policy = policy_of({READ: {"effect": "read", "max_response_bytes": "64MiB"}})
    async with behind(start, flood, policy) as (running, upstream, wire):
        await wire.say(request(f"GET /tools/{READ}"))
        await wire.head()
        await asyncio.sleep(0.3)  # until nobody takes any more
        await running.kill("all", cancel_in_flight=True)
        assert (await running.seen.ended()).reason is Reason.KILL_SWITCH
        await upstream.closed()
        async with asyncio.timeout(5):
            while running.gateway.data_plane.listener.connections:  # noqa: ASYNC110  the listener has no event for it
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Content-Length: 70000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("field", ["Connection: keep-alive", "Connection: close"])
async def test_no_content_type_is_made_up(start: StartGateway, framing: str, field: str) -> None:
    body = b"2\r\nok\r\n0\r\n\r\n" if "chunked" in framing else b"x" * int(framing[16:])
    async with behind(start, always(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body)) as (_, _, wire):
        await wire.say(request(f"GET /tools/{READ}", field))
        assert (await wire.answer()).header("Content-Type") is None
