"""HTTP that no door takes (SPEC 11): answered as a problem, logged once, the connection closed, and the tool hears nothing."""

import asyncio
from contextlib import suppress

import pytest

from gateway.denial import Reason
from tests.doors.conftest import POLICY, Running, StartGateway
from tests.doors.tool_server import ToolServer
from tests.doors.wire import Answer, ask, dial, request

CALL = "POST /tools/search.read HTTP/1.1"


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


MALFORMED = {
    "HTTP/0.9": (b"GET /tools/search.read\r\n\r\n", 505),
    "HTTP/2.0 in the line": (raw("GET /tools/search.read HTTP/2.0", "Host: localhost"), 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "TRACE": (raw("TRACE /tools/search.read HTTP/1.1", "Host: localhost"), 405),
    "asterisk form": (raw("OPTIONS * HTTP/1.1", "Host: localhost"), 501),
    "two Content-Lengths": (raw(CALL, "Host: localhost", "Content-Length: 2", "Content-Length: 2", body=b"{}"), 400),
    "Content-Lengths that differ": (
        raw(CALL, "Host: localhost", "Content-Length: 2", "Content-Length: 3", body=b"{} "),
        400,
    ),
    "a list of Content-Lengths": (raw(CALL, "Host: localhost", "Content-Length: 2, 2", body=b"{}"), 400),
    "a signed Content-Length": (raw(CALL, "Host: localhost", "Content-Length: +2", body=b"{}"), 400),
    "Content-Length and chunks": (
        raw(CALL, "Host: localhost", "Content-Length: 7", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
        400,
    ),
    "a coding that is not chunked": (raw(CALL, "Host: localhost", "Transfer-Encoding: gzip", body=b"{}"), 400),
    "chunked twice": (
        raw(CALL, "Host: localhost", "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "a bare LF": (b"GET /tools/search.read HTTP/1.1\nHost: localhost\n\n", 400),
    "a bare CR in a value": (raw(CALL, "Host: localhost", "X-A: a\rX-B: b"), 400),
    "a folded header": (raw(CALL, "Host: localhost", "X-A: a", " b"), 400),
    "a blank before the colon": (raw(CALL, "Host: localhost", "X-A : a"), 400),
    "NUL in a value": (raw(CALL, "Host: localhost", "X-A: a\0b"), 400),
    "NUL in a name": (raw(CALL, "Host: localhost", "X-\0A: b"), 400),
    "a header without a name": (raw(CALL, "Host: localhost", ": b"), 400),
    "a huge request line": (raw(f"GET /tools/search.read?q={'x' * 20_000} HTTP/1.1", "Host: localhost"), 414),
    "a huge header": (raw(CALL, "Host: localhost", f"X-A: {'x' * 40_000}"), 431),
    "too many headers": (raw(CALL, "Host: localhost", *(f"X-{n}: 1" for n in range(300))), 400),
    "a byte beyond ASCII in the query": (
        b"GET /tools/search.read?q=caf\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
    ),
    "no Host": (raw(CALL), 400),
    "two Hosts": (raw(CALL, "Host: localhost", "Host: 127.0.0.1"), 400),
    "a Host with user-info": (raw(CALL, "Host: localhost@127.0.0.1"), 400),
    "a Host with a quote": (raw(CALL, 'Host: localhost:1";x="'), 400),
    "an expectation nobody knows": (raw(CALL, "Host: localhost", "Expect: 200-ok", "Content-Length: 2"), 417),
    "a chunk size that is no number": (
        raw(CALL, "Host: localhost", "Transfer-Encoding: chunked", body=b"zz\r\n{}"),
        400,
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_http_is_answered_logged_once_and_closed(running: Running, tool: ToolServer, case: str) -> None:
    data, code = MALFORMED[case]
    async with dial(running.gateway.data_url) as wire:
        await wire.say(data)
        answer = await wire.answer()
        assert await wire.rest() == b""
    check(answer, code)
    record = await running.seen.ended()
    assert (record.reason, record.status, record.attempts) == (Reason.INVALID_REQUEST, code, 0)
    assert record.call_id == answer.header("Tool-Gateway-Call-Id")
    assert tool.calls == 0


def check(answer: Answer, code: int) -> None:
    problem = answer.problem()
    assert (answer.status, problem["status"], problem["reason"]) == (code, code, "invalid_request")
    assert problem["retryable"] is False
    assert problem["stop_reason"] is None
    assert answer.header("Tool-Gateway-Reason") == "invalid_request"
    assert answer.header("Tool-Gateway-Attempts") == "0"
    assert answer.header("Tool-Gateway-Policy") == problem["policy"]
    assert answer.header("x-should-retry") == "false"
    assert answer.header("Connection") == "close"
    assert answer.header("Retry-After") is None
    assert "x" * 50 not in problem["detail"]
    assert (answer.header("Allow") is not None) == (code == 405)


async def test_http_1_0_is_served_without_a_host(running: Running, tool: ToolServer) -> None:
    answer = await ask(running.gateway.data_url, b"GET /tools/search.read HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.body) == (200, b'{"ok": true}')
    assert tool.received[0].headers["Forwarded"] == 'for=127.0.0.1;host="";proto=http'


@pytest.mark.parametrize("query", ["a\x7fb", "a#b", "a\tb"])
async def test_a_query_that_no_server_should_see_is_refused(running: Running, tool: ToolServer, query: str) -> None:
    answer = await ask(running.gateway.data_url, request(f"GET /tools/search.read?{query}"))
    assert (answer.status, answer.header("Tool-Gateway-Reason")) == (400, "invalid_request")
    assert tool.calls == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"]
)
async def test_on_loopback_a_host_that_is_a_name_is_refused(running: Running, tool: ToolServer, host: str) -> None:
    answer = await ask(running.gateway.data_url, raw(CALL, f"Host: {host}"))
    assert (answer.status, answer.problem()["reason"]) == (403, "invalid_request")
    assert host not in answer.body.decode()
    assert tool.calls == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "192.0.2.7:80"])
async def test_on_loopback_an_address_and_localhost_are_taken(running: Running, host: str) -> None:
    assert (await ask(running.gateway.data_url, raw("GET /tools/search.read HTTP/1.1", f"Host: {host}"))).status == 200


async def test_probes_answer_any_host_with_the_status_alone(running: Running) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await ask(running.gateway.data_url, raw(f"GET {path} HTTP/1.1", "Host: pod.example"))
        assert (answer.status, answer.body) == (200, b'{"ok":true}')


ORIGINS = [
    ("http://localhost:3000", 200),
    ("http://127.0.0.1", 200),
    ("http://[::1]:8080", 200),
    ("https://app.example.com", 200),
    ("https://evil.example", 403),
    ("http://localhost.evil.example", 403),
    ("http://127.0.0.1.evil.example", 403),
    ("http://localhost@evil.example", 403),
    ("https://app.example.com.evil.example", 403),
    ("null", 403),
    ("", 403),
]


@pytest.mark.parametrize(
    "path", ["/tools/search.read", "/query", "/_gateway/runs/r1/steps", "/runs/r1/tools/search.read"]
)
@pytest.mark.parametrize(("origin", "code"), ORIGINS)
async def test_only_pages_of_loopback_and_of_allowed_origins_may_call(
    start: StartGateway, tool: ToolServer, origin: str, code: int, path: str
) -> None:
    running = await start(
        "allowed_origins: ['https://app.example.com']\n"
        + POLICY.replace("search.read: {effect: read}", "search.read: {effect: read, route: POST /query}")
    )
    answer = await ask(running.gateway.data_url, request(f"POST {path}", f"Origin: {origin}", body=b"{}"))
    assert answer.status == code
    if code == 403:
        assert answer.problem()["reason"] == "invalid_request"
        assert tool.calls == 0


async def test_a_head_that_does_not_come_is_408(start: StartGateway, tool: ToolServer) -> None:
    running = await start(GATEWAY_READ_TIMEOUT="0.2")
    async with dial(running.gateway.data_url) as wire:
        await wire.say(b"POST /tools/search.read HTTP/1.1\r\nHost: loc")
        answer = await wire.answer()
        assert await wire.rest() == b""
    check(answer, 408)
    assert "0.2 s (GATEWAY_READ_TIMEOUT)" in answer.problem()["detail"]
    assert (await running.seen.ended()).status == 408


async def test_a_connection_on_which_nothing_comes_is_408_too(start: StartGateway) -> None:
    running = await start(GATEWAY_READ_TIMEOUT="0.2")
    async with dial(running.gateway.data_url) as wire:
        check(await wire.answer(), 408)


async def test_an_idle_kept_alive_connection_may_be_silent_but_its_next_head_may_not_be_slow(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(GATEWAY_READ_TIMEOUT="0.2")
    async with dial(running.gateway.data_url) as wire:
        await wire.say(request("GET /tools/search.read"))
        assert (await wire.answer()).status == 200
        with pytest.raises(TimeoutError):  # nothing comes: the silence is not the timeout's business
            async with asyncio.timeout(0.4):
                await wire.reader.read(1)
        await wire.say(request("GET /tools/search.read"))
        assert (await wire.answer()).status == 200
        await wire.say(b"GET /tools/sea")
        check(await wire.answer(), 408)
    assert tool.calls == 2


async def test_pipelined_requests_are_answered_in_order(running: Running, tool: ToolServer) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(
            request("GET /tools/search.read?n=1") + request("GET /nowhere") + request("GET /tools/search.read?n=2")
        )
        assert [(await wire.answer()).status for _ in range(3)] == [200, 403, 200]
    assert [received.path for received in tool.received] == ["/search.read?n=1", "/search.read?n=2"]


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "apart"])
async def test_a_trailer_is_no_header_of_the_next_request(running: Running, tool: ToolServer, apart: bool) -> None:
    """aiohttp's parser takes it for one: behind a body in chunks there is no next request."""
    chunks = b"2\r\n{}\r\n0\r\nX-Of-Another: 1\r\n\r\n"
    async with dial(running.gateway.data_url) as wire:
        await wire.say(request("POST /tools/search.read", "Transfer-Encoding: chunked") + chunks)
        if apart:
            assert (await wire.answer()).header("Connection") == "close"
        with suppress(ConnectionError):
            await wire.say(request("GET /tools/search.read?q=next"))
        await wire.rest()
    assert [received.body for received in tool.received] == [b"{}"]


async def test_nothing_of_a_malformed_request_reaches_the_log(running: Running) -> None:
    await ask(running.gateway.data_url, raw(CALL, "Host: localhost", "X-A: planted-secret\0"))
    assert "planted-secret" not in repr(await running.seen.ended())
    assert "planted-secret" not in repr(running.seen.events)
