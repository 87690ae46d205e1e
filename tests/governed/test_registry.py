"""Tools that are registered through the SDK: signed, under the egress rules, in one catalog with the policy file."""

import asyncio
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from onceonly.exceptions import ApiError, ValidationError  # type: ignore[import-untyped]  # it ships no types

from gateway.model import Door
from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer, hang, reset
from tests.governed.sdk import ADMIN_KEY, KEYS, Sdk, policy

SECRET = "a-shared-secret-of-the-tests"


def named(tool: ToolServer, **more: Any) -> dict[str, Any]:
    return {
        "name": "refund.create",
        "scope_id": "global",
        "url": f"{tool.url}/hooks/refund?v=1",
        "auth": {"type": "hmac_sha256", "secret": SECRET},
        **more,
    }


@pytest.fixture
async def running(start: StartGateway, tool: ToolServer) -> Running:
    return await start(policy(tool, allowlist=["search.read", "refund.*"]), **KEYS)


async def test_a_registered_tool_is_called_with_a_signature(
    running: Running, sdk: Sdk, admin: Sdk, tool: ToolServer
) -> None:
    made = await admin(lambda c: c.gov.create_tool(named(tool)))
    assert (made["has_secret"], made["secret_mask"], made["timeout_ms"], made["max_retries"]) == (
        True,
        "***sts",
        15000,
        2,
    )
    assert made["secret_id"].startswith("sec_")
    assert SECRET not in json.dumps(made)
    res = await sdk.run("refund.create", args={"order": 7}, run_id="r1", spend_usd=0.25)
    assert (res.ok, res.allowed, res.result) == (True, True, {"ok": True})
    [received] = tool.received
    assert (received.method, received.path) == ("POST", "/hooks/refund?v=1")
    body = json.loads(received.body)
    assert (body["args"], body["agent_id"], body["run_id"]) == ({"order": 7}, "billing-agent", "r1")
    headers = {name.lower(): value for name, value in received.headers.items()}
    expected = hmac.new(SECRET.encode(), received.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(headers["x-onceonly-signature"], expected)
    assert headers["x-onceonly-signature-alg"] == "hmac_sha256"
    assert abs(time.time() - int(headers["x-onceonly-timestamp"])) < 300
    assert "authorization" not in headers
    record = await running.seen.ended()
    assert (record.door, record.tool, record.cost_micro_usd, record.run_id) == (
        Door.GOVERNED,
        "refund.create",
        250_000,
        "r1",
    )
    assert json.loads(record.args) == {"order": 7}


async def test_it_is_shown_listed_switched_off_and_deleted(sdk: Sdk, admin: Sdk, tool: ToolServer) -> None:
    await admin(lambda c: c.gov.create_tool(named(tool, auth=None)))
    assert (await sdk(lambda c: c.gov.get_tool("refund.create")))["has_secret"] is False
    catalog = {found["name"]: found["source"] for found in await sdk(lambda c: c.gov.list_tools())}
    assert catalog == {"refund.create": "registered", "search.read": "policy"}
    assert (await sdk(lambda c: c.gov.toggle_tool("refund.create", enabled=False)))["enabled"] is False
    res = await sdk.run("refund.create")
    assert (res.allowed, res.policy_reason) == (False, "tool_not_configured")
    with pytest.raises(ValidationError, match="admin_key"):
        await sdk(lambda c: c.gov.toggle_tool("refund.create", enabled=True))
    await admin(lambda c: c.gov.toggle_tool("refund.create", enabled=True))
    assert (await sdk.run("refund.create")).ok
    assert await admin(lambda c: c.gov.delete_tool("refund.create")) == {"ok": True, "deleted": "refund.create"}
    with pytest.raises(ApiError, match="No tool of this name"):
        await sdk(lambda c: c.gov.get_tool("refund.create"))
    listed = await sdk(lambda c: c.gov.list_tools())
    assert [await sdk(lambda c: c.gov.get_tool("search.read"))] == listed
    for ask in (lambda c: c.gov.delete_tool("search.read"), lambda c: c.gov.toggle_tool("search.read", enabled=True)):
        with pytest.raises(ValidationError, match="the policy file has this tool"):
            await admin(ask)


async def test_no_other_door_leads_to_it(running: Running, admin: Sdk, tool: ToolServer) -> None:
    await admin(lambda c: c.gov.create_tool(named(tool)))
    async with running.agent.post("/tools/refund.create", json={}) as answer:
        problem = await answer.json(content_type=None)
    assert problem["reason"] == "tool_not_configured"
    assert "POST /v1/ai/run reaches it" in problem["detail"]
    assert tool.calls == 0


async def test_an_agents_own_registration_comes_before_the_global_one(sdk: Sdk, admin: Sdk, tool: ToolServer) -> None:
    await admin(lambda c: c.gov.create_tool(named(tool)))
    own = named(tool, scope_id="agent:a1", url=f"{tool.url}/own")
    await admin(lambda c: c.gov.create_tool(own))
    await sdk.run("refund.create", "a1")
    await sdk.run("refund.create", "a2")
    assert [request.path for request in tool.received] == ["/own", "/hooks/refund?v=1"]
    assert [found["url"] for found in await sdk(lambda c: c.gov.list_tools("agent:a1"))] == [f"{tool.url}/own"]


async def test_the_files_allowlist_bounds_it(admin: Sdk, sdk: Sdk, tool: ToolServer) -> None:
    await admin(lambda c: c.gov.create_tool(named(tool, name="mail.send")))
    res = await sdk.run("mail.send")
    assert (res.allowed, res.policy_reason) == (False, "tool_not_in_allowed_list")
    assert tool.calls == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "search.read"}, "the policy file has a tool of this name"),
        ({"name": "http.put"}, "keeps its family for itself"),
        ({"name": "a b"}, "name: expected a tool name"),
        ({"scope_id": "team"}, "scope_id: expected"),
        ({"url": "http://169.254.169.254:{port}/"}, "url: its host and port are not listed"),
        ({"url": "http://127.0.0.1:9/"}, "url: its host and port are not listed"),
        ({"url": "ftp://127.0.0.1/"}, "url: .*scheme is neither http nor https"),
        ({"auth": {"type": "hmac_sha256", "secret": "short-1"}}, r"auth\.secret: expected printable text of 8"),
        ({"auth": {"type": "basic", "secret": SECRET}}, r"auth\.type: expected one of hmac_sha256"),
        ({"timeout_ms": 100}, "timeout_ms: expected an integer 250..120000"),
        ({"max_retries": 11}, "max_retries: expected an integer 0..10"),
        ({"description": "x" * 513}, "description: expected"),
        ({"metod": "GET"}, "metod: unknown key"),
    ],
)
async def test_a_bad_registration_is_a_validation_error(
    admin: Sdk, tool: ToolServer, change: dict[str, Any], words: str
) -> None:
    if "url" in change:
        change = {"url": change["url"].replace("{port}", tool.url.rpartition(":")[2])}
    with pytest.raises(ValidationError, match=words) as raised:
        await admin(lambda c: c.gov.create_tool(named(tool, **change)))
    assert "short-1" not in str(raised.value)


