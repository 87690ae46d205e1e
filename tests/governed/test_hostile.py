"""Whatever callers of the governed door send: a sentence, no fault of ours, and nothing that they may not have."""

import asyncio
import gc
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onceonly import OnceOnly  # type: ignore[import-untyped]  # it ships no types
from onceonly.exceptions import ApiError, UnauthorizedError, ValidationError  # type: ignore[import-untyped]  # the same

from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer, hang
from tests.governed.sdk import ADMIN_KEY, KEY, KEYS, Sdk, policy

BEARER = {"Authorization": f"Bearer {KEY}"}
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
SECRET = "a-shared-secret-of-the-tests"
DEEP = "[" * 400 + "]" * 400
VALUES = [
    "NaN", "-Infinity", "1e400", "9" * 400, "9" * 5000, "1e-999", "-1", "true", "null", '"\\ud800"', '"\\u0000"', '"' + "x" * 3000 + '"',
    '""', "[]", "{}", "[null]", '{"a":1,"a":2}', DEEP, "18446744073709551616",
]  # fmt: skip


async def told(running: Running, method: str, path: str, body: str | bytes, **headers: str) -> tuple[int, Any]:
    async with running.agent.request(method, path, data=body, headers={**ADMIN, **headers}) as answer:
        return answer.status, await answer.json(content_type=None)


