"""Both lanes are one gateway: the same bytes come to the same answer, the same upstream request and the same record on either."""

import json
from collections.abc import AsyncIterator
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.doors.identity import MAX_STEP
from tests.doors.conftest import FAST, ORDINARY, StartGateway
from tests.doors.tool_server import ToolServer
from tests.doors.twins import Said, Spoken, Twins, assert_alike, twins
from tests.doors.wire import dial, request

READ_TIMEOUT = 0.3
TOKEN = "a-scouts-token-of-some-length"
PLENTY = 1_000_000
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
DEFINITIONS = {
    "search.read": {"effect": "read"},
    "notes.write": {"effect": "write"},
    "files.get": {"effect": "read", "path": "/files/{rest*}", "upstream": "default", "route": "GET /native/{rest*}"},
    "form.read": {"effect": "read", "arguments": SCHEMA},
    "small.read": {"effect": "read", "max_request_bytes": 100, "max_response_bytes": 100},
    "own.read": {"effect": "read", "forward_authorization": True},
    "keyed.write": {"idempotency_key": True},
    "stream.read": {"effect": "read", "stream": True, "stream_idle_ms": 200},
    "slow.read": {"effect": "read", "timeout_ms": 150, "retries": {"max": 1}},
    "slow.write": {"effect": "write", "timeout_ms": 150},
    "priced.read": {"effect": "read", "cost_usd": 0.001, "max_identical_calls": 3},
}
POLICY = json.dumps(
    {
        "tools": {
            "allowlist": [*DEFINITIONS],
            "retries": {"max": 2, "backoff_ms": [1, 2], "budget_percent": 100},
            "timeouts_ms": {"default": 1500},
            "definitions": DEFINITIONS,
        },
        "upstreams": {
            "default": {
                "url": "http://127.0.0.1:@PORT@",
                "headers": {"X-Injected": "by the gateway", "X-Most-Rows": str(MAX_STEP)},
                "circuit_breaker": {"failures": 1000},
            }
        },
        "runs": {"max_started_per_hour": PLENTY, "identify_by_trace": True},
        "agents": {
            "default": {"allowlist": ["*"], "denylist": ["notes.write"]},
            "scout": {"token": "${env:SCOUT_TOKEN}", "allowlist": ["*"]},
        },
        "allowed_origins": ["https://page.example"],
    }
)
playing = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # two gateways play each example: shrinking takes minutes
    suppress_health_check=[*HealthCheck],  # of fixtures that serve many examples
    deadline=None,
)

_runs = (f"run-{n}" for n in count())


@pytest.fixture
async def both(start: StartGateway) -> AsyncIterator[Twins]:
    variables = {
        "AGENT_MAX_TOOL_CALLS": str(PLENTY),
        "AGENT_MAX_STEPS": str(MAX_STEP),
        "GATEWAY_READ_TIMEOUT": str(READ_TIMEOUT),
        "SCOUT_TOKEN": TOKEN,
    }
    async with twins(start, POLICY, **variables) as made:
        yield made


@pytest.mark.parametrize(("start", "share"), [(ORDINARY, 0), (FAST, 20)], indirect=["start"])
async def test_the_lanes_that_the_other_tests_take_are_two(start: StartGateway, tool: ToolServer, share: int) -> None:
    running = await start()
    async with dial(running.gateway.data_url) as wire:
        for call in range(20):
            await wire.say(request("POST /tools/search.read", f"Agent-Run-Id: r{call}", body=b"{}"))
            assert (await wire.answer()).status == 200
    assert (running.fast, tool.calls) == (share, 20)


# -- requests

