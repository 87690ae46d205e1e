"""The fetch tool over the whole way: http.get to what the egress rules allow, and nothing of ours on it (SPEC 2 and 11)."""

import asyncio
import json
from typing import Any

import pytest

from gateway.denial import Reason
from gateway.model import Door, Effect
from tests.doors.conftest import TOKEN, Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, status
from tests.doors.wire import Answer, ask, request
from tests.upstreams.loopback import free_port


def policy(
    tool: ToolServer, *ports: int, hosts: tuple[str, ...] = ("127.0.0.1",), private: bool = True, **more: Any
) -> str:
    egress = {
        "allow_hosts": [*hosts],
        "ports": [int(tool.url.rpartition(":")[2]), *ports],
        "allow_private": ["127.0.0.0/8", "::1/128"] if private else [],
    }
    return policy_of({"http.get": more.pop("definition", {}), "http.head": {}}, egress=egress, **more)


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy(tool))


async def fetch(running: Running, url: str, *fields: str, name: str = "http.get", **arguments: Any) -> Answer:
    body = json.dumps({"url": url, **arguments}).encode()
    return await ask(running.gateway.data_url, request(f"POST /tools/{name}", *fields, body=body), bodyless=False)


async def test_a_page_is_fetched_by_post_and_by_get(running: Running, tool: ToolServer) -> None:
    answers = [
        await fetch(running, f"{tool.url}/a%2Fb?x=%7e#part", "Agent-Run-Id: r1"),
        await ask(running.gateway.data_url, request(f"GET /runs/r1/tools/http.get?url={tool.url}/a%252Fb?x=%257e")),
    ]
    for answer in answers:
        assert (answer.status, answer.body, answer.header("Tool-Gateway-Reason")) == (200, b'{"ok": true}', "ok")
    assert [(r.method, r.path) for r in tool.received] == [("GET", "/a%2Fb?x=%7e")] * 2
    record = await running.seen.ended(2)
    assert (record.door, record.tool, record.effect, record.run_id) == (Door.FETCH, "http.get", Effect.READ, "r1")
    assert str(answers[1].header("Tool-Gateway-Remaining")).startswith("tool_calls=10,")


async def test_nothing_of_ours_and_nothing_of_the_callers_request_goes_out(running: Running, tool: ToolServer) -> None:
    fields = (
        "Agent-Id: x",
        "Agent-Run-Id: r1",
        "Cookie: a=b",
        "X-Own: 1",
        "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    answer = await fetch(
        running,
        tool.url,
        *fields,
        headers={"X-Mine": "1", "Accept": "text/x", "Agent-Token": "t", "Tool-Gateway-X": "1", "Host": "evil"},
    )
    assert answer.status == 200
    [received] = tool.received
    assert received.body == b""
    assert {name.lower(): value for name, value in received.headers.items()} == {
        "host": tool.url.removeprefix("http://"),
        "x-mine": "1",
        "accept": "text/x",
        "user-agent": "tool-gateway",
    }


async def test_status_headers_and_body_of_the_target_come_back_without_its_cookies(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = status(404, X_Target="1", Set_Cookie="a=1", Tool_Gateway_Reason="ok")
    answer = await fetch(running, tool.url)
    assert (answer.status, answer.header("X-Target"), answer.header("Set-Cookie")) == (404, "1", None)
    assert (answer.body, answer.header("Tool-Gateway-Reason")) == (b'{"status": 404}', "tool_error")


async def test_head_fetches_the_head_alone(running: Running, tool: ToolServer) -> None:
    answer = await ask(running.gateway.data_url, request(f"GET /tools/http.head?url={tool.url}"), bodyless=True)
    assert (answer.status, tool.received[0].method) == (200, "HEAD")


async def test_a_fetch_is_a_read_and_tried_again(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(503), status(503)]
    answer = await fetch(running, tool.url)
    assert (answer.status, answer.header("Tool-Gateway-Attempts"), tool.calls) == (200, "3", 3)


async def test_redirects_are_followed_where_the_rules_allow_and_no_further(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(302, Location="/next", Set_Cookie="a=1")]
    assert (await fetch(running, tool.url)).status == 200
    assert [r.path for r in tool.received] == ["/", "/next"]
    assert "Cookie" not in tool.received[1].headers
    tool.replies = [status(302, Location="http://evil.example/")]
    answer = await fetch(running, tool.url)
    assert (answer.status, answer.problem()["reason"], tool.calls) == (403, "egress_not_allowed", 3)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://elsewhere.example/", "egress.allow_hosts"),
        ("http://127.0.0.2:{port}/", "egress.allow_hosts"),
        ("http://127.0.0.1:1/", "egress.ports"),
        ("http://localhost:{port}/", "egress.allow_hosts"),
    ],
)
async def test_what_the_rules_do_not_list_is_refused_before_anything_is_sent(
    running: Running, tool: ToolServer, url: str, rule: str
) -> None:
    answer = await fetch(running, url.format(port=tool.url.rpartition(":")[2]), "Agent-Run-Id: r1")
    assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
    assert rule in answer.problem()["detail"]
    assert (answer.header("Tool-Gateway-Attempts"), answer.header("x-should-retry")) == ("0", "false")
    assert str(answer.header("Tool-Gateway-Remaining")).startswith("tool_calls=12,")
    assert tool.calls == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_listing_a_host_never_permits_an_address_that_is_not_public(
    start: StartGateway, tool: ToolServer, host: str
) -> None:
    running = await start(policy(tool, hosts=("127.0.0.1", "localhost"), private=False))
    answer = await fetch(running, f"http://{host}:{tool.url.rpartition(':')[2]}/", "Agent-Run-Id: r1")
    assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
    assert "allow_private" in answer.problem()["detail"]
    assert str(answer.header("Tool-Gateway-Remaining")).startswith("tool_calls=12,")
    assert tool.calls == 0