async def until(true: Callable[[], bool]) -> None:
    """Of what nobody tells."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  as said
            await asyncio.sleep(0.001)


def no_faults(running: Running) -> None:
    assert "internal_error" not in running.seen.names()


async def test_no_body_makes_a_fault(running: Running, tool: ToolServer) -> None:
    call = ("agent_id", "tool", "args", "spend_usd")
    limits = (
        "agent_id", "allowed_tools", "blocked_tools", "max_actions_per_hour", "max_spend_usd_per_day", "max_calls_per_tool",
        "pricing_rules", "x",
    )  # fmt: skip
    hook = ("name", "scope_id", "url", "auth", "timeout_ms", "max_retries", "enabled", "description")
    whole = {
        "/v1/ai/run": (call, {"agent_id": "a1", "tool": "search.read"}),
        "/v1/policies/a1": (limits, {}),
        "/v1/policies/a1/from-template": (("agent_id", "template", "overrides"), {"template": "strict"}),
        "/v1/tools": (hook, {"name": "search.more", "url": tool.url}),
        "/v1/tools/x/toggle": (("enabled",), {}),
        "/v1/agents/a1/disable": (("reason",), {}),
    }
    for path, (keys, others) in whole.items():
        for value in VALUES:
            bodies = [value] + [
                json.dumps(others | {key: "@"}).replace('"@"', value).encode("utf-8", "replace") for key in keys
            ]
            for body in bodies:
                status, document = await told(running, "POST", path, body)
                assert status in (200, 404, 422), (path, body, document)
                assert status == 200 or document["detail"].endswith("."), document
    no_faults(running)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}", b"", b'{"agent_id":"a1"', b"\x00"])
async def test_what_is_no_json_object_is_422(running: Running, body: bytes) -> None:
    for path in ("/v1/ai/run", "/v1/policies/a1/from-template", "/v1/tools"):
        status, document = await told(running, "POST", path, body)
        assert (status, document["reason"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/ai/run", "POST"),
        ("PUT", "/v1/policies/a1", "GET, POST"),
        ("DELETE", "/v1/policies", "GET"),
        ("GET", "/v1/agents/a1/disable", "POST"),
        ("PATCH", "/v1/tools/x", "DELETE, GET"),
    ],
)
async def test_another_method_is_405_and_told_which_are_taken(
    running: Running, method: str, path: str, allowed: str
) -> None:
    async with running.agent.request(method, path, headers=BEARER) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1", 404),
        ("/v1/", 404),
        ("/v1/ai/run/", 404),
        ("/v1/nothing", 404),
        ("/v1/policies/a/b/c", 404),
        ("/v1/policies/%2e%2e/tools", 400),
        ("/v1/policies/..%2ftools", 400),
        ("/v1/policies/a%00", 400),
        ("/v1/policies/team%2Fa", 400),
        ("/v1/policies/a%20b", 422),
        ("/v1/policies/%F0%9F%98%80", 422),
        ("/v1/policies/", 422),
        ("/v1/tools/..", 400),
    ],
)
async def test_a_path_leads_nowhere_else(running: Running, path: str, status: int) -> None:
    reader, writer = await asyncio.open_connection(*running.gateway.data_url.removeprefix("http://").split(":"))
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert int(head.split()[1]) == status
    assert json.loads(body)["detail"].endswith(".")


async def test_without_an_admin_key_nobody_administrates(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, governed={"admin_key": None}), API_KEY=KEY)
    sdk = Sdk(running.gateway.data_url)
    with pytest.raises(ValidationError, match=r"governed\.admin_key"):
        await sdk(lambda c: c.gov.create_tool({"name": "search.read", "url": tool.url}))
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_actions_per_hour": 1}))
    with pytest.raises(ValidationError, match="max_actions_per_hour"):
        await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_actions_per_hour": 2}))
    with pytest.raises(UnauthorizedError):
        await Sdk(running.gateway.data_url, api_key="None")(lambda c: c.gov.list_policies())


async def test_who_disables_again_does_not_get_the_power_to_enable(sdk: Sdk, admin: Sdk) -> None:
    await admin(lambda c: c.gov.disable_agent("a1", "by the operator"))
    found = await sdk(lambda c: c.gov.disable_agent("a1", "by myself"))
    assert (found.is_enabled, found.disabled_reason) == (False, "by the operator")
    with pytest.raises(ValidationError, match=r"governed\.admin_key"):
        await sdk(lambda c: c.gov.enable_agent("a1"))
    await admin(lambda c: c.gov.disable_agent("a1", "for another reason"))
    found = await admin(lambda c: c.gov.enable_agent("a1"))
    assert found.is_enabled


async def test_a_sidecars_agent_sees_and_sets_nothing_of_others(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, allowlist=["search.*"]), **KEYS)
    state = running.gateway.governance
    alone = await start(policy(tool, allowlist=["search.*"]), **KEYS, GATEWAY_AGENT_ID="a1")
    for agent in ("a1", "a2"):
        await told(running, "POST", f"/v1/policies/{agent}", "{}")
    alone.gateway.governance.overlay = state.overlay  # as if both shared their state
    own = Sdk(alone.gateway.data_url, api_key=ADMIN_KEY)
    assert [found.agent_id for found in await own(lambda c: c.gov.list_policies())] == ["a1"]
    hook = {"name": "search.more", "url": tool.url}
    await own(lambda c: c.gov.create_tool({**hook, "scope_id": "agent:a1"}))
    for ask in (
        lambda c: c.gov.create_tool({**hook, "scope_id": "agent:a2"}),
        lambda c: c.gov.list_tools(scope_id="agent:a2"),
        lambda c: c.gov.delete_tool("search.more", scope_id="agent:a2"),
        lambda c: c.gov.get_policy("a2"),
        lambda c: c.gov.disable_agent("a2"),
        lambda c: c.gov.agent_logs("a2"),
    ):
        with pytest.raises(UnauthorizedError, match="GATEWAY_AGENT_ID"):
            await own(ask)


async def test_what_is_set_is_bounded_in_size(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    long = {"agent_id": "a1", "blocked_tools": [f"tool{n}" for n in range(9000)]}
    with pytest.raises(ApiError, match="65536"):
        await sdk(lambda c: c.gov.upsert_policy(long))
    hook = {"name": "search.more", "url": f"{tool.url}/{'x' * 2048}"}
    status, document = await told(running, "POST", "/v1/tools", json.dumps(hook))
    assert (status, "at most 2048 characters" in document["detail"]) == (422, True)
    # A call's arguments may be long.
    res = await sdk.run("search.read", args={"q": "x" * 500_000})
    assert res.ok


async def test_answers_tell_nothing_of_a_secret_but_its_end(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, allowlist=["search.*"]), **KEYS)
    admin = Sdk(running.gateway.data_url, api_key=ADMIN_KEY)

    async def create(name: str, secret: str) -> dict[str, Any]:
        hook = {"name": name, "url": tool.url, "auth": {"type": "hmac_sha256", "secret": secret}}
        return await admin(lambda c: c.gov.create_tool(hook))

    one, other = await create("search.one", SECRET), await create("search.other", SECRET)
    assert one["secret_id"] != other["secret_id"]
    assert hashlib.sha256(SECRET.encode()).hexdigest()[:8] not in json.dumps([one, other])
    version = running.gateway.policies.snapshot.version
    assert await create("search.one", SECRET) == one
    assert running.gateway.policies.snapshot.version == version
    assert (await create("search.one", SECRET[::-1]))["secret_id"] != one["secret_id"]
    assert running.gateway.policies.snapshot.version != version


async def test_the_gateways_own_listeners_are_no_tools(start: StartGateway, tool: ToolServer) -> None:
    text = policy(tool, allowlist=["search.*"])
    running = await start(text, **KEYS)
    ports = [int(url.rpartition(":")[2]) for url in (running.gateway.data_url, running.gateway.admin_url)]
    wide = json.loads(text)
    wide["egress"] = {"allow_hosts": ["*", "127.0.0.1", "localhost"], "ports": ports, "allow_private": ["127.0.0.0/8"]}
    (Path(running.gateway.settings.policy) / "policy.yaml").write_text(json.dumps(wide))
    await running.gateway.policies.reload()
    admin = Sdk(running.gateway.data_url, api_key=ADMIN_KEY)
    for n, port in enumerate(ports):
        hook = {"name": f"search.own{n}", "url": f"http://127.0.0.1:{port}/v1/tools"}
        status, problem = await told(running, "POST", "/v1/tools", json.dumps(hook))
        assert (status, "url: it is the gateway itself" in str(problem)) == (422, True)
        hook["url"] = f"http://localhost:{port}/v1/tools"  # is looked up by whoever calls it
        assert (await told(running, "POST", "/v1/tools", json.dumps(hook)))[0] == 200
        res = await admin.run(hook["name"])
        assert (res.allowed, res.policy_reason) == (False, "egress_not_allowed")


async def test_a_reload_that_takes_a_tools_leave_is_asked_at_the_next_call(
    start: StartGateway, tool: ToolServer
) -> None:
    text = policy(tool, allowlist=["search.read", "partner.*"])
    running = await start(text, **KEYS)
    admin, path = Sdk(running.gateway.data_url, api_key=ADMIN_KEY), Path(running.gateway.settings.policy)
    await admin(lambda c: c.gov.create_tool({"name": "partner.x", "url": tool.url}))
    await admin(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_calls_per_tool": {"partner.x": 2}}))
    assert (await admin.run("partner.x", "a1", args={"n": 1})).ok

    async def reload(change: dict[str, Any]) -> Any:
        (path / "policy.yaml").write_text(json.dumps(json.loads(text) | change))
        await running.gateway.policies.reload()
        return await admin.run("partner.x", "a1", args={"n": 2})

    assert (await reload({"egress": {"allow_hosts": []}})).policy_reason == "egress_not_allowed"
    assert (await reload({"tools": {"allowlist": ["search.read"]}})).policy_reason == "tool_not_in_allowed_list"
    own = {"allowlist": ["partner.x"], "definitions": {"partner.x": {"upstream": "default", "path": "/own"}}}
    assert (await reload({"tools": own})).ok
    assert tool.received[-1].path == "/own"
    listed = [found["source"] for found in await admin(lambda c: c.gov.list_tools()) if found["name"] == "partner.x"]
    assert listed == ["registered", "policy"]
    assert (await reload({})).decision == "dedup"
    res = await admin.run("partner.x", "a1", args={"n": 3})
    assert res.policy_reason == "max_calls_per_tool_exceeded"  # the counts knew of no reload


async def test_a_change_whose_caller_leaves_meanwhile_is_whole(running: Running) -> None:
    governance, let_go = running.gateway.governance, threading.Event()
    running.gateway.keeper._worker.submit(let_go.wait, 5)  # a disk that is slow: what is to be written waits
    served = asyncio.all_tasks()
    body = {"agent_id": "a1", "blocked_tools": ["search.read"]}
    asked = asyncio.create_task(running.agent.post("/v1/policies/a1", json=body, headers=BEARER))
    await until(governance.lock.locked)
    [handler] = [task for task in asyncio.all_tasks() - served - {asked} if "start" in repr(task.get_coro())]
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await until(handler.done)
    let_go.set()
    async with governance.lock:
        assert governance.overlay.policies["a1"].policy.blocked_tools == ("search.read",)
    assert (await Sdk(running.gateway.data_url).run(agent="a1")).policy_reason == "tool_explicitly_blocked"


async def test_many_who_change_one_policy_at_once_leave_one_that_all_see(running: Running, sdk: Sdk) -> None:
    clients = [OnceOnly(api_key=ADMIN_KEY, base_url=running.gateway.data_url, timeout=30) for _ in range(4)]
    stored = await asyncio.gather(
        *(clients[n % 4].gov.upsert_policy_async({"agent_id": "a1", "max_actions_per_hour": n + 1}) for n in range(40))
    )
    assert sorted(found.max_actions_per_hour for found in stored) == [*range(1, 41)]
    last = await sdk(lambda c: c.gov.get_policy("a1"))
    limits = running.gateway.policies.snapshot.limits("a1")
    assert last.max_actions_per_hour == limits.max_actions_per_hour
    for client in clients:
        await client.aclose()


async def test_a_thousand_calls_through_two_doors_share_a_budget_of_twelve(
    start: StartGateway, tool: ToolServer
) -> None:
    text = json.loads(policy(tool)) | {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 12}}, "agents": {"a1": {}}}
    running = await start(json.dumps(text), **KEYS, GATEWAY_MAX_IN_FLIGHT="2000")

    async def plainly(n: int) -> bool:
        headers = {"Agent-Id": "a1", "Agent-Run-Id": "r1"}
        async with running.agent.post("/tools/search.read", json={"n": n}, headers=headers) as answer:
            return answer.status == 200

    async def governed(n: int) -> bool:
        body = json.dumps({"agent_id": "a1", "tool": "search.read", "args": {"n": n, "run_id": "r1"}})
        status, document = await told(running, "POST", "/v1/ai/run", body)
        return status == 200 and document["allowed"] is True

    results = await asyncio.gather(*((governed if n % 2 else plainly)(n) for n in range(1000)))
    assert (sum(results), tool.calls) == (12, 12)


async def test_a_days_money_is_spent_to_the_last_millionth(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_spend_usd_per_day": 0.3}))
    spends = [0.1, 0.1, 0.099999, 0.000002, 0.000001, 0.000001, 0.0]
    verdicts = [await sdk.run(agent="a1", args={"n": n}, spend_usd=spend) for n, spend in enumerate(spends)]
    assert [res.allowed for res in verdicts] == [True, True, True, False, True, False, True]
    assert verdicts[3].policy_reason == "max_spend_usd_per_day_exceeded"
    metrics = await sdk(lambda c: c.gov.agent_metrics("a1"))
    assert metrics.total_spend_usd == 0.3


async def test_what_the_arguments_were_parsed_into_is_gone_while_the_tool_works(
    running: Running, sdk: Sdk, tool: ToolServer
) -> None:
    let_go = asyncio.Event()
    tool.behaviour = hang(let_go)
    mark = "only-in-this-test"
    asked = asyncio.create_task(sdk.run(args={"list": [[mark]]}))
    await tool.seen()
    gc.collect()
    held = [found for found in gc.get_objects() if type(found) is list and len(found) == 1 and found[0] == mark]
    kept_by_the_client = 1
    let_go.set()
    assert (await asked).ok
    assert len(held) == kept_by_the_client


async def test_headers_that_speak_of_the_clients_body_do_not_go_on(running: Running, tool: ToolServer) -> None:
    headers = {"Content-Language": "de", "Content-MD5": "x", "Digest": "x", "Range": "bytes=0-1", "X-Request-Id": "r"}
    body = json.dumps({"agent_id": "a1", "tool": "search.read", "args": {"q": 1}})
    status, document = await told(running, "POST", "/v1/ai/run", body, **headers)
    assert (status, document["ok"]) == (200, True)
    names = {name.lower() for name in tool.received[0].headers}
    assert not names & {"content-language", "content-md5", "digest", "range"}
    assert "x-request-id" in names