METHODS = ["POST"] * 30 + ["GET"] * 10 + ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "post"]
PATHS = [
    *["/tools/search.read"] * 30,
    *[f"/tools/{name}" for name in DEFINITIONS] * 3,
    *["/runs/@RUN@/tools/search.read", "/runs/@RUN@/tools/priced.read", "/tools/search.read?q=1", "/tools/search.read?q=%20a&q=b"],
    *["/tools/files.get/a/b", "/tools/files.get/%41%2e?x", "/native/a", "/native/a%20b/c;d?e", "/_gateway/native/native/a"],
    *["/tools/search.read/", "/tools/search.read/rest", "/tools/files.get/../x", "/tools/files.get/%2e%2e/x", "/tools/files.get/a%2fb"],
    *["/tools/files.get/%zz", "//tools/search.read", "/tools", "/tools/", "/nowhere", "/tools/unknown.tool", "/tools/search.read#x"],
    *["/runs//tools/search.read", "/runs/@RUN@", "/runs/@RUN@/runs/@RUN@/tools/search.read", "/healthz", "/readyz", "*", "tools"],
    *["/_gateway/runs/@RUN@", "/mcp/nobody", "http://localhost/tools/search.read", "/tools/search.read?a b", "/tools/s\xe9arch.read"],
]  # fmt: skip
HOSTS = ["Host: localhost"] * 100 + [
    *["Host: 127.0.0.1:8080", "host:localhost", "HOST:   LOCALHOST:1  ", "Host: [::1]", "Host: tools.example", "Host: a b", "Host:"],
    *["Host: localhost\r\nHost: localhost", "Host: localhost:x", "X-No-Host: 1"],
]  # fmt: skip
FIELDS = [
    *["Agent-Run-Id: @RUN@", "agent-run-id:@RUN@", "Agent-Run-Id: bad run", "Agent-Run-Id: ", "Agent-Step: 3", "Agent-Step: -1"],
    *["Agent-Step: x", "Agent-Id: scout", "Agent-Id: nobody", f"Agent-Token: {TOKEN}", "Agent-Token: wrong"],
    *[f"Authorization: Bearer {TOKEN}", "Authorization: Bearer somebody-elses", "Authorization: Basic eDp5"],
    *["Connection: keep-alive", "Connection: Keep-Alive, X-Mine", "Connection: close", "connection: CLOSE", "Connection: X-Mine"],
    *["Keep-Alive: timeout=5", "X-Mine: 1", "x-MINE: 2", "X-Mine: 3\r\nX-Mine: 4", "X-Empty:", "X-Spaced:  \t a b \t", "X-Folded: a\r\n b"],
    *["Origin: http://localhost:3000", "Origin: https://page.example", "Origin: https://evil.example", "Origin: null"],
    *["Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent: 00-0-0-0", "baggage: agent.run_id=@RUN@"],
    *["baggage: a=b, agent.run_id=@RUN@;p", "tracestate: a=b", "Via: 1.1 earlier", "Forwarded: for=10.0.0.1", "Cookie: a=b"],
    *["Expect: 100-continue", "Expect: 200-ok", "Upgrade: websocket", "Connection: upgrade\r\nUpgrade: h2c", "Idempotency-Key: k-@RUN@"],
    *["Idempotency-Key: ", "Tool-Gateway-Attempt: 9", "Tool-Gateway-Deadline-Ms: 1", "TE: trailers", "Trailer: X"],
    *["Accept-Encoding: gzip", "Content-Type: application/json", "Content-Encoding: gzip", "X-Latin: caf\xe9", "X-Utf: caf\xc3\xa9"],
    *["Mcp-Session-Id: s", "X-Long: " + "l" * 5000, "Bad Name: 1", "X-Nul: a\0b", "X-Bell: a\x07b", ": empty", "X-Bare-Lf: a\nX-After: b"],
    *["Content-Length: 2", "Content-Length: +2", "Content-Length: 2, 2", "Content-Length: 99999999999999999999", "Content-Length : 2"],
    *["Content-Length: -1", "Content-Length: 0x2", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "transfer-encoding: identity"],
    *["Transfer-Encoding: gzip, chunked", "Content-Length: 2\r\n 3"],
]  # fmt: skip
MOSTLY_GOOD = [
    field for field in FIELDS if not field.lower().startswith(("content-length", "transfer-", "expect", "upgrade"))
]
VERSIONS = ["HTTP/1.1"] * 60 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]
BODIES = [
    b"",
    b"{}",
    b"{}",
    b'{"q":"a"}',
    b'{"q":1}',
    b'{"b":1,"a":[1.0,2e3]}',
    b"not json",
    b"\xff\xfe",
    b'{"a":1,"a":2}',
    b"[" * 5000,
]
SIZES = [100, 101, 4_000, 16_383, 16_384, 16_500, 65_535, 65_536, 65_537, 70_000]

