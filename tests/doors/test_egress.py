"""The egress door over sockets: what clients send with HTTP_PROXY set, judged and relayed to the one target (SPEC 2, 3 and 11)."""

import asyncio
import json
import ssl
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, reset, status
from tests.doors.wire import Answer, ask, dial
from tests.upstreams.loopback import always, free_port, loopback, reply

ALL = ("http.get", "http.head", "http.post", "http.put", "http.patch", "http.delete", "http.options")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
BILLING = {"billing": {"token": "${env:BILLING_TOKEN}", "allowlist": ["http.*"]}}
TOKENS = {"BILLING_TOKEN": "billing-token"}


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def policy(
    tool: ToolServer,
    *names: str,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    ports: tuple[int, ...] = (),
    private: bool = True,
    definitions: dict[str, Any] | None = None,
    **sections: Any,
) -> str:
    egress = {
        "allow_hosts": [*hosts],
        "ports": [port_of(tool.url), *ports],
        "allow_private": ["127.0.0.0/8"] if private else [],
    }
    tools = {name: (definitions or {}).get(name, {}) for name in names or ALL}
    return policy_of(tools, egress=egress, **sections)


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy(tool))


def proxied(line: str, *fields: str, body: bytes = b"", host: str = "elsewhere.example") -> bytes:
    """A request as a client with HTTP_PROXY writes it."""
    lines = [f"{line} HTTP/1.1", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


def basic(credentials: str) -> str:
    return f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}"


async def send(running: Running, line: str, *fields: str, body: bytes = b"") -> Answer:
    bodyless = line.startswith("HEAD ")
    return await ask(running.gateway.data_url, proxied(line, *fields, body=body), bodyless=bodyless)


def refused(answer: Answer, code: int, reason: str) -> str:
    """Checks a denial; its sentence."""
    problem = answer.problem()
    assert (answer.status, problem["status"], problem["reason"]) == (code, code, reason), problem
    return str(problem["detail"])


# What goes out


async def test_a_proxied_request_reaches_its_target_as_it_was_sent(running: Running, tool: ToolServer) -> None:
    path = '/a/../b/%2e%2E//c;x=1/%2f%00%zz?q=%7e&r=a|b{}^`"<>\\'
    answer = await send(running, f"GET {tool.url}{path}", basic("r1:"))
    assert (answer.status, answer.body, answer.header("Tool-Gateway-Reason")) == (200, b'{"ok": true}', "ok")
    assert str(answer.header("Tool-Gateway-Remaining")).startswith("tool_calls=11,")
    assert [(r.method, r.path, r.body) for r in tool.received] == [("GET", path, b"")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_each_method_is_a_tool_of_its_own(running: Running, tool: ToolServer, method: str) -> None:
    body = b"" if method == "HEAD" else b"some bytes"
    answer = await send(running, f"{method} {tool.url}/x", body=body)
    assert answer.status == 200
    assert [(r.method, r.path, r.body) for r in tool.received] == [(method, "/x", body)]
    record = await running.seen.ended()
    assert (record.door, record.tool) == (Door.EGRESS, f"http.{method.lower()}")
    assert record.effect is (Effect.READ if method in ("GET", "HEAD") else Effect.WRITE)
    assert (record.bytes_in, record.args) == (len(body), body)


async def test_only_methods_that_are_allowed_as_tools_go_out(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, "http.get"))
    detail = refused(await send(running, f"POST {tool.url}/", body=b"x"), 403, "tool_not_allowed")
    assert "http.post" in detail
    assert tool.calls == 0


async def test_a_method_that_is_no_tool_is_405(running: Running, tool: ToolServer) -> None:
    answer = await send(running, f"PROPFIND {tool.url}/")
    refused(answer, 405, "invalid_request")
    assert answer.header("Allow") == "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    assert tool.calls == 0


