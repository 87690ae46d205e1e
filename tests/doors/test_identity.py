"""Which agent is calling, and what of its credentials goes on (SPEC 2 and 11)."""

import pytest

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer
from tests.doors.wire import Answer, ask, request

BILLING, OPS = "billing-secret-token", "ops-secret-token"
POLICY = policy_of(
    {"search.read": {"effect": "read"}, "mail.send": {"forward_authorization": True}},
    agents={
        "default": {"allowlist": ["search.read", "mail.send"]},
        "billing": {"token": "${env:BILLING}", "allowlist": ["search.read", "mail.send"]},
        "ops": {"token": "${env:OPS}"},
        "open": {"budgets": {"AGENT_MAX_TOOL_CALLS": 3}},
    },
)


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start(POLICY, BILLING=BILLING, OPS=OPS)


async def call(running: Running, *fields: str, tool: str = "search.read") -> Answer:
    return await ask(running.gateway.data_url, request(f"POST /tools/{tool}", *fields, body=b"{}"))


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ((), "default"),
        ((f"Agent-Token: {BILLING}",), "billing"),
        ((f"agent-token: {OPS}",), "ops"),
        ((f"Authorization: Bearer {BILLING}",), "billing"),
        ((f"Authorization: bearer {BILLING}",), "billing"),
        ((f"Agent-Token: {OPS}", f"Authorization: Bearer {BILLING}"), "ops"),
        (("Agent-Id: open",), "open"),
        (("Agent-Id: nobody",), "default"),
        (("Authorization: Basic dTpw",), "default"),
        ((f"Agent-Token: {OPS}", "Agent-Id: billing"), "ops"),
    ],
)
async def test_the_agent_is_who_shows_its_token(running: Running, fields: tuple[str, ...], agent: str) -> None:
    assert (await call(running, *fields)).status == 200
    assert (await running.seen.ended()).agent_id == agent


@pytest.mark.parametrize(
    "field",
    [
        "Agent-Token: guess",
        "Agent-Token: ",
        "Authorization: Bearer guess",
        "Authorization: Bearer ",
        "Agent-Id: billing",
        f"Agent-Token: {BILLING}x",
    ],
)
async def test_a_token_that_nobody_owns_is_unauthenticated(running: Running, tool: ToolServer, field: str) -> None:
    answer = await call(running, field)
    assert (answer.status, answer.problem()["reason"]) == (401, "unauthenticated")
    assert answer.header("WWW-Authenticate") == "Bearer"
    assert answer.header("x-should-retry") == "false"
    assert "guess" not in answer.body.decode()
    assert tool.calls == 0


CREDENTIALS = ("authorization", "agent-token", "agent-id", "agent-run-id", "agent-step", "proxy-authorization")


@pytest.mark.parametrize("name", ["search.read", "mail.send"])
@pytest.mark.parametrize(
    "fields",
    [
        (f"Agent-Token: {BILLING}",),
        (f"Authorization: Bearer {BILLING}",),
        (f"Agent-Token: {OPS}", f"Authorization: Bearer {BILLING}"),
        ("Agent-Id: open", "Agent-Run-Id: r1", "Agent-Step: 1", "Proxy-Authorization: Basic eDp5"),
    ],
)
async def test_tokens_and_identity_are_never_forwarded(
    running: Running, tool: ToolServer, name: str, fields: tuple[str, ...]
) -> None:
    assert (await call(running, *fields, tool=name)).status == 200
    [received] = tool.received
    assert not {header.lower() for header in received.headers} & set(CREDENTIALS)
    assert not any(token in repr(received) for token in (BILLING, OPS))


@pytest.mark.parametrize("variables", [{}, {"GATEWAY_AGENT_ID": "billing"}])
async def test_only_a_tool_that_says_so_gets_the_callers_own_authorization(
    start: StartGateway, tool: ToolServer, variables: dict[str, str]
) -> None:
    running = await start(POLICY, BILLING=BILLING, OPS=OPS, **variables)
    for value in ("Bearer of-the-tool", "Basic dTpw"):
        assert (await call(running, f"Authorization: {value}", tool="mail.send")).status == 200
        assert tool.received[-1].headers["Authorization"] == value
    assert (await call(running, "Authorization: Basic dTpw")).status == 200
    assert "Authorization" not in tool.received[-1].headers


async def test_a_fixed_agent_cannot_be_spoofed_and_looks_up_no_token(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, BILLING=BILLING, OPS=OPS, GATEWAY_AGENT_ID="billing")
    fields = (
        f"Agent-Token: {OPS}",
        f"Authorization: Bearer {OPS}",
        "Agent-Id: ops",
        "Agent-Token: guess",
        "Authorization: Bearer guess",
    )
    for n, field in enumerate(fields, 1):
        assert (await call(running, field)).status == 200
        assert (await running.seen.ended(n)).agent_id == "billing"
    assert (await call(running, f"Authorization: Bearer {OPS}", tool="mail.send")).status == 200
    assert OPS not in repr(tool.received)


async def test_an_agents_own_list_and_budget_hold(start: StartGateway) -> None:
    policy = policy_of(
        {"search.read": {"effect": "read"}, "notes.write": {}},
        agents={
            "reader": {"allowlist": ["search.*"], "budgets": {"AGENT_MAX_TOOL_CALLS": 2}},
            "careful": {"denylist": ["notes.*"]},
        },
    )
    running = await start(policy, AGENT_MAX_TOOL_CALLS="9")
    reader = [
        (await call(running, "Agent-Id: reader", "Agent-Run-Id: r", tool=t)) for t in ("search.read", "notes.write")
    ]
    assert [a.header("Tool-Gateway-Reason") for a in reader] == ["ok", "tool_not_allowed"]
    assert str(reader[0].header("Tool-Gateway-Remaining")).startswith("tool_calls=1,")
    careful = await call(running, "Agent-Id: careful", tool="notes.write")
    assert 'agents.careful.denylist: "notes.*"' in careful.problem()["detail"]
