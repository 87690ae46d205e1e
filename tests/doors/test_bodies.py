"""Request bodies: whole or streamed, in bounded memory and bounded time (SPEC 1, 2, 5)."""

import asyncio
from hashlib import sha256

import pytest

from gateway.denial import Reason
from gateway.doors import listener
from gateway.pipeline.attempts import HELD_REPLY
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, status
from tests.doors.wire import Wire, ask, dial, request
from tests.upstreams.loopback import Request, loopback, reply

READ, WRITE, JUDGED = "search.read", "notes.write", "notes.judged"
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
POLICY = policy_of(
    {
        READ: {"effect": "read", "max_request_bytes": "200KiB"},
        WRITE: {"max_request_bytes": "200KiB"},
        JUDGED: {"effect": "read", "arguments": SCHEMA, "max_request_bytes": "200KiB"},
    }
)


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that see the connection closed: it is, once the rest of the body has had its time to come."""
    monkeypatch.setattr(listener, "LINGER", 0.2)


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start(POLICY)


def head(tool: str, *fields: str) -> bytes:
    return request(f"POST /tools/{tool}", *fields)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 150_000, 204_800])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_arrives_as_it_was_sent(running: Running, tool: ToolServer, size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if chunked:
        pieces = b"".join(chunk(body[at : at + 10_000]) for at in range(0, size, 10_000))
        data = head(READ, "Transfer-Encoding: chunked") + pieces + b"0\r\n\r\n"
    else:
        data = head(READ, f"Content-Length: {size}") + body
    answer = await ask(running.gateway.data_url, data)
    assert answer.status == 200
    assert tool.received[0].body == body
    record = await running.seen.ended()
    assert record.bytes_in == size
    if size > 65_536:
        assert record.args_hash == sha256(body).hexdigest()


@pytest.mark.parametrize("fields", ["Content-Length: 204801", "Content-Length: 1000000000000"])
async def test_a_body_announced_too_large_is_413_before_it_comes(
    running: Running, tool: ToolServer, fields: str
) -> None:
    answer = await ask(running.gateway.data_url, head(READ, fields))
    assert (answer.status, answer.problem()["reason"]) == (413, "request_too_large")
    assert "204800 bytes (max_request_bytes)" in answer.problem()["detail"]
    assert answer.problem()["retryable"] is False
    assert tool.calls == 0


@pytest.mark.parametrize(
    ("name", "code", "reason"), [(READ, 413, "request_too_large"), (WRITE, 424, "outcome_unknown")]
)
async def test_a_streamed_body_that_outgrows_the_limit_ends_the_attempt(
    running: Running, tool: ToolServer, name: str, code: int, reason: str
) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(name, "Transfer-Encoding: chunked"))
        await wire.say(chunk(b"x" * 100_000))
        await wire.say(chunk(b"x" * 100_000) + chunk(b"x" * 10_000))
        answer = await wire.answer()
    assert (answer.status, answer.problem()["reason"]) == (code, reason)
    assert "max_request_bytes" in answer.problem()["detail"]
    assert tool.calls == 0  # the request never became whole
    assert answer.header("Tool-Gateway-Attempts") == "1"


async def test_with_a_schema_a_large_body_is_judged_whole(running: Running, tool: ToolServer) -> None:
    body = b'{"q": "%s"}' % (b"x" * 150_000)
    assert (await ask(running.gateway.data_url, request(f"POST /tools/{JUDGED}", body=body))).status == 200
    assert tool.received[0].body == body
    answer = await ask(running.gateway.data_url, request(f"POST /tools/{JUDGED}", body=body.replace(b"q", b"p", 1)))
    assert (answer.status, answer.problem()["reason"]) == (403, "arguments_not_allowed")
    assert tool.calls == 1


async def test_with_a_schema_a_chunked_body_beyond_the_limit_is_413(running: Running, tool: ToolServer) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(JUDGED, "Transfer-Encoding: chunked") + chunk(b"x" * 204_801))
        assert (await wire.answer()).status == 413
    assert tool.calls == 0


@pytest.mark.parametrize(
    ("target", "body", "clause"),
    [
        ("", b"{", "is not JSON"),
        ("", b'{"q": "caf\xe9"}', "is not UTF-8"),
        ("", b'{"q": "a", "q": "b"}', "repeats a key"),
        ("?q=b", b'{"q": "a"}', "a query beside a body"),
    ],
)
async def test_with_a_schema_what_cannot_be_read_is_malformed(
    running: Running, tool: ToolServer, target: str, body: bytes, clause: str
) -> None:
    answer = await ask(running.gateway.data_url, request(f"POST /tools/{JUDGED}{target}", body=body))
    assert (answer.status, answer.problem()["reason"]) == (400, "invalid_request")
    assert clause in answer.problem()["detail"]
    assert tool.calls == 0


async def test_without_a_body_the_query_is_judged(running: Running, tool: ToolServer) -> None:
    assert (await ask(running.gateway.data_url, request(f"GET /tools/{JUDGED}?q=tea"))).status == 200
    answer = await ask(running.gateway.data_url, request(f"GET /tools/{JUDGED}?q=tea&q=milk"))
    assert (answer.status, answer.problem()["reason"]) == (403, "arguments_not_allowed")
    assert "q: not of type string" in answer.problem()["detail"]
    assert [received.path for received in tool.received] == [f"/{JUDGED}?q=tea"]


async def drip(wire: Wire, body: bytes, seconds: float) -> None:
    for at in range(len(body)):
        await wire.say(body[at : at + 1])
        await asyncio.sleep(seconds)


async def pour(wire: Wire, size: int) -> None:
    for _ in range(size // 500_000):
        await wire.say(b"x" * 500_000)
        wire.poured += 500_000


@pytest.mark.usefixtures("short_linger")
@pytest.mark.parametrize("fields", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_that_drips_is_408(start: StartGateway, tool: ToolServer, fields: str) -> None:
    """A byte now and then is no progress: each 64 KiB, or the rest, has its time."""
    running = await start(POLICY, GATEWAY_READ_TIMEOUT="0.3")
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(READ, fields))
        dripping = asyncio.create_task(drip(wire, chunk(b"x" * 1000) if "chunked" in fields else b"x" * 1000, 0.05))
        answer = await wire.answer()
        assert await wire.rest() == b""
        dripping.cancel()
    assert (answer.status, answer.problem()["reason"]) == (408, "invalid_request")
    assert answer.header("Connection") == "close"
    assert "GATEWAY_READ_TIMEOUT" in answer.problem()["detail"]
    assert tool.calls == 0
    assert (await running.seen.ended()).status == 408


@pytest.mark.usefixtures("short_linger")
@pytest.mark.parametrize(("name", "code", "reason"), [(READ, 408, "invalid_request"), (WRITE, 424, "outcome_unknown")])
async def test_a_streamed_body_that_stalls_ends_the_attempt(
    start: StartGateway, tool: ToolServer, name: str, code: int, reason: str
) -> None:
    running = await start(POLICY, GATEWAY_READ_TIMEOUT="0.3")
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(name, "Content-Length: 150000") + b"x" * 100_000)
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert (answer.status, answer.problem()["reason"]) == (code, reason)
    assert tool.calls == 0


async def test_a_streamed_body_is_not_sent_again_once_a_byte_of_it_was(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(503)
    body = b"x" * 100_000
    answer = await ask(running.gateway.data_url, request(f"POST /tools/{READ}", body=body))
    assert (answer.status, answer.header("Tool-Gateway-Attempts"), tool.calls) == (503, "1", 1)


async def test_a_small_body_is_sent_again(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(503)]
    answer = await ask(running.gateway.data_url, request(f"POST /tools/{READ}", body=b"x" * 65_536))
    assert (answer.status, answer.header("Tool-Gateway-Attempts"), tool.calls) == (200, "2", 2)


async def test_100_continue_is_said_when_the_body_is_wanted(running: Running, tool: ToolServer) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(READ, "Content-Length: 2", "Expect: 100-continue"))
        assert (await wire.answer()).status == 100
        await wire.say(b"{}")
        assert (await wire.answer()).status == 200
    assert "Expect" not in tool.received[0].headers


async def test_100_continue_is_not_said_to_a_body_that_is_too_large(running: Running) -> None:
    answer = await ask(running.gateway.data_url, head(READ, "Content-Length: 9999999", "Expect: 100-continue"))
    assert answer.status == 413


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_call(running: Running, tool: ToolServer) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(head(READ, "Content-Length: 1000") + b"x" * 500)
        await wire.say(b"x")
        wire.leave()
    assert (await ask(running.gateway.data_url, request(f"GET /tools/{READ}"))).status == 200
    assert tool.calls == 1


async def test_beyond_the_buffered_bytes_calls_are_overloaded_and_then_taken_again(start: StartGateway) -> None:
    async def later(request: Request) -> None:
        await released.wait()
        await request.say(reply())

    released = asyncio.Event()
    async with loopback(later) as upstream:
        running = await start(
            POLICY, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", GATEWAY_MAX_BUFFERED_BYTES="128KiB"
        )
        body = b"x" * 60_000
        first = asyncio.create_task(ask(running.gateway.data_url, request(f"POST /tools/{READ}", body=body)))
        await upstream.seen(1)
        assert running.gateway.buffers.held == 60_000 + HELD_REPLY
        answer = await ask(running.gateway.data_url, request(f"POST /tools/{READ}", body=body))
        assert (answer.status, answer.problem()["reason"]) == (503, "overloaded")
        assert answer.header("Retry-After") == "1"
        assert answer.problem()["retryable"] is True
        assert "GATEWAY_MAX_BUFFERED_BYTES" in answer.problem()["detail"]
        released.set()
        assert (await first).status == 200
        assert running.gateway.buffers.held == 0
        assert (await ask(running.gateway.data_url, request(f"POST /tools/{READ}", body=body))).status == 200


async def test_beyond_max_in_flight_calls_are_overloaded_while_health_stays_fast(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(POLICY, GATEWAY_MAX_IN_FLIGHT="2")
    released = asyncio.Event()
    tool.behaviour = hang(released)
    calls = [asyncio.create_task(ask(running.gateway.data_url, request(f"GET /tools/{READ}"))) for _ in range(2)]
    await tool.seen(2)
    answer = await ask(running.gateway.data_url, request(f"GET /tools/{READ}", "Agent-Run-Id: r1"))
    assert (answer.status, answer.problem()["reason"], answer.header("Retry-After")) == (503, "overloaded", "1")
    assert answer.header("Tool-Gateway-Remaining") == "tool_calls=12, steps=25, seconds=60"
    assert (await ask(running.gateway.data_url, request("GET /healthz"))).status == 200
    released.set()
    assert [(await call).status for call in calls] == [200, 200]
    assert (await ask(running.gateway.data_url, request(f"GET /tools/{READ}"))).status == 200


async def test_beyond_max_connections_a_connection_is_told_so_and_closed(start: StartGateway) -> None:
    running = await start(POLICY, GATEWAY_MAX_CONNECTIONS="2")
    async with dial(running.gateway.data_url) as one, dial(running.gateway.data_url) as two:
        for wire in (one, two):
            await wire.say(request(f"GET /tools/{READ}"))
            assert (await wire.answer()).status == 200
        async with dial(running.gateway.data_url) as third:
            answer = await third.answer()
            assert await third.rest() == b""
        assert (answer.status, answer.problem()["reason"]) == (503, "overloaded")
        assert answer.header("Retry-After") == "1"
        assert running.gateway.data_plane.listener.refused == 1
        await one.say(request(f"GET /tools/{READ}"))
        assert (await one.answer()).status == 200
    assert running.seen.records[-2].reason is Reason.OVERLOADED


async def test_a_large_body_streams_up_in_bounded_memory(start: StartGateway) -> None:
    """The upstream stops reading: so does the gateway, long before the body is through."""
    size = 50_000_000

    async def slow(request: Request) -> None:
        await released.wait()
        seen = 0
        while seen < size:
            seen += len(await request.reader.read(1_000_000))
        await request.say(reply(b"%d" % seen))

    released = asyncio.Event()
    policy = policy_of({READ: {"effect": "read", "max_request_bytes": "64MiB"}})
    async with loopback(slow, read_bodies=False) as upstream:
        running = await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        async with dial(running.gateway.data_url) as wire:
            await wire.say(head(READ, f"Content-Length: {size}"))
            pouring = asyncio.create_task(pour(wire, size))
            done, _ = await asyncio.wait([pouring], timeout=0.5)
            assert not done
            assert wire.poured < size / 2
            released.set()
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b"%d" % size)
    assert (await running.seen.ended()).bytes_in == size