async def test_end_to_end_headers_pass_and_nothing_else_does(running: Running, tool: ToolServer) -> None:
    fields = (
        basic("r1:"),
        "Authorization: Bearer the-targets-own",
        "Cookie: a=b",
        "Origin: https://page.example",
        "Idempotency-Key: k1",
        "Via: 1.1 before",
        "Forwarded: for=10.0.0.1",
        "X-Own: 1",
        TRACEPARENT,
        "Agent-Id: x",
        "Agent-Step: 3",
        "Agent-Token: t",
        "Tool-Gateway-Attempt: 9",
        "Connection: close, X-Hop",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "X-Hop: 1",
    )
    assert (await send(running, f"GET {tool.url}/", *fields)).status == 200
    [received] = tool.received
    assert received.headers == {
        "Host": tool.url.removeprefix("http://"),
        "Authorization": "Bearer the-targets-own",
        "Cookie": "a=b",
        "Origin": "https://page.example",
        "Idempotency-Key": "k1",
        "Via": "1.1 before",
        "Forwarded": "for=10.0.0.1",
        "X-Own": "1",
        "traceparent": TRACEPARENT.partition(": ")[2],
    }


@pytest.mark.parametrize("meant_for_the_proxy", ["Bearer billing-token", basic("r1:billing-token").partition(": ")[2]])
async def test_an_agents_token_never_reaches_a_target(
    start: StartGateway, tool: ToolServer, meant_for_the_proxy: str
) -> None:
    running = await start(policy(tool, agents=BILLING), **TOKENS)
    credentials, authorization = basic("r1:billing-token"), f"Authorization: {meant_for_the_proxy}"
    assert (await send(running, f"GET {tool.url}/", credentials, authorization)).status == 200
    assert "Authorization" not in tool.received[0].headers
    twice = await send(running, f"GET {tool.url}/", credentials, "Authorization: Bearer theirs", authorization)
    refused(twice, 400, "invalid_request")
    assert tool.calls == 1


