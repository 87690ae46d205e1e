"""A call that is repeated with its Idempotency-Key: answered once more, not performed once more, charged nothing (SPEC 5)."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from gateway.denial import Reason
from gateway.model import Decision
from tests.doors.conftest import POLICY as USUAL
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import Behaviour, ToolServer, status
from tests.doors.wire import Answer, ask, request

WRITE, READ, HONOURS = "notes.write", "search.read", "notes.put"
POLICY = policy_of(
    {WRITE: {"route": "POST /notes"}, READ: {"effect": "read"}, HONOURS: {"idempotency_key": True}},
    agents={"scout": {}, "clerk": {}},
)
KEY = "Idempotency-Key: k1"


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start(POLICY)


async def post(running: Running, *fields: str, tool: str = WRITE, body: bytes = b'{"n": 1}') -> Answer:
    return await ask(running.gateway.data_url, request(f"POST /tools/{tool}", *fields, body=body))


def reason(answer: Answer) -> str | None:
    return answer.header("Tool-Gateway-Reason")


def counted(*, code: int = 200, **headers: str) -> Behaviour:
    """Every answer is another one."""
    made = iter(range(1000))

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response({"made": next(made)}, status=code, headers=headers)

    return reply


async def test_a_repeated_call_gets_the_first_ones_answer(running: Running, tool: ToolServer) -> None:
    tool.behaviour = counted(code=201, ETag='"v1"')
    first = await post(running, KEY)
    again = await post(running, KEY)
    assert tool.calls == 1
    assert (first.status, first.body, reason(first), first.header("Tool-Gateway-Attempts")) == (
        201,
        b'{"made": 0}',
        "ok",
        "1",
    )
    assert (again.status, again.body, reason(again), again.header("Tool-Gateway-Attempts")) == (
        201,
        first.body,
        "dedup",
        "0",
    )
    of_the_tool = ("Content-Type", "ETag", "Date", "Server")
    assert [again.header(name) for name in of_the_tool] == [first.header(name) for name in of_the_tool]
    assert again.header("Tool-Gateway-Call-Id") != first.header("Tool-Gateway-Call-Id")
    assert again.header("Tool-Gateway-Remaining") == first.header("Tool-Gateway-Remaining")
    record = await running.seen.ended(2)
    assert (record.reason, record.decision, record.attempts, record.cost_micro_usd, record.status) == (
        Reason.DEDUP,
        Decision.ALLOW,
        0,
        0,
        201,
    )
    assert record.call_id == again.header("Tool-Gateway-Call-Id")
    assert record.bytes_out == len(first.body)


async def test_all_cookies_of_an_answer_are_replayed(running: Running, tool: ToolServer) -> None:
    async def two_cookies(request: web.Request) -> web.StreamResponse:
        answer = web.Response(text="ok")
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer

    tool.behaviour = two_cookies
    first, again = await post(running, KEY), await post(running, KEY)
    cookies = [value for name, value in again.headers if name == "Set-Cookie"]
    assert cookies == [value for name, value in first.headers if name == "Set-Cookie"]
    assert len(cookies) == 2


async def test_the_same_arguments_spelled_otherwise_are_the_same_call(running: Running, tool: ToolServer) -> None:
    await post(running, KEY, body=b'{"a": 1, "b": [2]}')
    assert reason(await post(running, KEY, body=b'{ "b":[2],"a":1}')) == "dedup"
    assert tool.calls == 1


@pytest.mark.parametrize(
    "other", [b'{"n": 2}', b'{"n": 1, "m": 1}', b"{}", b"[1]", b"n=1", b'{"n": 18446744073709551617}']
)
async def test_a_key_with_other_arguments_is_no_repeat(running: Running, tool: ToolServer, other: bytes) -> None:
    await post(running, KEY, body=b'{"n": 18446744073709551616}' if b"1844" in other else b'{"n": 1}')
    answer = await post(running, KEY, body=other)
    assert (answer.status, reason(answer)) == (400, "invalid_request")
    assert answer.problem()["detail"].startswith("This Idempotency-Key was used for a call of notes.write with other")
    assert tool.calls == 1


async def test_method_rest_and_query_are_arguments_too(running: Running, tool: ToolServer) -> None:
    url = running.gateway.data_url
    assert reason(await ask(url, request(f"GET /tools/{READ}?q=1", KEY))) == "ok"
    for line in (f"GET /tools/{READ}?q=2", f"GET /tools/{READ}", f"POST /tools/{READ}?q=1"):
        assert reason(await ask(url, request(line, KEY))) == "invalid_request"
    assert reason(await ask(url, request(f"GET /tools/{READ}?q=1", KEY))) == "dedup"


async def test_agents_and_tools_do_not_share_keys(running: Running, tool: ToolServer) -> None:
    for fields in ((), ("Agent-Id: scout",), ("Agent-Id: clerk",)):
        assert reason(await post(running, KEY, *fields)) == "ok"
        assert reason(await post(running, KEY, *fields)) == "dedup"
    assert reason(await post(running, KEY, tool=READ)) == "ok"
    assert tool.calls == 4


async def test_another_key_is_another_call(running: Running, tool: ToolServer) -> None:
    assert reason(await post(running, KEY)) == "ok"
    assert reason(await post(running, "Idempotency-Key: k2")) == "ok"
    assert reason(await post(running)) == "ok"
    assert tool.calls == 3


async def test_a_new_run_may_repeat_what_an_earlier_one_did(running: Running, tool: ToolServer) -> None:
    """The agent was restarted between its call and the answer."""
    assert reason(await post(running, KEY, "Agent-Run-Id: r1")) == "ok"
    answer = await post(running, KEY, "Agent-Run-Id: r2")
    assert reason(answer) == "dedup"
    assert (answer.header("Tool-Gateway-Remaining") or "").startswith("tool_calls=12,")
    assert tool.calls == 1


@pytest.mark.parametrize("code", [200, 201, 204, 206, 400, 401, 403, 404, 409, 410, 422, 451])
async def test_an_answer_that_will_not_change_is_kept(running: Running, tool: ToolServer, code: int) -> None:
    tool.behaviour = status(code)
    first, again = await post(running, KEY), await post(running, KEY)
    assert (again.status, again.body, reason(again)) == (code, first.body, "dedup")
    assert tool.calls == 1


@pytest.mark.parametrize("code", [302, 304, 408, 425, 429, 500, 501, 502, 503, 504])
async def test_an_answer_that_may_change_is_not_kept(start: StartGateway, tool: ToolServer, code: int) -> None:
    running = await start(policy_of({WRITE: {}}, retries=0))
    tool.replies = [status(code)]
    assert (await post(running, KEY)).status == code
    assert reason(await post(running, KEY)) == "ok"
    assert tool.calls == 2


async def test_a_repeat_is_answered_when_the_budget_is_spent(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, AGENT_MAX_TOOL_CALLS="1")
    run = "Agent-Run-Id: r1"
    assert reason(await post(running, KEY, run)) == "ok"
    assert reason(await post(running, KEY, run)) == "dedup"
    assert reason(await post(running, run)) == "max_tool_calls"
    assert reason(await post(running, KEY, run)) == "dedup"  # though the run has ended by its budget
    assert tool.calls == 1


async def test_a_run_that_the_agent_finished_gets_no_repeat(running: Running, tool: ToolServer) -> None:
    run = "Agent-Run-Id: r1"
    await post(running, KEY, run)
    await ask(running.gateway.data_url, request("POST /_gateway/runs/r1/finish"))
    assert reason(await post(running, KEY, run)) == "run_finished"
    assert reason(await post(running, KEY)) == "dedup"


@pytest.mark.parametrize(
    ("scope", "word"),
    [
        ("all", "kill_switch"),
        ("writes", "kill_switch"),
        ("tool:notes.*", "kill_switch"),
        ("agent:scout", "agent_disabled"),
        ("run:r1", "kill_switch"),
    ],
)
async def test_a_kill_switch_is_asked_before_a_repeat(
    running: Running, tool: ToolServer, scope: str, word: str
) -> None:
    who = ("Agent-Id: scout", "Agent-Run-Id: r1")
    await post(running, KEY, *who)
    await running.kill(scope)
    assert reason(await post(running, KEY, *who)) == word
    await running.restore(scope)
    assert reason(await post(running, KEY, *who)) == "dedup"
    assert tool.calls == 1


async def reload(running: Running, policy: str) -> None:
    Path(running.gateway.settings.policy, "policy.yaml").write_text(policy)  # noqa: ASYNC240  a few bytes
    assert await running.gateway.policies.reload() == ()


async def test_the_allowlist_is_asked_before_a_repeat(running: Running, tool: ToolServer) -> None:
    await post(running, KEY)
    await reload(running, policy_of({READ: {}}))
    assert reason(await post(running, KEY)) == "tool_not_allowed"
    await reload(running, POLICY)
    assert reason(await post(running, KEY)) == "dedup"


async def test_the_token_is_asked_before_a_repeat(start: StartGateway, tool: ToolServer) -> None:
    policy = policy_of({WRITE: {}}, agents={"scout": {"token": "${env:SCOUT}"}, "default": {}})
    running = await start(policy, SCOUT="a-token-of-the-tests")
    await post(running, KEY, "Agent-Token: a-token-of-the-tests")
    assert reason(await post(running, KEY, "Agent-Token: another")) == "unauthenticated"
    assert reason(await post(running, KEY, "Agent-Id: scout")) == "unauthenticated"
    assert reason(await post(running, KEY, "Agent-Token: a-token-of-the-tests")) == "dedup"


async def test_a_schema_that_is_stricter_now_is_asked_before_a_repeat(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({WRITE: {}}))
    await post(running, KEY)
    await reload(running, policy_of({WRITE: {"arguments": {"type": "object", "required": ["q"]}}}))
    assert reason(await post(running, KEY)) == "arguments_not_allowed"


async def test_a_policy_that_keeps_less_forgets_at_once(running: Running, tool: ToolServer) -> None:
    await post(running, KEY)
    await reload(running, policy_of({WRITE: {}}, idempotency={"max_bytes": "1 KiB"}))
    assert reason(await post(running, KEY)) == "ok"
    assert tool.calls == 2


async def test_report_mode_lets_a_repeat_pass_and_reports_the_same_rule(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({READ: {}}, mode="report"), GATEWAY_UPSTREAM=tool.url)
    first, again = await post(running, KEY), await post(running, KEY)
    assert (reason(first), reason(again)) == ("ok", "dedup")
    record = await running.seen.ended(2)
    assert (record.decision, record.report_reason) == (Decision.REPORT, Reason.TOOL_NOT_ALLOWED)


async def test_the_native_and_the_fetch_door_know_repeats(start: StartGateway, tool: ToolServer) -> None:
    port = int(tool.url.rpartition(":")[2])
    egress = {"allow_hosts": ["127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.0/8"]}
    running = await start(policy_of({WRITE: {"route": "POST /notes"}, "http.get": {}}, egress=egress))
    url = running.gateway.data_url
    fetched = json.dumps({"url": f"{tool.url}/page"}).encode()
    for call in (
        request("POST /notes", KEY, body=b"{}"),
        request("POST /tools/http.get", KEY, body=fetched),
    ):
        assert [reason(await ask(url, call)) for _ in range(2)] == ["ok", "dedup"]
    assert [received.path for received in tool.received] == ["/notes", "/page"]
    assert all("Idempotency-Key" not in received.headers for received in tool.received)


@pytest.mark.parametrize(
    "lines", [["Idempotency-Key: two words"], ["Idempotency-Key:"], [KEY, KEY], [KEY, "idempotency-key: k2"]]
)
async def test_a_key_that_is_malformed_or_doubled_is_refused(
    running: Running, tool: ToolServer, lines: list[str]
) -> None:
    answer = await post(running, *lines)
    assert (answer.status, reason(answer)) == (400, "invalid_request")
    assert "1 to 255 visible ASCII" in answer.problem()["detail"]
    assert tool.calls == 0


async def test_a_long_body_with_a_key_is_held_and_compared_whole(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({WRITE: {"max_request_bytes": "200KiB"}}))
    body = b"x" * 150_000
    assert reason(await post(running, KEY, body=body)) == "ok"
    assert reason(await post(running, KEY, body=body)) == "dedup"
    assert reason(await post(running, KEY, body=body[:-1] + b"y")) == "invalid_request"
    assert reason(await post(running, KEY, body=b"x" * 204_801)) == "request_too_large"
    assert [received.body for received in tool.received] == [body]


async def test_only_a_tool_that_honours_keys_sees_one(running: Running, tool: ToolServer) -> None:
    await post(running, KEY)
    await post(running, KEY, tool=HONOURS)
    assert [received.headers.get("Idempotency-Key") for received in tool.received] == [None, "k1"]


@pytest.mark.parametrize("fields", [(KEY,), ()])
async def test_every_attempt_of_a_write_carries_the_same_key(
    running: Running, tool: ToolServer, fields: tuple[str, ...]
) -> None:
    """Which is what makes it safe to repeat."""
    tool.replies = [status(503), status(503)]
    answer = await post(running, *fields, tool=HONOURS)
    assert (answer.status, answer.header("Tool-Gateway-Attempts")) == (200, "3")
    keys = {received.headers["Idempotency-Key"] for received in tool.received}
    assert len(keys) == 1
    assert keys == {"k1"} or not fields
    await post(running, tool=HONOURS)
    assert tool.received[-1].headers["Idempotency-Key"] not in keys


async def test_a_caller_without_a_key_shares_nothing(running: Running, tool: ToolServer) -> None:
    answers = await asyncio.gather(*(post(running) for _ in range(3)))
    assert [reason(answer) for answer in answers] == ["ok"] * 3
    assert tool.calls == 3


async def test_a_refused_call_leaves_its_key_unused(start: StartGateway, tool: ToolServer) -> None:
    running = await start(USUAL)
    await running.kill("writes")
    assert reason(await post(running, KEY, body=b"{}")) == "kill_switch"
    await running.restore("writes")
    assert reason(await post(running, KEY, body=b'{"other": 1}')) == "ok"