bodies = st.one_of(
    *[st.sampled_from(BODIES)] * 4, st.sampled_from(SIZES).map(lambda size: b'"' + b"x" * (size - 2) + b'"')
)


@st.composite
def requests(draw: st.DrawFn, *, odd: bool) -> Said:
    """A request, in pieces; an `odd` one may be framed in ways that no client does."""
    method, body = draw(st.sampled_from(METHODS)), draw(bodies)
    fields = draw(st.lists(st.sampled_from(FIELDS if odd else MOSTLY_GOOD), max_size=4))
    if body and not (odd and draw(st.booleans())):
        fields.insert(
            draw(st.integers(0, len(fields))),
            draw(st.sampled_from(["Content-Length", "content-LENGTH"])) + f": {len(body)}",
        )
    host, path, version = draw(st.sampled_from(HOSTS)), draw(st.sampled_from(PATHS)), draw(st.sampled_from(VERSIONS))
    lines = [f"{method} {path} {version}", *draw(st.permutations([host, *fields])), "\r\n"]
    data = "\r\n".join(lines).encode("latin-1") + body
    cuts = draw(st.one_of(st.just([]), st.just([]), st.lists(st.integers(0, len(data)), max_size=3)))
    at = [0, *sorted(cuts), len(data)]
    return Said(tuple(data[start:end] for start, end in pairwise(at) if start < end), bodyless=method == "HEAD")


def in_run(conversation: list[Said]) -> list[Said]:
    """In a run of its own, and none is known from earlier examples by its head."""
    run = next(_runs).encode()
    return [said._replace(pieces=_placed(said.pieces, run)) for said in conversation]


def _placed(pieces: tuple[bytes, ...], run: bytes) -> tuple[bytes, ...]:
    return tuple(piece.replace(b"@RUN@", run) for piece in pieces)


@settings(playing, max_examples=150)
@given(conversation=st.lists(requests(odd=False), min_size=1, max_size=4))
async def test_requests_come_to_the_same(both: Twins, conversation: list[Said]) -> None:
    assert_alike(*await both.play(in_run(conversation)))


@settings(playing, max_examples=60)
@given(conversation=st.lists(requests(odd=True), min_size=1, max_size=2))
async def test_odd_requests_come_to_the_same(both: Twins, conversation: list[Said]) -> None:
    assert_alike(*await both.play(in_run(conversation)))


@settings(playing, max_examples=30)
@given(said=requests(odd=False), times=st.integers(2, 4))
async def test_a_request_that_comes_again_comes_to_the_same(both: Twins, said: Said, times: int) -> None:
    assert_alike(*await both.play(in_run([said] * times)))


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333%x-01"
VALUES = {
    "Agent-Run-Id": ["@RUN@", "@RUN@.a", "@RUN@.b", "bad run", "mcp-" + "a" * 32],
    "Agent-Step": ["1", "2", str(MAX_STEP), "03", "x"],
    "traceparent": [TRACE % 1, TRACE % 2, TRACE % 3, "00-0-0-0"],
    "X-Request-ID": ["q1", "q2", "%b", "q\xe9", "q 1", "q\r\n 1", "q\nX-After: b", "q\r\nTransfer-Encoding: chunked"],
    "Content-Length": ["", "", "", "", "", "0", "0@", "+@", "@ ", "@, @", "@\r\ncontent-length:\t@"],
}
"""Usual ones first. @: the body's real length, as where nothing stands."""


BESIDE = [
    "Agent-Step:\t4",
    "traceparent:\t" + TRACE % 9,
    "X-Request-Id:  q",
    f"X-Mine: {MAX_STEP}",
    f"Agent-Token: {TOKEN}",
]
"""In all of them: other spellings, and what looks like a value."""