async def test_to_register_takes_the_admin_key(sdk: Sdk, tool: ToolServer) -> None:
    with pytest.raises(ValidationError, match=r"takes governed\.admin_key"):
        await sdk(lambda c: c.gov.create_tool(named(tool)))


async def test_its_timeout_is_its_deadline_where_it_was_given(admin: Sdk, sdk: Sdk, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    await admin(lambda c: c.gov.create_tool(named(tool, timeout_ms=250)))
    res = await sdk.run("refund.create")
    assert (res.ok, res.allowed, res.policy_reason) == (False, True, "tool_error")
    assert "250 ms" in res.result["detail"]


async def test_what_was_sent_is_not_sent_again_since_it_is_a_write(admin: Sdk, sdk: Sdk, tool: ToolServer) -> None:
    tool.behaviour = reset
    await admin(lambda c: c.gov.create_tool(named(tool, max_retries=5)))
    res = await sdk.run("refund.create")
    assert (res.policy_reason, res.result["reason"], tool.calls) == ("tool_error", "outcome_unknown", 1)


async def test_the_address_behind_a_name_is_judged_where_it_is_dialled(start: StartGateway, tool: ToolServer) -> None:
    document = json.loads(policy(tool, allowlist=["refund.*"]))
    document["egress"] |= {"allow_private": [], "allow_hosts": ["127.0.0.1", "localhost"]}
    running = await start(json.dumps(document), **KEYS)
    admin = Sdk(running.gateway.data_url, api_key=ADMIN_KEY)
    with pytest.raises(ValidationError, match="url: it does not lead to a public address"):
        await admin(lambda c: c.gov.create_tool(named(tool)))
    await admin(lambda c: c.gov.create_tool(named(tool, url=tool.url.replace("127.0.0.1", "localhost"))))
    res = await admin.run("refund.create")
    assert (res.allowed, res.policy_reason) == (False, "egress_not_allowed")
    assert tool.calls == 0
