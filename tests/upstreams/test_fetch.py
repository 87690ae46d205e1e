"""The fetch tool: where it goes, where it refuses to go, and what it carries along."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trustme

from gateway.model import Attempt, Reply, Target, UpstreamError
from gateway.policy.snapshot import Egress, Plan
from gateway.upstreams.fetch import Fetch
from gateway.upstreams.listeners import Listeners
from gateway.upstreams.outward import Outward
from tests.unit.made_up import PLAN
from tests.upstreams.calling import Names, an_attempt, whole
from tests.upstreams.loopback import Answer, Loopback, Request, always, free_port, loopback, reply

NAMES = {
    "a.example": ["127.0.0.1"],
    "b.example": ["127.0.0.1"],
    "inner.example": ["10.0.0.1"],
    "unlisted.example": ["127.0.0.1"],
}


def rules(
    *ports: int, hosts: tuple[str, ...] = ("a.example", "b.example", "inner.example"), private: bool = True
) -> Plan:
    egress = Egress(frozenset(hosts), frozenset(), False, frozenset(ports), ("127.0.0.1/32",) if private else ())
    return replace(PLAN, builtin=True, upstream=None, egress=egress)


def at(port: int, path: str = "/", host: str = "a.example") -> Target:
    return Target("http", host, port, path)


async def refusal(plan: Plan, target: Target, fetch: Fetch | None = None) -> tuple[UpstreamError, Attempt]:
    attempt = an_attempt("GET", body=b"")
    with pytest.raises(UpstreamError) as failed:
        await (fetch or Fetch(Outward(Names(**NAMES)))).send(attempt, plan, target)
    assert failed.value.kind == "egress_not_allowed"
    assert failed.value.sent == attempt.sent
    for internal in ("127.0.0.1", "10.0.0.1"):
        assert internal not in failed.value.detail
    return failed.value, attempt


async def get(server: Loopback, path: str = "/", method: str = "GET", **headers: str) -> Reply:
    attempt = an_attempt(method, headers=[(n.replace("_", "-"), v) for n, v in headers.items()], body=b"")
    return await Fetch(Outward(Names(**NAMES))).send(attempt, rules(server.port), at(server.port, path))


def routes(**answers: Callable[[Request], bytes]) -> Answer:
    async def answer(request: Request) -> None:
        name = request.line.split()[1].partition("?")[0].strip("/")
        await request.say(answers[name](request))

    return answer


async def test_an_allowed_host_is_fetched_as_asked_with_nothing_of_ours() -> None:
    headers = ["Set-Cookie: a=1", "Content-Type: text/plain", "set-cookie: b=2"]
    async with loopback(always(reply(b"hello", *headers))) as server:
        got = await get(server, "/x?y=%2F..", Accept="text/*", Tool_Gateway_Attempt="1", Agent_Run_Id="r1", X_Mine="z")
        assert (got.status, got.body) == (200, b"hello")
        assert got.headers == (("Content-Type", "text/plain"), ("Content-Length", "5"))
        (seen,) = server.requests
        assert seen.line == "GET /x?y=%2F.. HTTP/1.1"
        assert seen.headers == [
            ("Host", f"a.example:{server.port}"),
            ("Accept", "text/*"),
            ("X-Mine", "z"),
            ("User-Agent", "tool-gateway"),
        ]
        await server.closed()


async def test_the_callers_user_agent_stays() -> None:
    async with loopback(always(reply())) as server:
        await get(server, user_agent="mine")
        assert server.requests[0].header("User-Agent") == ["mine"]


async def test_a_streamed_body_arrives_and_its_connection_closes() -> None:
    async with loopback(always(reply(b"x" * 1_000_000))) as server:
        assert len(await whole(await get(server))) == 1_000_000
        await server.closed()


async def test_a_head_stays_a_head() -> None:
    def there(request: Request) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

    def moved(request: Request) -> bytes:
        return reply(b"", "Location: /there", status="303 See Other")

    async with loopback(routes(moved=moved, there=there)) as server:
        got = await get(server, "/moved", "HEAD")
        assert (got.status, got.body, got.length) == (200, b"", 10)
        assert [request.line.split()[0] for request in server.requests] == ["HEAD", "HEAD"]


async def test_a_host_or_port_that_is_not_listed_is_never_looked_up() -> None:
    names = Names(**NAMES)
    error, attempt = await refusal(rules(80), at(80, host="unlisted.example"), Fetch(Outward(names)))
    assert "unlisted.example port 80" in error.detail
    assert "egress.allow_hosts" in error.detail
    error, _ = await refusal(rules(80), at(81), Fetch(Outward(names)))
    assert "a.example port 81" in error.detail
    assert "egress.ports" in error.detail
    assert not attempt.sent
    assert names.asked == []


@pytest.mark.parametrize(
    "answers", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"], ["64:ff9b::a00:1"]]
)
async def test_one_non_public_answer_refuses_the_host(answers: list[str]) -> None:
    error, attempt = await refusal(rules(80), at(80), Fetch(Outward(Names(**{"a.example": answers}))))
    assert "a.example port 80" in error.detail
    assert "egress.allow_private" in error.detail
    assert not attempt.sent


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254"])
async def test_a_listed_ip_literal_is_judged_like_any_address(host: str) -> None:
    attempt = an_attempt("GET", body=b"")
    with pytest.raises(UpstreamError) as failed:
        await Fetch(Outward(Names())).send(attempt, rules(80, hosts=(host,), private=False), at(80, host=host))
    assert failed.value.kind == "egress_not_allowed"
    assert not attempt.sent


async def test_report_mode_lets_unlisted_hosts_pass_but_no_address_that_is_not_public() -> None:
    async with loopback(always(reply())) as server:
        plan = replace(rules(server.port), report=True)
        got = await Fetch(Outward(Names(**NAMES))).send(
            an_attempt("GET", body=b""), plan, at(server.port, host="unlisted.example")
        )
        assert got.status == 200
        await refusal(replace(rules(80, private=False), report=True), at(80, host="unlisted.example"))


async def test_the_gateways_own_listeners_are_refused_whatever_is_allowed() -> None:
    async with loopback(always(reply())) as server:
        for listening in ("127.0.0.1", "0.0.0.0"):
            fetch = Fetch(Outward(Names(**NAMES), Listeners([(ip_address(listening), server.port)])))
            error, _ = await refusal(rules(server.port), at(server.port), fetch)
            assert "gateway itself" in error.detail
        assert server.connections == 0


async def test_a_name_without_an_address_is_a_failed_look_up() -> None:
    with pytest.raises(UpstreamError) as failed:
        await Fetch(Outward(Names())).send(an_attempt("GET", body=b""), rules(80), at(80))
    assert (failed.value.kind, failed.value.sent) == ("dns", False)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed_on_the_same_origin_with_all_headers(status: str) -> None:
    def moved(request: Request) -> bytes:
        return reply(b"gone", "Location: there?x=1#f", status=status)

    def there(request: Request) -> bytes:
        return reply(b"found")

    async with loopback(routes(moved=moved, there=there)) as server:
        got = await get(server, "/moved", Authorization="Bearer x", Cookie="c")
        assert got.body == b"found"
        assert [request.line for request in server.requests] == ["GET /moved HTTP/1.1", "GET /there?x=1 HTTP/1.1"]
        assert server.requests[1].header("Authorization") == ["Bearer x"]
        await server.closed()


async def test_no_credential_crosses_to_another_origin_and_none_comes_back() -> None:
    def moved(request: Request) -> bytes:
        return reply(b"", f"Location: http://b.example:{server.port}/back", status="302 Found")

    def back(request: Request) -> bytes:
        return reply(b"", f"Location: http://a.example:{server.port}/there", status="302 Found")

    async with loopback(routes(moved=moved, back=back, there=lambda _: reply())) as server:
        secrets = {"Authorization": "s", "Cookie": "s", "X_Api_Key": "s", "Proxy_Authorization": "s"}
        await get(server, "/moved", Accept="text/*", **secrets)
        assert [request.header("Host") for request in server.requests] == [
            [f"{host}.example:{server.port}"] for host in ("a", "b", "a")
        ]
        for request in server.requests[1:]:
            assert "s" not in {value for _, value in request.headers}
            assert request.header("Accept") == ["text/*"]


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("http://unlisted.example:{port}/", "egress.allow_hosts"),
        ("http://a.example:1/", "egress.ports"),
        ("http://inner.example:{port}/", "egress.allow_private"),
        ("https://[::1]:{port}/", "egress.allow_hosts"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://user:pw@a.example:{port}/", "user-info"),
        ("http://a..b:{port}/", "not a host name"),
    ],
)
async def test_every_redirect_is_judged_like_a_first_call(location: str, word: str) -> None:
    async def answer(request: Request) -> None:
        await request.say(reply(b"", f"Location: {location.format(port=server.port)}", status="302 Found"))

    async with loopback(answer) as server:
        error, attempt = await refusal(rules(server.port), at(server.port))
        assert word in error.detail
        assert attempt.sent
        assert len(server.requests) == 1


async def test_a_redirect_to_the_gateway_is_refused() -> None:
    async def answer(request: Request) -> None:
        await request.say(reply(b"", f"Location: http://b.example:{own.port}/", status="302 Found"))

    async with loopback(answer) as server, loopback(always(reply())) as own:
        fetch = Fetch(Outward(Names(**NAMES), Listeners([(ip_address("127.0.0.1"), own.port)])))
        error, _ = await refusal(rules(server.port, own.port), at(server.port), fetch)
        assert "gateway itself" in error.detail
        assert own.connections == 0


async def test_five_redirects_are_followed_and_no_more() -> None:
    async def answer(request: Request) -> None:
        hop = int(request.line.split()[1][1:])
        await request.say(reply(b"", f"Location: /{hop - 1}", status="302 Found") if hop else reply(b"end"))

    async with loopback(answer) as server:
        assert (await get(server, "/5")).body == b"end"
        server.requests.clear()
        with pytest.raises(UpstreamError) as failed:
            await get(server, "/6")
        assert (failed.value.kind, failed.value.sent) == ("bad_response", True)
        assert len(server.requests) == 6


@pytest.mark.parametrize("answer", [reply(b"x", status="302 Found"), reply(b"x", "Location: /y", status="201 Created")])
async def test_what_is_not_a_redirect_is_relayed(answer: bytes) -> None:
    async with loopback(always(answer)) as server:
        assert (await get(server)).status in (302, 201)
        assert len(server.requests) == 1


async def test_https_is_verified_against_the_name_although_an_address_was_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("a.example").configure_cert(context)
    async with loopback(always(reply(b"safe")), tls=context) as server:
        with ca.cert_pem.tempfile() as path:
            monkeypatch.setenv("SSL_CERT_FILE", path)
            fetch = Fetch(Outward(Names(**NAMES)))
            target = at(server.port)._replace(scheme="https")
            got = await fetch.send(an_attempt("GET", body=b""), rules(server.port), target)
            assert got.body == b"safe"
            with pytest.raises(UpstreamError) as failed:
                await fetch.send(an_attempt("GET", body=b""), rules(server.port), target._replace(host="b.example"))
            assert (failed.value.kind, failed.value.sent) == ("tls", False)


async def test_no_credential_goes_from_https_to_http_or_to_another_port(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("a.example").configure_cert(context)
    onward: list[str] = []

    async def answer(request: Request) -> None:
        await request.say(reply(b"", f"Location: {onward.pop(0)}", status="307 Temporary") if onward else reply(b"end"))

    with ca.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        async with loopback(answer, tls=context) as safe, loopback(answer) as plain, loopback(answer) as beside:
            onward += [f"http://a.example:{plain.port}/", f"http://a.example:{beside.port}/"]
            attempt = an_attempt("GET", headers=[("Authorization", "secret"), ("X-Api-Key", "secret")], body=b"")
            target = at(safe.port)._replace(scheme="https")
            fetch = Fetch(Outward(Names(**NAMES)))
            assert (await fetch.send(attempt, rules(safe.port, plain.port, beside.port), target)).body == b"end"
            assert safe.requests[0].header("Authorization") == ["secret"]
            for request in (plain.requests[0], beside.requests[0]):
                assert [name for name, value in request.headers if value == "secret"] == []


async def test_a_probe_tells_whether_an_allowed_host_can_be_reached() -> None:
    async with loopback(always(reply())) as server:
        outward = Outward(Names(**NAMES))
        assert await outward.probe(rules(server.port), at(server.port)) is None
        port = free_port()
        refused = await outward.probe(rules(port), at(port))
        assert refused is not None
        assert refused.detail == "the target refused the connection"
        problem = await outward.probe(rules(server.port, private=False), at(server.port))
        assert problem is not None
        assert "egress.allow_private" in problem.detail
        await server.closed()
        assert not server.requests