@st.composite
def alike(draw: st.DrawFn) -> list[Said]:
    """Requests whose heads differ in these values alone, mostly."""
    path = draw(
        st.sampled_from(
            ["/tools/search.read"] * 3 + ["/runs/@RUN@/tools/search.read", "/tools/form.read", "/tools/small.read"]
        )
    )
    names = draw(st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=4, unique=True))
    names += [] if "Content-Length" in names else ["Content-Length"]
    beside = draw(st.lists(st.sampled_from(BESIDE), max_size=1))
    found = []
    for number in range(draw(st.integers(3, 6))):
        lines, body = (
            [f"POST {path} HTTP/1.1", "Host: localhost", *beside],
            draw(st.sampled_from([*BODIES[1:6], b" " * 100 + b"{}"])),
        )
        for name in names:
            value = draw(st.sampled_from(VALUES[name][:3] if number < 2 or draw(st.booleans()) else VALUES[name]))
            value = (value or "@").replace("@", str(len(body))) if name == "Content-Length" else value
            lines.append(f"{name}: {value}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        cut = len(head) + draw(st.sampled_from([-len(head), -len(head), -len(head), -3, -1, 0, 1]))
        found.append(Said(tuple(piece for piece in ((head + body)[:cut], (head + body)[cut:]) if piece)))
    return found


@settings(playing, max_examples=60)
@given(conversation=alike())
async def test_requests_that_differ_in_a_few_values_come_to_the_same(both: Twins, conversation: list[Said]) -> None:
    assert_alike(*await both.play(in_run(conversation)))


async def test_where_the_next_request_begins_is_told_by_one_of_them_only(both: Twins) -> None:
    """A length that the lane does not read; then the end of that body, which looks like a head with a length, and in one piece with it part
    of the next request.
    """
    looks_whole = b"\r\nContent-Length: 9\r\n\r\n"
    head = b"POST /tools/search.read HTTP/1.1\r\nHost: localhost\r\nContent-Length: %010d\r\n\r\n" % len(looks_whole)
    first = Said((head, looks_whole + b"GET /heal"))
    known = Said((request("POST /tools/search.read", body=b"{}"),))
    assert_alike(*await both.play([known, known, first, known]))


# -- replies

STATUS_LINES = ["HTTP/1.1 200 OK"] * 20 + [
    *["HTTP/1.1 201 Created", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 299 Odd", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content"],
    *["HTTP/1.1 205 Reset Content", "HTTP/1.1 206 Partial Content", "HTTP/1.1 301 Moved", "HTTP/1.1 302 Found", "HTTP/1.1 304 Same"],
    *["HTTP/1.1 400 Bad", "HTTP/1.1 404 Not Found", "HTTP/1.1 409 Conflict", "HTTP/1.1 429 Slow", "HTTP/1.1 500 Oops"],
    *["HTTP/1.1 502 Bad", "HTTP/1.1 503 Busy", "HTTP/1.1 504 Late", "HTTP/1.1 600 Odd", "HTTP/1.1 101 Switching", "HTTP/1.2 200 OK"],
    *["HTTP/2.0 200 OK", "HTTP/1.1 20 OK", "ICY 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1 200 caf\xe9", "http/1.1 200 OK"],
]  # fmt: skip
REPLY_FIELDS = [
    *["Date: Thu, 01 Jan 1970 00:00:00 GMT"] * 3,
    *["Server: theirs", "server:theirs", "Set-Cookie: a=b\r\nSet-Cookie: c=d", "Content-Type: application/json", "X-Mine: 1\r\nx-mine: 2"],
    *["Content-Type: text/event-stream", "Content-Encoding: gzip", "ETag: \"a\"", "Retry-After: 0", "Retry-After: x"],
    *["Location: /elsewhere", "Location: http://127.0.0.1:@PORT@/search.read/x", "Location: https://other.example/", "location: x?y#z"],
    *["Location: http://[::1", "Location:", "Location: /caf\xc3\xa9", "Location: //127.0.0.1:@PORT@/files/a"],
    *["Connection: close", "Connection: keep-alive", "Connection: X-Mine", "Keep-Alive: timeout=1", "Trailer: X", "Upgrade: h2c"],
    *["Tool-Gateway-Reason: ok", "Tool-Gateway-Call-Id: 0", "X-Latin: caf\xe9", "X-Utf: caf\xc3\xa9", "X-Empty:", "X-Spaced: \t a \t"],
    *["X-Folded: a\r\n b", "X-Bell: \x07", "X-Nul: \0", "X Blank: 1", "X-Blank : 1", ": empty", "nothing", "X-Long: " + "l" * 40_000],
    *["X-Bare-Lf: a\nX-After: b", "Content-Length: 5", "Content-Length: 3, 3", "Content-Length: +3", "Transfer-Encoding: chunked"],
    *["Transfer-Encoding: gzip", "Proxy-Authenticate: Basic", "WWW-Authenticate: Basic", "Via: 1.1 theirs", "Vary: *"],
]  # fmt: skip
PLAIN_FIELDS = REPLY_FIELDS[:21]
BEFORE = [b""] * 12 + [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 2,
    b"\r\n",
    b"HTTP/1.1 100 C\r\n\r\n" * 20,
]
BEHIND = [b""] * 20 + [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"0\r\n\r\n"]
REPLY_SIZES = [0, 1, 11, 100, 101, 1000, 16_384, 65_535, 65_536, 65_537, 200_000]
FRAMINGS = ["length"] * 10 + ["chunked", "close", "short", "none"]


@st.composite
def replies(draw: st.DrawFn, *, odd: bool) -> Spoken:
    """A reply in pieces, cut where it may hurt."""
    line = draw(st.sampled_from(STATUS_LINES))
    fields = draw(st.lists(st.sampled_from(REPLY_FIELDS if odd else PLAIN_FIELDS), max_size=4))
    body = b"b" * draw(st.sampled_from(REPLY_SIZES[:6] * 4 + REPLY_SIZES[6:]))
    framing = draw(st.sampled_from(FRAMINGS))
    end = draw(st.sampled_from(["stay"] * 12 + ["close", "reset"]))
    if framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:]) if part) + b"0\r\n\r\n"
    elif framing != "close":
        fields.append(f"content-length:{len(body) + (framing == 'short')}")
    if framing in ("close", "short", "none"):
        end = "close late"  # without, both wait for what never comes
    data = "\r\n".join([line, *draw(st.permutations(fields)), "\r\n"]).encode("latin-1")
    data = draw(st.sampled_from(BEFORE)) + data + body
    cuts = draw(st.one_of(st.just([]), st.just([]), st.lists(st.integers(0, len(data)), max_size=3)))
    if not cuts and len(body) < 2000:
        data += draw(st.sampled_from(BEHIND))  # in pieces, it would be chance what the parser sees together
    if framing == "none":
        data = data[: draw(st.integers(0, len(data)))]
    at = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return Spoken(tuple(data[start:stop] for start, stop in pairwise(at) if start < stop), end)


