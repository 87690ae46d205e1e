"""`mode: report` lets pass what policy would refuse, says so, and softens nothing else (SPEC 3)."""

import pytest

from gateway.denial import Reason
from gateway.model import Decision
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import Behaviour, ToolServer, reset, status
from tests.doors.wire import Answer, ask, request

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
DEFINITIONS = {"search.read": {"effect": "read", "arguments": SCHEMA}, "notes.write": {}, "http.get": {}}
EGRESS = {"allow_hosts": ["127.0.0.1"], "ports": [80]}


async def call(
    running: Running, tool: str, *fields: str, body: bytes = b'{"q": "tea"}', method: str = "POST"
) -> Answer:
    return await ask(running.gateway.data_url, request(f"{method} /tools/{tool}", *fields, body=body))


@pytest.fixture
async def running(start: StartGateway) -> Running:
    policy = policy_of(
        DEFINITIONS, mode="report", runs={"anonymous": "deny"}, egress=EGRESS, agents={"a": {"token": "${env:A}"}}
    )
    return await start(policy, AGENT_MAX_TOOL_CALLS="3", AGENT_MAX_STEPS="3", A="token-of-a")


async def passed(running: Running, answer: Answer, reason: Reason | None, count: int = 1) -> None:
    assert (answer.status, answer.header("Tool-Gateway-Mode")) == (200, "report"), answer
    record = await running.seen.ended(count)
    assert record.report_reason is reason
    assert record.decision is (Decision.REPORT if reason else Decision.ALLOW)


async def test_a_call_that_policy_allows_is_no_report(running: Running) -> None:
    await passed(running, await call(running, "search.read", "Agent-Run-Id: r"), None)


async def test_a_tool_that_is_not_allowed_passes_and_is_reported(running: Running, tool: ToolServer) -> None:
    await passed(running, await call(running, "shell.exec", "Agent-Run-Id: r", "X-A: 1"), Reason.TOOL_NOT_ALLOWED)
    assert (tool.received[0].path, tool.received[0].headers["X-A"]) == ("/shell.exec", "1")


async def test_arguments_that_break_their_schema_pass_and_are_reported(running: Running) -> None:
    await passed(
        running, await call(running, "search.read", "Agent-Run-Id: r", body=b"{}"), Reason.ARGUMENTS_NOT_ALLOWED
    )


@pytest.mark.parametrize("behaviour", [reset, status(500)])
async def test_a_call_that_was_let_pass_is_a_report_however_it_ends(
    running: Running, tool: ToolServer, behaviour: Behaviour
) -> None:
    tool.behaviour = behaviour
    await call(running, "shell.exec", "Agent-Run-Id: r")
    record = await running.seen.ended()
    assert (record.decision, record.report_reason) == (Decision.REPORT, Reason.TOOL_NOT_ALLOWED)


async def test_a_call_without_a_run_passes_and_is_reported(running: Running) -> None:
    await passed(running, await call(running, "notes.write"), Reason.RUN_ID_REQUIRED)


async def test_spent_budgets_pass_and_are_reported(running: Running, tool: ToolServer) -> None:
    for n in range(1, 6):
        answer = await call(running, "notes.write", "Agent-Run-Id: r")
        await passed(running, answer, None if n <= 3 else Reason.MAX_TOOL_CALLS, n)
    await passed(running, await call(running, "notes.write", "Agent-Run-Id: s", "Agent-Step: 9"), Reason.MAX_STEPS, 6)
    assert tool.calls == 6
    assert "run_finished" not in running.seen.names()


async def test_what_is_no_rule_of_policy_is_enforced(running: Running, tool: ToolServer) -> None:
    ends = [
        (await call(running, "search.read", "Agent-Run-Id: r", body=b"{"), 400, "invalid_request"),
        (await call(running, "search.read", "Agent-Run-Id: r", method="DELETE"), 405, "invalid_request"),
        (await call(running, "search.read/rest", "Agent-Run-Id: r"), 400, "invalid_request"),
        (await call(running, "shell.exec/rest", "Agent-Run-Id: r"), 400, "invalid_request"),
        (await call(running, "search.read", "Agent-Token: guess"), 401, "unauthenticated"),
        (await call(running, "search.read", "Origin: https://evil.example"), 403, "invalid_request"),
        (await call(running, "http.brew", "Agent-Run-Id: r"), 403, "tool_not_allowed"),
    ]
    for answer, code, reason in ends:
        assert (answer.status, answer.problem()["reason"]) == (code, reason)
    assert tool.calls == 0


async def test_a_kill_switch_is_never_softened(running: Running, tool: ToolServer) -> None:
    await running.kill("all")
    answer = await call(running, "search.read", "Agent-Run-Id: r")
    assert (answer.status, answer.problem()["reason"], answer.header("Tool-Gateway-Mode")) == (
        403,
        "kill_switch",
        "report",
    )
    assert tool.calls == 0


async def test_a_run_that_was_finished_stays_finished(running: Running, tool: ToolServer) -> None:
    assert (await call(running, "search.read", "Agent-Run-Id: r")).status == 200
    await ask(running.gateway.data_url, request("POST /_gateway/runs/r/finish"))
    answer = await call(running, "search.read", "Agent-Run-Id: r")
    assert (answer.status, answer.problem()["reason"]) == (403, "run_finished")
    assert tool.calls == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://localhost/", "http://10.0.0.1/", "http://[::1]/"])
async def test_a_fetch_to_what_is_not_public_is_refused_all_the_same(running: Running, url: str) -> None:
    answer = await call(running, "http.get", "Agent-Run-Id: r", body=b'{"url": "%s"}' % url.encode())
    assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
