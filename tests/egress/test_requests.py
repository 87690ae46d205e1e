"""Requests that name one place on their first line and another one elsewhere, or ask for a way out that no door is."""

import ssl

import pytest

from tests.egress.inside import Inside, ask
from tests.egress.world import End, World

pytestmark = pytest.mark.needs("ip", "unshare", "nsenter")

ALLOWED = "8.8.8.80"
PAGE = "GET http://allowed.example/ HTTP/1.1"
JSON = '{"url":"http://allowed.example/"}'


@pytest.fixture
def there(there: World) -> World:
    there.names.answers = {"allowed.example": [[ALLOWED]]}
    there.names.otherwise = ["8.8.4.66"]
    return there


def lines(*parts: str, body: str = "") -> bytes:
    return "\r\n".join([*parts, "", body]).encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        lines("GET http://allowed.example/ HTTP/1.0"),
        lines(PAGE, "Host: 10.0.0.7"),
        lines(
            PAGE,
            "Host: 10.0.0.7",
            "X-Forwarded-Host: 10.0.0.7",
            "Forwarded: host=10.0.0.7",
            "X-Original-URL: http://10.0.0.7/",
        ),
        lines(PAGE, "Host: x", "Connection: Host"),
        lines(PAGE, "Host: x", "Upgrade: websocket", "Connection: Upgrade"),
        lines("CONNECT allowed.example:80 HTTP/1.1", "Host: 10.0.0.7:80"),
        lines("CONNECT allowed.example:80 HTTP/1.0"),
    ],
)
async def test_the_first_line_alone_says_where_to(there: World, listed: Inside, request_bytes: bytes) -> None:
    assert (await ask(there, listed, request_bytes)).status == 200
    assert there.dialled(*listed.own) == {End(ALLOWED, 80)}
    assert set(there.hosts) <= {"allowed.example"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        lines(PAGE),
        lines(PAGE, "Host: a", "Host: b"),
        lines("GET http://10.0.0.7\thttp://allowed.example/ HTTP/1.1", "Host: x"),
        lines("GET http://allowed.example/ http://10.0.0.7/ HTTP/1.1", "Host: x"),
        lines("GET http://allowed.example/", "Host: x"),
        lines("GET //10.0.0.7/ HTTP/1.1", "Host: localhost"),
        lines("GET /http://10.0.0.7/ HTTP/1.1", "Host: localhost"),
        lines("GET / HTTP/1.1", "Host: 10.0.0.7"),
        lines("OPTIONS * HTTP/1.1", "Host: 10.0.0.7"),
        lines("TRACE http://allowed.example/ HTTP/1.1", "Host: x"),
        lines("PROPFIND http://allowed.example/ HTTP/1.1", "Host: x"),
        lines("get http://allowed.example/ HTTP/1.1", "Host: x"),
        lines("connect allowed.example:80 HTTP/1.1", "Host: x"),
        lines("CONNECT 10.0.0.7:80"),
        lines("PRI * HTTP/2.0", "", "SM"),
        lines("GET /mcp/http HTTP/1.1", "Host: localhost"),
        lines("GET /tools/http.get?url=http://allowed.example/&url=http://10.0.0.7/ HTTP/1.1", "Host: localhost"),
        lines("GET /tools/http.get/http://10.0.0.7/ HTTP/1.1", "Host: localhost"),
        lines("POST /tools/http.connect HTTP/1.1", "Host: localhost", f"Content-Length: {len(JSON)}", body=JSON),
        lines("POST /tools/http.post HTTP/1.1", "Host: localhost", f"Content-Length: {len(JSON)}", body=JSON),
    ],
)
async def test_what_could_be_meant_in_two_ways_goes_nowhere(there: World, listed: Inside, request_bytes: bytes) -> None:
    answer = await ask(there, listed, request_bytes)
    assert 400 <= answer.status <= 505
    assert answer.header("Tool-Gateway-Reason") in ("invalid_request", "tool_not_allowed")
    assert there.dialled(*listed.own) == set()
    assert there.names.look_ups() == {}


async def test_a_tunnel_carries_what_its_caller_says_to_the_judged_address(there: World, listed: Inside) -> None:
    hello, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, hello, server_hostname="allowed.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    wire = await there.dial(listed.data)
    await wire.say(lines("CONNECT allowed.example:443 HTTP/1.1", "Host: 10.0.0.7:443"))
    assert (await wire.answer(bodyless=True)).status == 200
    await wire.say(hello.read())
    assert await wire.reader.readuntil(ALLOWED.encode()) == f"hello from {ALLOWED}".encode()
    wire.leave()
    await there.left()
    assert there.dialled(*listed.own) == {End(ALLOWED, 443)}