ASKING = [
    request("POST /tools/search.read", body=b"{}"),
    request("GET /tools/search.read"),
    request("POST /runs/@RUN@/tools/notes.write", f"Agent-Token: {TOKEN}", body=b'{"a":1}'),
    request("GET /native/a/b"),
    request("GET /tools/files.get/a/b?c"),
    request("POST /tools/small.read", body=b"{}"),
    request("POST /_gateway/native/native/a"),
    request("GET /tools/stream.read"),
    request("POST /tools/keyed.write", body=b"{}"),
    request("POST /tools/own.read", "Authorization: Bearer x", body=b"{}"),
]
asking = st.sampled_from([*ASKING[:3] * 4, *ASKING]).map(lambda data: Said((data,)))


def placed(script: list[Spoken], port: int) -> list[Spoken]:
    """On the upstream's own origin."""
    own = b"%d" % port
    return [said._replace(pieces=tuple(piece.replace(b"@PORT@", own) for piece in said.pieces)) for said in script]


@settings(playing, max_examples=100)
@given(st.lists(asking, min_size=1, max_size=4), st.lists(replies(odd=False), min_size=1, max_size=5))
async def test_replies_come_to_the_same(both: Twins, conversation: list[Said], script: list[Spoken]) -> None:
    assert_alike(*await both.play(in_run(conversation), placed(script, both.upstream.port)))


@settings(playing, max_examples=60)
@given(st.lists(asking, min_size=1, max_size=2), st.lists(replies(odd=True), min_size=1, max_size=3))
async def test_odd_replies_come_to_the_same(both: Twins, conversation: list[Said], script: list[Spoken]) -> None:
    assert_alike(*await both.play(in_run(conversation), placed(script, both.upstream.port)))