async def test_the_targets_answer_comes_back_whole_cookies_and_redirects_too(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = status(302, Location="/next", Set_Cookie="a=1", X_Target="1", Tool_Gateway_Reason="planted")
    answer = await send(running, f"GET {tool.url}/a")
    assert (answer.status, answer.header("Location"), answer.header("Set-Cookie")) == (302, "/next", "a=1")
    assert (answer.header("X-Target"), answer.header("Tool-Gateway-Reason")) == ("1", "ok")
    assert [r.path for r in tool.received] == ["/a"]


async def test_an_error_of_the_targets_is_relayed(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(404)
    answer = await send(running, f"GET {tool.url}/")
    assert (answer.status, answer.body, answer.header("Tool-Gateway-Reason")) == (404, b'{"status": 404}', "tool_error")


async def test_head_is_answered_without_a_body(running: Running, tool: ToolServer) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(proxied(f"HEAD {tool.url}/"))
        answer = await wire.answer(bodyless=True)
        assert (answer.status, answer.header("Content-Length")) == (200, "12")
        await wire.say(proxied(f"GET {tool.url}/"))
        assert (await wire.answer()).body == b'{"ok": true}'


async def test_one_connection_serves_requests_to_many_targets(start: StartGateway, tool: ToolServer) -> None:
    async with ToolServer() as other:
        running = await start(policy(tool, ports=(port_of(other.url),)))
        async with dial(running.gateway.data_url) as wire:
            await wire.say(b"".join(proxied(f"GET {url}/{n}") for n, url in enumerate((tool.url, other.url, tool.url))))
            assert [(await wire.answer()).status for _ in range(3)] == [200, 200, 200]
        assert [r.path for r in tool.received] == ["/0", "/2"]
        assert [r.path for r in other.received] == ["/1"]


async def test_http_1_0_is_served(running: Running, tool: ToolServer) -> None:
    answer = await ask(running.gateway.data_url, f"GET {tool.url}/x HTTP/1.0\r\n\r\n".encode())
    assert (answer.status, tool.received[0].headers["Host"]) == (200, tool.url.removeprefix("http://"))


async def test_https_in_absolute_form_is_encrypted_and_verified_by_the_gateway(
    start: StartGateway, tool: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    async with loopback(always(reply(b"safe")), tls=context) as server:
        running = await start(policy(tool, ports=(server.port,)))
        detail = refused(await send(running, f"GET https://127.0.0.1:{server.port}/"), 502, "upstream_failed")
        assert "certificate" in detail
    async with loopback(always(reply(b"safe")), tls=context) as server:
        with ca.cert_pem.tempfile() as path:
            monkeypatch.setenv("SSL_CERT_FILE", path)
            running = await start(policy(tool, ports=(server.port,)))
            assert (await send(running, f"GET https://127.0.0.1:{server.port}/")).body == b"safe"


# Bodies


async def test_a_large_body_streams_in_chunks(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool))
    body = bytes(range(256)) * 1200
    async with dial(running.gateway.data_url) as wire:
        await wire.say(proxied(f"POST {tool.url}/up", "Transfer-Encoding: chunked"))
        for at in range(0, len(body), 50_000):
            piece = body[at : at + 50_000]
            await wire.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.say(b"0\r\n\r\n")
        assert (await wire.answer()).status == 200
    [received] = tool.received
    assert received.body == body
    assert "Content-Length" not in received.headers
    record = await running.seen.ended()
    assert (record.bytes_in, record.args_hash) == (len(body), sha256(body).hexdigest())


async def test_a_large_answer_streams(running: Running, tool: ToolServer) -> None:
    body = bytes(range(256)) * 1200

    async def large(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    tool.behaviour = large
    assert (await send(running, f"GET {tool.url}/")).body == body


async def test_a_body_beyond_the_tools_limit_is_refused(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, definitions={"http.post": {"max_request_bytes": 10}}))
    refused(await send(running, f"POST {tool.url}/", body=b"x" * 11), 413, "request_too_large")
    assert tool.calls == 0


async def test_an_idempotency_key_is_the_targets_own_matter(running: Running, tool: ToolServer) -> None:
    for body in (b"one", b"one", b"two"):
        answer = await send(running, f"POST {tool.url}/", "Idempotency-Key: k1", body=body)
        assert (answer.status, answer.header("Tool-Gateway-Reason")) == (200, "ok")
    assert [r.headers["Idempotency-Key"] for r in tool.received] == ["k1"] * 3


@pytest.mark.parametrize(
    ("fields", "body", "code"),
    [
        (("Content-Length: 3", "Transfer-Encoding: chunked"), b"0\r\n\r\n", 400),
        (("Content-Length: 3", "Content-Length: 4"), b"abcd", 400),
        (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n", 501),
        (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), b"0\r\n\r\n", 400),
        (("X-A: 1\r\n folded",), b"", 400),
        (("X-A : 1",), b"", 400),
        (("Expect: 200-maybe",), b"", 417),
    ],
)
async def test_what_two_parsers_could_read_differently_is_refused(
    running: Running, tool: ToolServer, fields: tuple[str, ...], body: bytes, code: int
) -> None:
    answer = await ask(running.gateway.data_url, proxied(f"POST {tool.url}/", *fields) + body)
    refused(answer, code, "invalid_request")
    assert tool.calls == 0


async def test_framing_is_written_anew_whatever_the_caller_says_of_it(running: Running, tool: ToolServer) -> None:
    fields = ("Transfer-Encoding: chunked", "Connection: Content-Length, Host, Transfer-Encoding")
    answer = await ask(running.gateway.data_url, proxied(f"POST {tool.url}/", *fields) + b"3\r\nabc\r\n0\r\n\r\n")
    assert answer.status == 200
    [received] = tool.received
    assert (received.body, received.headers) == (
        b"abc",
        {"Host": tool.url.removeprefix("http://"), "Content-Length": "3"},
    )


# Who calls, and for which run


@pytest.mark.parametrize(
    ("fields", "agent", "run"),
    [
        ((), "default", None),
        ((basic("r1:"),), "default", "r1"),
        ((basic("r1:billing-token"),), "billing", "r1"),
        ((basic(":billing-token"),), "billing", None),
        ((basic(":"),), "default", None),
        ((basic("r1:billing-token"), "Agent-Run-Id: r2", "baggage: agent.run_id=r3", TRACEPARENT), "billing", "r1"),
        ((basic(":"), "Agent-Run-Id: r2", "baggage: agent.run_id=r3", TRACEPARENT), "default", "r2"),
        (("baggage: agent.run_id=r3", TRACEPARENT), "default", "r3"),
        ((TRACEPARENT,), "default", TRACE),
        (("Agent-Id: support", "Agent-Token: billing-token", "Authorization: Bearer billing-token"), "default", None),
        (("proxy-authorization:   bAsIc   cjE6YmlsbGluZy10b2tlbg== ",), "billing", "r1"),
    ],
)
async def test_identity_is_what_the_proxy_url_says(
    start: StartGateway, tool: ToolServer, fields: tuple[str, ...], agent: str, run: str | None
) -> None:
    agents = BILLING | {"support": {"allowlist": ["http.*"]}}
    running = await start(policy(tool, agents=agents, runs={"identify_by_trace": True}), **TOKENS)
    assert (await send(running, f"GET {tool.url}/", *fields)).status == 200
    record = await running.seen.ended()
    assert (record.agent_id, record.run_id) == (agent, run)
    assert record.trace_id == (TRACE if TRACEPARENT in fields else None)


async def test_the_fixed_agent_of_a_sidecar_cannot_be_spoofed(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, agents=BILLING), GATEWAY_AGENT_ID="sidecar", **TOKENS)
    for password in ("", "billing-token", "no-token-at-all"):
        assert (await send(running, f"GET {tool.url}/", basic(f"r1:{password}"))).status == 200
    assert [(r.agent_id, r.run_id) for r in running.seen.records] == [("sidecar", "r1")] * 3


async def test_an_announced_step_is_the_targets_header_and_nothing_more(running: Running, tool: ToolServer) -> None:
    answer = await send(running, f"GET {tool.url}/", basic("r1:"), "Agent-Step: 20")
    assert "steps=25" in str(answer.header("Tool-Gateway-Remaining"))


@pytest.mark.parametrize(
    "fields",
    [
        (basic("r1:planted"),),
        (basic("planted"),),
        ("Proxy-Authorization: Bearer cjE6YmlsbGluZy10b2tlbg==",),
        ("Proxy-Authorization: Basic cjE6!YmlsbGluZy10b2tlbg==",),
        ("Proxy-Authorization: Basic planted!",),
        ("Proxy-Authorization: Basic /w==",),
        ("Proxy-Authorization: Basic",),
        ("Proxy-Authorization:",),
        (basic("r1:billing-token"), basic("r1:billing-token")),
    ],
)
async def test_credentials_that_are_wrong_are_asked_for_again(
    start: StartGateway, tool: ToolServer, fields: tuple[str, ...]
) -> None:
    running = await start(policy(tool, agents=BILLING), **TOKENS)
    answer = await send(running, f"GET {tool.url}/", *fields)
    refused(answer, 407, "unauthenticated")
    assert answer.header("Proxy-Authenticate") == 'Basic realm="tool-gateway"'
    assert answer.header("WWW-Authenticate") is None
    assert b"planted" not in answer.body
    assert tool.calls == 0
    record = await running.seen.ended()
    assert (record.door, record.reason, record.status) == (Door.EGRESS, Reason.UNAUTHENTICATED, 407)


async def test_who_says_nothing_is_asked_where_it_could_help(start: StartGateway, tool: ToolServer) -> None:
    """Browsers send a proxy no credentials before it asks for them."""
    closed = BILLING | {"default": {"allowlist": []}}
    running = await start(policy(tool, agents=closed), **TOKENS)
    answer = await send(running, f"GET {tool.url}/")
    refused(answer, 407, "unauthenticated")
    assert answer.header("Proxy-Authenticate") == 'Basic realm="tool-gateway"'
    assert (await send(running, f"GET {tool.url}/", basic("r1:billing-token"))).status == 200
    refused(await send(running, f"GET {tool.url}/", basic("r1:")), 403, "tool_not_allowed")
    assert tool.calls == 1


async def test_who_names_no_run_is_asked_for_one_where_there_must_be_one(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, runs={"anonymous": "deny"}), GATEWAY_AGENT_ID="sidecar")
    answer = await send(running, f"GET {tool.url}/")
    assert "http://RUN_ID:TOKEN@HOST:PORT" in refused(answer, 407, "run_id_required")
    assert answer.header("Proxy-Authenticate") == 'Basic realm="tool-gateway"'
    refused(await send(running, f"GET {tool.url}/", basic(":")), 403, "run_id_required")
    assert tool.calls == 0
    assert (await send(running, f"GET {tool.url}/", basic("r1:"))).status == 200