async def test_a_listed_name_without_an_address_is_an_upstream_that_failed(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(policy(tool, hosts=("no-such-host.invalid",)))
    answer = await fetch(running, f"http://no-such-host.invalid:{tool.url.rpartition(':')[2]}/")
    assert (answer.status, answer.problem()["reason"]) == (502, "upstream_failed")


async def test_the_gateways_own_listeners_are_refused_whatever_the_policy_allows(
    start: StartGateway, tool: ToolServer
) -> None:
    data, admin = free_port(), free_port()
    running = await start(
        policy(tool, data, admin, hosts=("*",)),
        GATEWAY_LISTEN=f"127.0.0.1:{data}",
        GATEWAY_ADMIN_LISTEN=f"127.0.0.1:{admin}",
    )
    for port in (data, admin):
        answer = await fetch(
            running, f"http://127.0.0.1:{port}/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
        assert "the gateway itself" in answer.problem()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"http://x/",
        b'{"url": 1}',
        b'{"uri": "http://x/"}',
        b'{"url": "http://x/", "more": 1}',
        b'{"url": "http://x/", "url": "http://y/"}',
        b'{"url": "ftp://x/"}',
        b'{"url": "/relative"}',
        b'{"url": "http://planted:secret@x/"}',
        b'{"url": "http://x/", "headers": []}',
        b'{"url": "http://x/", "headers": {"A": 1}}',
        b'{"url": "http://x/", "headers": {"A": "b\\r\\nX: planted"}}',
        b'{"url": "http://x/", "headers": {"A b": "c"}}',
    ],
)
async def test_arguments_that_are_no_fetch_are_malformed(running: Running, tool: ToolServer, body: bytes) -> None:
    answer = await ask(running.gateway.data_url, request("POST /tools/http.get", body=body))
    assert (answer.status, answer.problem()["reason"]) == (400, "invalid_request")
    assert "planted" not in answer.body.decode()
    record = await running.seen.ended()
    assert (record.reason, record.door, record.args) == (Reason.INVALID_REQUEST, Door.FETCH, body)


async def test_a_fetch_takes_get_and_post_and_no_rest(running: Running) -> None:
    answer = await ask(running.gateway.data_url, request("DELETE /tools/http.get"))
    assert (answer.status, answer.header("Allow")) == (405, "GET, POST")
    assert (await ask(running.gateway.data_url, request("GET /tools/http.get/x"))).status == 400


async def test_a_fetch_that_is_not_allowed_goes_nowhere(start: StartGateway, tool: ToolServer) -> None:
    running = await start(
        "tools: {allowlist: [search.read]}\negress: {allow_hosts: ['*'], allow_private: [127.0.0.0/8]}"
    )
    answer = await fetch(running, tool.url)
    assert (answer.status, answer.problem()["reason"], tool.calls) == (403, "tool_not_allowed", 0)


async def test_a_target_that_hangs_times_out(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, definition={"timeout_ms": 150, "retries": {"max": 0}}))
    tool.behaviour = hang(asyncio.Event())
    answer = await fetch(running, tool.url)
    assert (answer.status, answer.problem()["reason"]) == (504, "tool_timeout")
