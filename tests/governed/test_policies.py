"""Policies of agents that are set through the SDK: they narrow the policy file's word, at once, for every door."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onceonly.exceptions import ApiError, ValidationError  # type: ignore[import-untyped]  # it ships no types

from gateway.doors.governed.policies import TEMPLATES
from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer
from tests.governed.sdk import KEYS, Sdk, policy


async def test_what_is_stored_is_answered_shown_and_listed(sdk: Sdk) -> None:
    given = {
        "agent_id": "a1",
        "allowed_tools": ["search.read", "http.*"],
        "blocked_tools": ["http.head"],
        "max_actions_per_hour": 150,
        "max_spend_usd_per_day": 50,
        "max_calls_per_tool": {"search.read": 7},
        "pricing_rules": [{"tool": "search.*", "price_usd": 0.01}],
    }
    stored = await sdk(lambda c: c.gov.upsert_policy(given))
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a0"}))
    assert stored.policy == given
    assert (await sdk(lambda c: c.gov.get_policy("a1"))).policy == given
    assert [found.agent_id for found in await sdk(lambda c: c.gov.list_policies())] == ["a0", "a1"]
    assert (await sdk(lambda c: c.gov.get_policy("a0"))).allowed_tools is None
    with pytest.raises(ApiError, match="has no policy here"):
        await sdk(lambda c: c.gov.get_policy("a2"))


async def test_a_policy_can_only_narrow_what_the_file_allows(
    start: StartGateway, sdk: Sdk, admin: Sdk, running: Running, tool: ToolServer
) -> None:
    wide = {"agent_id": "a1", "allowed_tools": ["*"], "max_actions_per_hour": 1000}
    for client in (sdk, admin):
        await client(lambda c: c.gov.upsert_policy(wide))
        assert (await client.run("search.read", "a1", args={"n": id(client)})).allowed
        res = await client.run("mail.send", "a1")
        assert (res.allowed, res.policy_reason) == (False, "tool_not_in_allowed_list")
    limited = await start(policy(tool, agents={"a1": {"max_actions_per_hour": 1}}), **KEYS)
    client = Sdk(limited.gateway.data_url)
    await client(lambda c: c.gov.upsert_policy(wide))
    seen = [(await client.run("search.read", "a1", args={"n": n})).policy_reason for n in range(2)]
    assert seen == ["ok", "max_actions_per_hour_exceeded"]


async def test_an_open_policy_goes_beyond_the_file_but_not_past_a_denylist(
    start: StartGateway, tool: ToolServer
) -> None:
    document = json.loads(policy(tool, agents={"a1": {"max_actions_per_hour": 1}}, governed={"open": True}))
    document["tools"]["denylist"] = ["shell.*"]
    running = await start(json.dumps(document), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    wide = {"agent_id": "a1", "allowed_tools": ["*"], "max_actions_per_hour": 1000}
    await sdk(lambda c: c.gov.upsert_policy({**wide, "max_actions_per_hour": 5}))
    await sdk(lambda c: c.gov.upsert_policy(wide))
    seen = [(await sdk.run(name, "a1")).policy_reason for name in ("search.read", "mail.send", "shell.run")]
    assert seen == ["ok", "ok", "tool_explicitly_blocked"]
    assert [request.path for request in tool.received] == ["/search.read", "/mail.send"]


async def test_it_holds_at_every_door_and_changes_the_policys_version(running: Running, sdk: Sdk) -> None:
    before = running.gateway.policies.snapshot.version
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "blocked_tools": ["search.read"]}))
    after = running.gateway.policies.snapshot.version
    assert before != after
    loaded = [event.fields for event in running.seen.events if event.name == "policy_loaded"]
    assert (loaded[-1]["previous"], loaded[-1]["version"]) == (before, after)
    async with running.agent.post("/tools/search.read", headers={"Agent-Id": "a1"}) as answer:
        assert (answer.status, answer.headers["Tool-Gateway-Policy"]) == (403, after)
        assert "policy of a1 at /v1/policies: blocked_tools" in (await answer.json(content_type=None))["detail"]
    async with running.agent.post("/tools/search.read") as answer:
        assert answer.status == 200


async def test_it_stands_through_a_reload_of_the_file(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "blocked_tools": ["search.read"]}))
    folder = running.gateway.settings.policy
    await asyncio.to_thread(
        _write, folder, policy(tool, definitions={"search.read": {"effect": "read", "max_waiting": 7}})
    )
    before = running.gateway.policies.snapshot.version
    assert await running.gateway.policies.reload() == ()
    assert running.gateway.policies.snapshot.version != before
    assert (await sdk.run("search.read", "a1")).policy_reason == "tool_explicitly_blocked"


def _write(folder: str, text: str) -> None:
    (Path(folder) / "policy.yaml").write_text(text)


BASE: dict[str, Any] = {
    "allowed_tools": ["search.*", "notes.write"],
    "blocked_tools": ["search.old", "admin.*"],
    "max_actions_per_hour": 10,
    "max_spend_usd_per_day": 1.0,
    "max_calls_per_tool": {"search.*": 5},
    "pricing_rules": [{"tool": "*", "price_usd": 0.1}],
}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"max_actions_per_hour": 11}, "max_actions_per_hour"),
        ({"max_actions_per_hour": None}, "max_actions_per_hour"),
        ({"max_spend_usd_per_day": 1.5}, "max_spend_usd_per_day"),
        ({"max_calls_per_tool": {}}, r"max_calls_per_tool\.search\.\*"),
        ({"max_calls_per_tool": {"search.*": 5, "search.read": 6}}, r"max_calls_per_tool\.search\.read"),
        ({"pricing_rules": []}, "pricing_rules"),
        ({"pricing_rules": [{"tool": "*", "price_usd": 0.1}, {"tool": "a", "price_usd": 0}]}, "pricing_rules"),
        ({"allowed_tools": ["search.*", "notes.*"]}, "allowed_tools"),
        ({"allowed_tools": None}, "allowed_tools"),
        ({"blocked_tools": ["admin.*"]}, "blocked_tools"),
        ({"blocked_tools": ["search.old", "admin.x"]}, "blocked_tools"),
    ],
)
async def test_to_raise_a_limit_that_is_set_takes_the_admin_key(
    sdk: Sdk, admin: Sdk, change: dict[str, Any], key: str
) -> None:
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", **BASE}))
    with pytest.raises(ValidationError, match=rf"{key} would be wider .* takes governed\.admin_key"):
        await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", **BASE, **change}))
    assert (await sdk(lambda c: c.gov.get_policy("a1"))).policy == {"agent_id": "a1", **BASE}
    await admin(lambda c: c.gov.upsert_policy({"agent_id": "a1", **BASE, **change}))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"max_actions_per_hour": 0, "max_spend_usd_per_day": 0.5, "allowed_tools": []},
        {"allowed_tools": ["search.read"], "blocked_tools": ["admin.*", "search.*"]},
        {"max_calls_per_tool": {"search.*": 5, "search.read": 1, "x": 1}},
        {"pricing_rules": [{"tool": "*", "price_usd": 0.1}, {"tool": "a", "price_usd": 1}]},
    ],
)
async def test_to_narrow_takes_no_more_than_the_api_key(sdk: Sdk, change: dict[str, Any]) -> None:
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", **BASE}))
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", **BASE, **change}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_actions_per_hour": -1}, "max_actions_per_hour: expected an integer"),
        ({"max_actions_per_hour": True}, "max_actions_per_hour: expected an integer"),
        ({"max_spend_usd_per_day": "10"}, "max_spend_usd_per_day: expected a number"),
        ({"allowed_tools": "search.read"}, "allowed_tools: expected a list"),
        ({"allowed_tools": ["a b"]}, r"allowed_tools\[0\]: expected a tool name"),
        ({"pricing_rules": [{"tool": "x"}]}, "price_usd: required key is missing"),
        ({"max_action_per_hour": 1}, 'unknown key, did you mean "max_actions_per_hour"'),
    ],
)
async def test_a_bad_value_is_a_validation_error(sdk: Sdk, body: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", **body}))


async def test_the_paths_agent_and_the_bodys_must_be_one(running: Running, sdk: Sdk) -> None:
    for path in ("/v1/policies/a2", "/v1/policies/a2/from-template"):
        body = {"agent_id": "a1", "template": "strict"}
        async with running.agent.post(
            path, json=body, headers={"Authorization": f"Bearer {KEYS['API_KEY']}"}
        ) as answer:
            assert answer.status == 422
            assert "not that of the path" in (await answer.json(content_type=None))["detail"]


async def test_the_five_templates(sdk: Sdk, admin: Sdk) -> None:
    assert sorted(TEMPLATES) == ["moderate", "permissive", "read_only", "strict", "support_bot"]
    for name, contents in TEMPLATES.items():
        made = await sdk(_from_template(name))
        assert made.agent_id == f"agent-{name}"
        assert contents.items() <= made.policy.items()
    read_only = await sdk(lambda c: c.gov.get_policy("agent-read_only"))
    assert read_only.allowed_tools == ["http.get", "http.head", "search.read"]
    assert not (await sdk.run("notes.write", "agent-read_only")).allowed
    assert (await sdk.run("search.read", "agent-read_only")).allowed
    assert not (await sdk.run("search.read", "agent-strict")).allowed
    opened = await admin(
        lambda c: c.gov.policy_from_template("agent-strict", "strict", {"allowed_tools": ["search.read"]})
    )
    assert (opened.allowed_tools, opened.max_actions_per_hour) == (["search.read"], 30)
    with pytest.raises(ValidationError, match="template must be one of strict, moderate"):
        await sdk(lambda c: c.gov.policy_from_template("a1", "lax"))


def _from_template(name: str) -> Callable[[Any], Any]:
    return lambda c: c.gov.policy_from_template(f"agent-{name}", name)


async def test_references_to_secrets_are_text_here(sdk: Sdk) -> None:
    with pytest.raises(ValidationError, match="expected a tool name"):
        await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "allowed_tools": ["${env:API_KEY}"]}))


async def test_the_log_says_with_which_key_something_was_set_or_tried(
    running: Running, sdk: Sdk, admin: Sdk, tool: ToolServer
) -> None:
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_actions_per_hour": 5}))
    wider = {"agent_id": "a1", "max_actions_per_hour": 50}
    with pytest.raises(ValidationError):
        await sdk(lambda c: c.gov.upsert_policy(wider))
    await admin(lambda c: c.gov.upsert_policy(wider))
    await sdk(lambda c: c.gov.policy_from_template("a2", "strict"))
    await sdk(lambda c: c.gov.disable_agent("a1", reason="the-reason"))
    await sdk(lambda c: c.gov.enable_agent("a1"))
    made = {
        "name": "refund.create",
        "url": f"{tool.url}/the-path",
        "auth": {"type": "hmac_sha256", "secret": "the-secret"},
    }
    await admin(lambda c: c.gov.create_tool(made))
    await sdk(lambda c: c.gov.toggle_tool("refund.create", enabled=False))
    await admin(lambda c: c.gov.delete_tool("refund.create"))
    with pytest.raises(ValidationError):
        await sdk(lambda c: c.gov.create_tool({**made, "name": "the name"}))
    await sdk(lambda c: c.gov.list_tools())
    told = [event.fields for event in running.seen.events if event.name == "operated"]
    api, key, refund = "governed.api_key", "governed.admin_key", "global refund.create"
    assert [(event["action"], event["on"], event["who"], event["status"]) for event in told] == [
        ("set_policy", "a1", api, 200),
        ("set_policy", "a1", api, 422),
        ("set_policy", "a1", key, 200),
        ("set_policy", "a2", api, 200),
        ("disable", "a1", api, 200),
        ("enable", "a1", api, 200),
        ("register", refund, key, 200),
        ("toggle", refund, api, 200),
        ("delete", refund, key, 200),
        ("register", None, api, 422),
    ]
    assert "the-" not in str(told)