@pytest.mark.parametrize(
    "variables_and_sections",
    [
        ({}, {}),
        ({"GATEWAY_AGENT_ID": "sidecar"}, {"agents": BILLING | {"sidecar": {"allowlist": []}}}),
    ],
)
async def test_who_says_nothing_is_refused_like_anybody_where_credentials_cannot_help(
    start: StartGateway, tool: ToolServer, variables_and_sections: tuple[dict[str, str], dict[str, Any]]
) -> None:
    variables, sections = variables_and_sections
    running = await start(policy(tool, "http.get", **sections), **TOKENS, **variables)
    refused(await send(running, f"POST {tool.url}/"), 403, "tool_not_allowed")


async def test_a_run_id_that_is_none_is_refused(running: Running, tool: ToolServer) -> None:
    refused(await send(running, f"GET {tool.url}/", basic("not a run:")), 400, "invalid_request")
    assert tool.calls == 0


# Where it may go


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://elsewhere.example/", "egress.allow_hosts"),
        ("http://127.0.0.2:{port}/", "egress.allow_hosts"),
        ("http://127.0.0.1:1/", "egress.ports"),
        ("https://127.0.0.1/", "egress.ports"),
        ("http://localhost:{port}/", "egress.allow_hosts"),
    ],
)
async def test_what_the_rules_do_not_list_is_refused_before_anything_is_sent(
    running: Running, tool: ToolServer, url: str, rule: str
) -> None:
    url = url.format(port=port_of(tool.url))
    answer = await ask(running.gateway.data_url, proxied(f"GET {url}", basic("r1:"), host=tool.url[7:]))
    assert rule in refused(answer, 403, "egress_not_allowed")
    assert (answer.header("Tool-Gateway-Attempts"), answer.header("x-should-retry")) == ("0", "false")
    assert str(answer.header("Tool-Gateway-Remaining")).startswith("tool_calls=12,")
    assert tool.calls == 0


