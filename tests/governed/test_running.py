"""The unmodified OnceOnly SDK, sync and async, against the governed door, with real tools behind it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from onceonly import OnceOnly  # type: ignore[import-untyped]  # it ships no types
from onceonly.exceptions import ApiError, UnauthorizedError, ValidationError  # type: ignore[import-untyped]  # as above

from gateway.denial import Reason
from gateway.model import Decision, Door
from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer, hang, status
from tests.governed import sdk as sdks
from tests.governed.sdk import KEY, KEYS, Sdk, policy


async def test_the_designs_example(running: Running, tool: ToolServer) -> None:
    url = tool.url

    def example() -> Any:
        client = OnceOnly(
            api_key=KEY,
            base_url=running.gateway.data_url,
            timeout=5.0,
            max_retries_429=2,
        )
        sdks.opened.append(client)
        client.gov.upsert_policy({
            "agent_id": "billing-agent",
            "allowed_tools": ["search.read", "http.get"],
            "max_actions_per_hour": 200,
            "max_spend_usd_per_day": 10.0,
        })  # fmt: skip
        res = client.ai.run_tool(
            agent_id="billing-agent",
            tool="http.get",
            args={"url": url},
            spend_usd=0.001,
        )
        if not res.allowed:
            raise RuntimeError(res.policy_reason)
        return res

    res = await asyncio.to_thread(example)
    assert (res.ok, res.allowed, res.decision, res.policy_reason, res.risk_level) == (
        True,
        True,
        "executed",
        "ok",
        "low",
    )
    assert (res.result["status"], res.result["body"]) == (200, '{"ok": true}')
    [received] = tool.received
    assert (received.method, received.body) == ("GET", b"")
    record = await running.seen.ended()
    assert (record.door, record.tool, record.agent_id) == (Door.GOVERNED, "http.get", "billing-agent")
    assert (record.reason, record.cost_micro_usd) == (Reason.OK, 1000)


async def test_the_async_client_does_the_same(running: Running, tool: ToolServer) -> None:
    client = OnceOnly(api_key=KEY, base_url=running.gateway.data_url)
    try:
        stored = await client.gov.upsert_policy_async({"agent_id": "a1", "max_actions_per_hour": 1})
        res = await client.ai.run_tool_async(agent_id="a1", tool="search.read", args={"q": "x"}, run_id="r1")
        refused = await client.ai.run_tool_async(agent_id="a1", tool="search.read", args={"q": "y"})
        assert (stored.agent_id, stored.max_actions_per_hour) == ("a1", 1)
        assert (res.allowed, res.result) == (True, {"ok": True})
        assert (refused.allowed, refused.policy_reason) == (False, "max_actions_per_hour_exceeded")
        assert not (await client.gov.disable_agent_async("a1", "enough")).is_enabled
        logged = await client.gov.agent_logs_async("a1")
        assert [line.policy_reason for line in logged] == ["max_actions_per_hour_exceeded", "ok"]
        assert (await client.gov.agent_metrics_async("a1")).total_actions == 1
    finally:
        await client.aclose()
    assert json.loads(tool.received[0].body) == {"q": "x"}


async def test_arguments_go_as_a_json_body_to_the_tools_path_and_the_run_is_taken_out(
    running: Running, sdk: Sdk, tool: ToolServer
) -> None:
    res = await sdk.run("notes.write", args={"b": 1, "a": "ä"}, run_id="task-1")
    assert (res.ok, res.risk_level, res.result) == (True, "medium", {"ok": True})
    [received] = tool.received
    assert (received.method, received.path) == ("POST", "/notes.write")
    assert json.loads(received.body) == {"a": "ä", "b": 1}
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert "authorization" not in headers
    assert headers["content-type"] == "application/json"
    record = await running.seen.ended()
    assert (record.run_id, record.door) == ("task-1", Door.GOVERNED)


async def test_a_tool_that_takes_get_has_its_arguments_as_the_query(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, definitions={"search.read": {"effect": "read", "methods": ["GET"]}}), **KEYS)
    res = await Sdk(running.gateway.data_url).run(args={"q": "a b&c", "n": 2, "tags": ["x", "y"], "deep": {"z": None}})
    assert res.ok
    [received] = tool.received
    assert (received.method, received.body) == ("GET", b"")
    path, _, query = received.path.partition("?")
    assert path == "/search.read"
    sent = httpx.QueryParams(query).multi_items()
    assert sorted(sent) == [("deep", '{"z":null}'), ("n", "2"), ("q", "a b&c"), ("tags", "x"), ("tags", "y")]


async def test_arguments_reach_the_tool_as_they_are(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    args = {"n": 12345678901234567890123, "x": 1e-7, "deep": [{"ä": None, "😀": [True, ""]}], "run": "id"}
    assert (await sdk.run(args=args)).ok
    assert json.loads(tool.received[0].body) == args


async def test_a_long_answer_comes_whole_and_one_that_finds_no_room_is_told(
    start: StartGateway, tool: ToolServer
) -> None:
    long = {"text": "x" * 1_000_000}

    async def say(request: web.Request) -> web.StreamResponse:
        return web.json_response(long)

    tool.behaviour = say
    running = await start(policy(tool), **KEYS)
    assert (await Sdk(running.gateway.data_url).run()).result == long
    narrow = await start(policy(tool), GATEWAY_MAX_BUFFERED_BYTES="500000", **KEYS)
    res = await Sdk(narrow.gateway.data_url).run()
    assert (res.ok, res.allowed, res.policy_reason) == (False, True, "tool_error")
    assert "GATEWAY_MAX_BUFFERED_BYTES" in res.result["detail"]
    assert (await narrow.seen.ended()).reason is Reason.RESPONSE_TOO_LARGE


async def test_report_mode_lets_pass_what_the_allowlist_does_not_name(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool, allowlist=[], mode="report"), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    for name, args in [("http.get", {"url": tool.url}), ("search.read", {})]:
        assert (await sdk.run(name, args=args)).allowed
    await running.seen.ended(2)
    assert {record.decision for record in running.seen.records} == {Decision.REPORT}


async def test_runs_of_a_candidate_are_governed_too(start: StartGateway, tool: ToolServer, tmp_path: Path) -> None:
    document = json.loads(policy(tool, rollout={"canary_percent": 100}))
    (tmp_path / "policies").mkdir()
    candidate = {"tools": {**document["tools"], "denylist": ["shell.*"]}}
    (tmp_path / "policies" / "candidate.yaml").write_text(json.dumps(candidate))
    running = await start(json.dumps(document), **KEYS)
    rollout = running.gateway.rollout
    assert rollout.candidate is not None
    sdk = Sdk(running.gateway.data_url)
    since = rollout.since
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a1", "blocked_tools": ["search.read"]}))
    assert (await sdk.run("search.read", "a1", run_id="r1")).policy_reason == "tool_explicitly_blocked"
    assert (await sdk.run("notes.write", "a1", run_id="r1")).ok
    await running.seen.ended(2)
    assert {record.policy for record in running.seen.records} == {rollout.candidate.snapshot.version}
    assert {record.candidate for record in running.seen.records} == {"canary"}
    assert rollout.since == since


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((b'{"n": 12345678901234567890123, "x": 1.10}', "application/json"), {"n": 12345678901234567890123, "x": 1.1}),
        ((b"[1, 2]", "application/json"), {"value": [1, 2]}),
        ((b'"word"', "application/vnd.x+json"), {"value": "word"}),
        ((b"plain", "text/plain"), {"status": 200, "body": "plain"}),
        ((b"{broken", "application/json"), {"status": 200, "body": "{broken"}),
        ((b"\xff\x00", "application/octet-stream"), {"status": 200, "body": "/wA=", "encoding": "base64"}),
    ],
)
async def test_what_a_tool_answers_becomes_an_object(
    sdk: Sdk, tool: ToolServer, said: tuple[bytes, str], expected: dict[str, Any]
) -> None:
    async def say(request: web.Request) -> web.StreamResponse:
        return web.Response(body=said[0], headers={"Content-Type": said[1]})

    tool.behaviour = say
    res = await sdk.run(args={})
    assert res.ok
    found = {key: value for key, value in res.result.items() if key != "headers"}
    assert found == expected
    if "status" in res.result:
        assert res.result["headers"]["content-type"] == said[1]


async def test_a_tools_own_error_is_told_as_one(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    tool.behaviour = status(404)
    res = await sdk.run()
    assert (res.ok, res.allowed, res.decision, res.policy_reason) == (False, True, "executed", "tool_error")


async def test_refusals_are_answers_with_the_vendors_words(start: StartGateway, tool: ToolServer) -> None:
    text = policy(
        tool, allowlist=["search.read", "shell.run", "ghost.x"], agents={"poor": {"max_spend_usd_per_day": 0.01}}
    )
    document = json.loads(text)
    document["tools"]["denylist"] = ["shell.*"]
    running = await start(json.dumps(document), **KEYS)
    sdk = Sdk(running.gateway.data_url, max_retries_429=2)
    await sdk(lambda c: c.gov.upsert_policy({
        "agent_id": "a1", "allowed_tools": ["search.read", "notes.write"], "blocked_tools": ["search.read"],
    }))  # fmt: skip
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "a2", "max_calls_per_tool": {"search.read": 1}}))
    seen: list[str] = []
    for agent, name, spend in [
        ("a0", "notes.write", None),
        ("a0", "shell.run", None),
        ("a1", "search.read", None),
        ("a1", "ghost.x", None),
        ("a2", "search.read", None),
        ("a2", "search.read", None),
        ("poor", "search.read", 0.01),
        ("poor", "search.read", 0.001),
    ]:
        res = await sdk.run(name, agent, args={"n": len(seen)}, spend_usd=spend)
        assert res.allowed is (res.decision == "executed")
        assert res.allowed or res.result["detail"]
        seen.append(res.policy_reason)
    assert seen == [
        "tool_not_in_allowed_list",
        "tool_explicitly_blocked",
        "tool_explicitly_blocked",
        "tool_not_in_allowed_list",
        "ok",
        "max_calls_per_tool_exceeded",
        "ok",
        "max_spend_usd_per_day_exceeded",
    ]
    assert tool.calls == 2
    assert all(record.door is Door.GOVERNED for record in running.seen.records)


async def test_a_slow_tool_is_answered_for_before_the_client_gives_up(start: StartGateway, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    running = await start(policy(tool, definitions={"notes.write": {"deadline_ms": 100}}), **KEYS)
    res = await Sdk(running.gateway.data_url).run("notes.write", args={"q": "x"})
    assert (res.ok, res.allowed, res.decision, res.policy_reason) == (False, True, "executed", "tool_error")
    assert res.result["reason"] == "outcome_unknown"
    snapshot = running.gateway.policies.snapshot
    assert snapshot.plan("a", "search.read").deadline > 4.5  # of the other doors


async def test_a_call_has_less_time_than_the_client_waits_unless_the_policy_gives_it_more(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(policy(tool, definitions={"notes.write": {"deadline_ms": 9000}}), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    for name in ("search.read", "notes.write"):
        assert (await sdk.run(name)).ok
    left = [int(request.headers["Tool-Gateway-Deadline-Ms"]) for request in tool.received]
    assert 0 < left[0] <= 4500 < left[1] <= 9000


async def test_the_gateways_key_goes_to_no_tool(start: StartGateway, tool: ToolServer) -> None:
    definition = {"effect": "read", "forward_authorization": True}
    running = await start(policy(tool, definitions={"search.read": definition}), **KEYS)
    assert (await Sdk(running.gateway.data_url).run()).ok
    assert "authorization" not in {name.lower() for name in tool.received[0].headers}
    assert KEYS["API_KEY"] not in str(tool.received)


async def test_a_request_that_the_client_sends_again_is_performed_and_charged_once(
    running: Running, tool: ToolServer
) -> None:
    let_go = asyncio.Event()

    async def slow(request: Any) -> Any:
        await let_go.wait()
        return web.json_response({"done": 1})

    tool.behaviour = slow
    sent: list[bytes] = []

    def note(request: httpx.Request) -> None:
        sent.append(request.read() + repr(sorted(request.headers.items())).encode())
        if len(sent) == 3:
            loop.call_soon_threadsafe(let_go.set)

    loop = asyncio.get_running_loop()
    client = httpx.Client(base_url=running.gateway.data_url + "/v1", timeout=0.2, event_hooks={"request": [note]},
                          headers={"Authorization": f"Bearer {KEY}"})  # fmt: skip
    sdks.opened.append(client)
    sdk = Sdk(running.gateway.data_url, sync_client=client, max_retries_429=2, retry_backoff=0.01)
    res = await sdk.run("notes.write", args={"to": "x"}, spend_usd=0.25, run_id="r1")
    assert (res.ok, res.allowed, res.decision, res.policy_reason) == (True, True, "dedup", "tool_idempotency")
    assert res.result == {"done": 1}
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert (tool.calls, tool.cancelled) == (1, 0)
    again = await sdk.run("notes.write", args={"to": "x"}, run_id="r1")
    assert (again.decision, again.result, tool.calls) == ("dedup", {"done": 1}, 1)
    other = await sdk.run("notes.write", args={"to": "y"}, run_id="r1")
    assert (other.decision, tool.calls) == ("executed", 2)
    await running.seen.ended(5)
    assert sum(record.cost_micro_usd for record in running.seen.records) == 250_000
    agents, now = running.gateway.counts.ledger.agents, running.seen.records[-1].at
    assert agents.actions("billing-agent", now).used == 2


async def test_how_a_write_ended_in_the_dark_is_told_again_not_tried_again(
    start: StartGateway, tool: ToolServer
) -> None:
    tool.behaviour = hang(asyncio.Event())
    running = await start(policy(tool, definitions={"notes.write": {"deadline_ms": 100}}), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    told = [await sdk.run("notes.write", args={"q": "x"}) for _ in range(2)]
    assert [res.result["reason"] for res in told] == ["outcome_unknown"] * 2
    assert tool.calls == 1


async def test_a_replay_asks_the_kill_switch_first(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    assert (await sdk.run(args={"q": 1})).ok
    await running.kill("agent:billing-agent")
    res = await sdk.run(args={"q": 1})
    assert (res.allowed, res.policy_reason) == (False, "agent_disabled")
    assert await running.restore("agent:billing-agent") == 200
    await running.kill("tool:search.read")
    assert (await sdk.run(args={"q": 2})).policy_reason == "kill_switch"
    assert tool.calls == 1


async def test_a_hundred_parallel_calls_against_a_budget_of_twelve(running: Running, tool: ToolServer) -> None:
    client = OnceOnly(api_key=KEY, base_url=running.gateway.data_url, timeout=30)
    await client.gov.upsert_policy_async({"agent_id": "a1", "max_actions_per_hour": 12})
    results = await asyncio.gather(
        *(client.ai.run_tool_async(agent_id="a1", tool="search.read", args={"n": n}) for n in range(100))
    )
    await client.aclose()
    assert sum(res.allowed for res in results) == tool.calls == 12
    assert {res.policy_reason for res in results} == {"ok", "max_actions_per_hour_exceeded"}


async def test_the_spend_that_is_said_and_the_price_of_the_policy_are_charged_whichever_is_higher(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(policy(tool, definitions={"search.read": {"effect": "read", "cost_usd": 0.002}}), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    rule = {"tool": "notes.*", "price_usd": 0.5}
    await sdk(lambda c: c.gov.upsert_policy({"agent_id": "billing-agent", "pricing_rules": [rule]}))
    for name, spend in [("search.read", 0.001), ("search.read", 0.003), ("notes.write", None), ("notes.write", 0.6)]:
        assert (await sdk.run(name, args={"n": spend}, spend_usd=spend)).ok
    await running.seen.ended(4)
    assert [record.cost_micro_usd for record in running.seen.records] == [2000, 3000, 500_000, 600_000]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"api_key": "wrong"}, UnauthorizedError, "Invalid API key"),
        ({"api_key": "an-admin-key-for-test"}, UnauthorizedError, "Invalid API key"),
    ],
)
async def test_a_wrong_key_is_unauthorized(
    running: Running, tool: ToolServer, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await Sdk(running.gateway.data_url, **options).run()
    record = await running.seen.ended()
    assert (record.reason, record.decision, record.door) == (Reason.UNAUTHENTICATED, Decision.DENY, Door.GOVERNED)
    assert tool.calls == 0


async def test_without_an_api_key_the_door_is_closed_and_says_so(start: StartGateway, tool: ToolServer) -> None:
    document = json.loads(policy(tool))
    document["governed"] = {"enabled": True}
    running = await start(json.dumps(document))
    with pytest.raises(UnauthorizedError, match=r"closed: the policy sets no governed\.api_key"):
        await Sdk(running.gateway.data_url).run()


async def test_while_it_is_not_enabled_v1_is_a_path_like_any_other(start: StartGateway, tool: ToolServer) -> None:
    document = json.loads(policy(tool))
    document["governed"]["enabled"] = False
    document["tools"]["definitions"]["notes.write"] = {"route": "POST /v1/ai/run", "upstream": "default"}
    document["upstreams"] = {"default": {"url": tool.url}}
    running = await start(json.dumps(document), **KEYS)
    async with running.agent.post("/v1/ai/run", json={"agent_id": "a"}) as answer:
        assert answer.status == 200
    assert tool.received[0].path == "/v1/ai/run"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tool": "search.read"}, "agent_id must be"),
        ({"agent_id": "a b", "tool": "search.read"}, "agent_id must be"),
        ({"agent_id": "a", "tool": "../x"}, "tool must be a name"),
        ({"agent_id": "a", "tool": "search.read", "args": []}, "args must be an object"),
        ({"agent_id": "a", "tool": "search.read", "args": {"run_id": "a b"}}, "args.run_id must be"),
        ({"agent_id": "a", "tool": "search.read", "spend_usd": -0.1}, "spend_usd must be"),
        ({"agent_id": "a", "tool": "search.read", "spend_usd": True}, "spend_usd must be"),
        ({"agent_id": "a", "tool": "search.read", "spend_usd": 1e9}, "spend_usd must be"),
        (b'{"agent_id": "a", "agent_id": "b"}', "repeats a key"),
        (b"[1]", "not a JSON object"),
        (b'{"spend_usd": NaN}', "strict JSON"),
    ],
)
async def test_what_is_malformed_is_422_with_a_sentence(
    running: Running, tool: ToolServer, body: object, words: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    async with running.agent.post("/v1/ai/run", data=data, headers=headers) as answer:
        assert answer.status == 422
        assert words in (await answer.json(content_type=None))["detail"]
    assert tool.calls == 0


async def test_negative_spend_through_the_sdk_is_a_validation_error(sdk: Sdk) -> None:
    with pytest.raises(ValidationError, match="spend_usd must be a number"):
        await sdk.run(spend_usd=-1.0)


@pytest.mark.parametrize(
    "path", ["ai/renew", "check-lock/x", "me", "usage", "events", "runs/x", "metrics", "", "policies/a/b/c"]
)
async def test_what_is_not_built_is_404_with_a_sentence(running: Running, path: str) -> None:
    async with running.agent.post(f"/v1/{path}", json={}, headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert answer.status == 404
        assert (await answer.json(content_type=None))["detail"].startswith("This part of the API is not built")


async def test_background_runs_are_not_built(running: Running, sdk: Sdk) -> None:
    with pytest.raises(ApiError, match="Background runs"):
        await sdk(lambda client: client.ai.run(key="job-1"))


async def test_the_fixed_agent_is_the_only_one(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy(tool), GATEWAY_AGENT_ID="me", **KEYS)
    sdk = Sdk(running.gateway.data_url)
    assert (await sdk.run(agent="me")).ok
    with pytest.raises(UnauthorizedError, match="GATEWAY_AGENT_ID"):
        await sdk.run(agent="other")
    assert tool.calls == 1


async def test_a_run_prefix_in_the_base_url_names_the_run(running: Running) -> None:
    sdk = Sdk(f"{running.gateway.data_url}/runs/task-9/v1")
    assert (await sdk.run()).ok
    assert (await running.seen.ended()).run_id == "task-9"


async def test_tools_of_an_mcp_server_are_called_by_mcp(start: StartGateway, tool: ToolServer) -> None:
    text = policy(tool, allowlist=["github.*"], mcp_servers={"github": {"url": tool.url + "/mcp"}})
    running = await start(text, **KEYS)
    res = await Sdk(running.gateway.data_url).run("github.search")
    assert (res.allowed, res.policy_reason) == (False, "tool_not_configured")
    assert "an MCP client calls it at /mcp/github" in res.result["detail"]
    assert tool.calls == 0


async def test_a_fetch_follows_redirects_and_keeps_cookies_to_itself(sdk: Sdk, tool: ToolServer) -> None:
    tool.replies = [status(302, Location="/next", Set_Cookie="a=1")]
    res = await sdk.run("http.get", args={"url": tool.url})
    assert (res.ok, res.result["status"]) == (True, 200)
    assert [request.path for request in tool.received] == ["/", "/next"]
    assert "set-cookie" not in res.result["headers"]


async def test_a_stream_of_events_is_one_answer_or_late(start: StartGateway, tool: ToolServer) -> None:
    goes_on = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        if request.path == "/notes.write":
            await goes_on.wait()
        return response

    tool.behaviour = stream
    running = await start(policy(tool, definitions={"notes.write": {"deadline_ms": 300}}), **KEYS)
    sdk = Sdk(running.gateway.data_url)
    assert (await sdk.run()).result["body"] == "data: 1\n\n"
    res = await sdk.run("notes.write")
    assert (res.ok, res.policy_reason, res.result["reason"]) == (False, "tool_error", "outcome_unknown")


async def test_a_fetch_that_no_rule_allows_is_refused(sdk: Sdk, tool: ToolServer) -> None:
    for url, reason in [("http://example.com/", "egress_not_allowed"), ("not a url", "invalid_request")]:
        res = await sdk.run("http.get", args={"url": url})
        assert (res.allowed, res.policy_reason) == (False, reason)
    assert tool.calls == 0