async def test_a_listed_host_at_an_address_that_is_not_public_is_refused(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, private=False))
    assert "allow_private" in refused(await send(running, f"GET {tool.url}/"), 403, "egress_not_allowed")
    assert tool.calls == 0


@pytest.mark.parametrize(
    "target",
    [
        "ftp://127.0.0.1/",
        "ws://127.0.0.1/",
        "http://planted:secret@127.0.0.1:{port}/",
        "http://planted@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@planted.example/",
        "http://127.1:{port}/",
        "http://0x7f000001:{port}/",
        "http://2130706433:{port}/",
        "http://%31%32%37.0.0.1:{port}/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:/",
        "http:///planted",
        "http:planted",
        "planted",
        "planted:80",
        "http://[::1%25lo]:{port}/",
        "http://127.0.0.1\\.planted.example/",
    ],
)
async def test_a_target_that_is_written_oddly_is_refused(running: Running, tool: ToolServer, target: str) -> None:
    answer = await send(running, f"GET {target.format(port=port_of(tool.url))}")
    refused(answer, 400, "invalid_request")
    assert b"planted" not in answer.body
    assert b"secret" not in answer.body
    assert tool.calls == 0


async def test_the_target_decides_and_no_host_header(running: Running, tool: ToolServer) -> None:
    for host in ("169.254.169.254", "localhost", "evil.example:1", ""):
        answer = await ask(running.gateway.data_url, proxied(f"GET {tool.url}/", host=host))
        assert answer.status == 200
    assert {r.headers["Host"] for r in tool.received} == {tool.url.removeprefix("http://")}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]", "gateway"])
async def test_a_base_url_called_through_the_proxy_is_told_of_no_proxy(
    running: Running, tool: ToolServer, host: str
) -> None:
    own = port_of(running.gateway.data_url)
    for target in (f"http://{host}:{own}/tools/search.read", f"https://{host}:{own}/"):
        detail = refused(await send(running, f"POST {target}", body=b"{}"), 403, "egress_not_allowed")
        assert "the gateway itself" in detail
        assert "NO_PROXY=" in detail


@pytest.mark.parametrize("mode", ["enforce", "report"])
@pytest.mark.parametrize("line", ["GET http://{host}:{port}/healthz", "CONNECT {host}:{port}"])
async def test_the_gateways_listeners_are_refused_whatever_the_policy_allows(
    start: StartGateway, tool: ToolServer, line: str, mode: str
) -> None:
    data, admin = free_port(), free_port()
    running = await start(
        policy(tool, "http.get", "http.connect", hosts=("*",), ports=(data, admin), mode=mode),
        GATEWAY_LISTEN=f"127.0.0.1:{data}",
        GATEWAY_ADMIN_LISTEN=f"127.0.0.1:{admin}",
    )
    for port in (data, admin):
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            answer = await send(running, line.format(host=host, port=port))
            detail = refused(answer, 403, "egress_not_allowed")
            assert "the gateway itself" in detail
            assert "NO_PROXY" in detail


async def test_a_name_without_an_address_is_a_target_that_failed(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, hosts=("no-such-host.invalid",)))
    answer = await send(running, f"GET http://no-such-host.invalid:{port_of(tool.url)}/")
    refused(answer, 502, "upstream_failed")


async def test_the_door_has_no_run_prefix_and_no_reserved_paths(running: Running, tool: ToolServer) -> None:
    for path in ("/runs/r1/tools/http.get", "/healthz", "/_gateway/runs/r1", "/mcp/x", "/tools/http.get"):
        assert (await send(running, f"GET {tool.url}{path}")).status == 200
    assert all(record.run_id is None for record in running.seen.records)
    assert [r.path for r in tool.received][:2] == ["/runs/r1/tools/http.get", "/healthz"]


async def test_writes_are_no_tools_of_the_tool_path(running: Running, tool: ToolServer) -> None:
    for name in ("http.post", "http.delete", "http.connect"):
        answer = await send(running, f"POST /tools/{name}", "Host: localhost")
        assert answer.status == 400
    body = json.dumps({"url": tool.url}).encode()
    lines = f"POST /tools/http.post HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await ask(running.gateway.data_url, lines.encode() + body)
    assert "HTTP_PROXY" in refused(answer, 400, "invalid_request")
    assert tool.calls == 0


# What holds at every door


async def test_a_thousand_parallel_requests_against_twelve_admit_exactly_twelve(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(policy(tool))
    answers = await asyncio.gather(*(send(running, f"GET {tool.url}/", basic("r1:")) for _ in range(1000)))
    assert sorted({answer.status for answer in answers}) == [200, 403]
    assert sum(answer.status == 200 for answer in answers) == tool.calls == 12
    assert {answer.problem()["reason"] for answer in answers if answer.status == 403} == {"max_tool_calls"}


@pytest.mark.parametrize(
    ("scope", "method", "reason"),
    [
        ("all", "GET", "kill_switch"),
        ("writes", "POST", "kill_switch"),
        ("tool:http.*", "GET", "kill_switch"),
        ("run:r1", "GET", "kill_switch"),
        ("agent:default", "GET", "agent_disabled"),
    ],
)
async def test_kill_switches_reach_it(running: Running, tool: ToolServer, scope: str, method: str, reason: str) -> None:
    await running.kill(scope)
    refused(await send(running, f"{method} {tool.url}/", basic("r1:")), 403, reason)
    assert tool.calls == 0
    assert await running.restore(scope) == 200
    assert (await send(running, f"{method} {tool.url}/", basic("r1:"))).status == 200


async def test_a_kill_cuts_what_is_under_way(running: Running, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    asking = asyncio.create_task(send(running, f"POST {tool.url}/", body=b"x"))
    await tool.seen()
    await running.kill("tool:http.post", cancel_in_flight=True)
    assert "may have run" in refused(await asking, 403, "kill_switch")
    await tool.left()


async def test_a_read_is_tried_again_and_a_write_is_not(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(503), reset]
    answer = await send(running, f"GET {tool.url}/")
    assert (answer.status, answer.header("Tool-Gateway-Attempts"), tool.calls) == (200, "3", 3)
    tool.replies = [reset, status(503)]
    refused(await send(running, f"POST {tool.url}/", body=b"x"), 424, "outcome_unknown")
    answer = await send(running, f"POST {tool.url}/", body=b"x")
    assert (answer.status, answer.header("Tool-Gateway-Reason"), tool.calls) == (503, "tool_error", 5)


async def test_a_target_that_hangs_times_out(start: StartGateway, tool: ToolServer) -> None:
    definitions = {"http.get": {"timeout_ms": 150, "retries": {"max": 0}}}
    running = await start(policy(tool, definitions=definitions))
    tool.behaviour = hang(asyncio.Event())
    refused(await send(running, f"GET {tool.url}/"), 504, "tool_timeout")


async def test_report_mode_lets_pass_what_it_reports(start: StartGateway, tool: ToolServer) -> None:
    agents = BILLING | {"default": {"allowlist": []}}
    running = await start(policy(tool, hosts=(), mode="report", agents=agents), **TOKENS)
    answer = await send(running, f"GET {tool.url}/")
    assert (answer.status, answer.header("Tool-Gateway-Mode")) == (200, "report")
    record = await running.seen.ended()
    assert (record.decision, record.report_reason) == (Decision.REPORT, Reason.TOOL_NOT_ALLOWED)


async def test_report_mode_lets_no_address_pass_that_is_not_public(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, hosts=(), mode="report", private=False))
    refused(await send(running, f"GET {tool.url}/"), 403, "egress_not_allowed")
    assert tool.calls == 0


async def test_a_candidate_is_asked_in_shadow(start: StartGateway, tool: ToolServer, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    candidate = json.loads(policy(tool, "http.get", hosts=("other.example",)))
    (tmp_path / "policies/candidate.yaml").write_text(json.dumps({k: candidate[k] for k in ("tools", "egress")}))
    running = await start(policy(tool, rollout={"canary_percent": 0}))
    assert running.gateway.policies.candidate is not None
    assert (await send(running, f"GET {tool.url}/")).status == 200
    assert (await send(running, f"POST {tool.url}/")).status == 200
    refused(await send(running, "GET http://other.example:1/"), 403, "egress_not_allowed")
    told = [record.candidate for record in running.seen.records]
    assert told == ["would_deny:egress_not_allowed", "would_deny:tool_not_allowed", "same"]


async def test_a_schema_holds_for_both_ways_to_fetch(start: StartGateway, tool: ToolServer) -> None:
    schema = {
        "type": "object",
        "properties": {"url": {"type": "string", "pattern": "^http://[^/]+/docs/"}},
        "required": ["url"],
    }
    running = await start(policy(tool, definitions={"http.get": {"arguments": schema}}))
    assert (await send(running, f"GET {tool.url}/docs/1")).status == 200
    allowed = f"{tool.url}/docs/1"
    refused(await send(running, f"GET {tool.url}/?url={allowed}"), 403, "arguments_not_allowed")
    body = json.dumps({"url": allowed}).encode()
    for line in (f"GET {tool.url}/secret", f"GET {allowed}"):
        refused(await send(running, line, body=body), 400, "invalid_request")
    assert tool.calls == 1


async def test_a_schema_of_a_write_is_asked_of_its_body(start: StartGateway, tool: ToolServer) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    running = await start(policy(tool, definitions={"http.post": {"arguments": schema}}))
    assert (await send(running, f"POST {tool.url}/", body=b'{"n": 1}')).status == 200
    refused(await send(running, f"POST {tool.url}/", body=b'{"n": "x"}'), 403, "arguments_not_allowed")
    for line, body in (("/", b"n=1"), ("/?n=1", b'{"n": 1}')):
        refused(await send(running, f"POST {tool.url}{line}", body=body), 400, "invalid_request")
    assert tool.calls == 1


async def test_the_record_tells_where_it_went_whichever_way(running: Running, tool: ToolServer) -> None:
    port = port_of(tool.url)
    written = f"HTTP://127.0.0.1:{port}/a?token=x"
    await send(running, f"GET {written}", basic("r1:"))
    body = json.dumps({"url": written}).encode()
    await ask(
        running.gateway.data_url,
        b"POST /tools/http.get HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    )
    proxied_one, fetched = running.seen.records
    assert proxied_one.target == fetched.target == f"http://127.0.0.1:{port}/a?token=x"
    assert (proxied_one.door, fetched.door) == (Door.EGRESS, Door.FETCH)
    assert (proxied_one.run_id, proxied_one.attempts, proxied_one.bytes_out) == ("r1", 1, 12)


async def test_a_refused_target_is_on_record_in_its_one_form(running: Running) -> None:
    await send(running, "GET http://EVIL.example./x")
    record = await running.seen.ended()
    assert (record.target, record.reason) == ("http://evil.example:80/x", Reason.EGRESS_NOT_ALLOWED)


async def test_calls_are_identical_where_method_target_and_body_are(running: Running, tool: ToolServer) -> None:
    hashes = []
    for line, body in (
        (f"POST {tool.url}/a", b"x"),
        (f"POST {tool.url.replace('http', 'HTTP')}/a", b"x"),
        (f"POST {tool.url}/b", b"x"),
        (f"POST {tool.url}/a?q", b"x"),
        (f"POST {tool.url}/a", b"y"),
        (f"PUT {tool.url}/a", b"x"),
    ):
        await send(running, line, body=body)
        hashes.append(running.seen.records[-1].args_hash)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5


async def test_a_run_that_repeats_itself_is_ended(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, runs={"max_identical_calls": 2}))
    answers = [await send(running, f"GET {tool.url}/", basic("r1:")) for _ in range(3)]
    refused(answers[2], 403, "loop_detected")
    assert tool.calls == 2
