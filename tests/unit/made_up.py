"""Calls, plans and switches for pure tests: valid throughout; a test changes by name what it is about."""

from dataclasses import replace
from typing import Any

from gateway.model import Budgets, Door, Effect, KillSwitch, Moment, RunKey, Source, ToolCall
from gateway.policy.snapshot import Egress, Plan, Retries, Tls, UpstreamPlan
from gateway.state.journal import Charge
from gateway.state.switches import parse_scope

NOON = Moment(mono=1_000.0, wall=1_700_000_000.0)
BUDGETS = Budgets(max_steps=25, max_tool_calls=12, max_seconds=60)
UPSTREAM = UpstreamPlan(
    name="search",
    key="search",
    scheme="http",
    host="tools.internal",
    port=9000,
    base_path="",
    headers=(),
    max_connections=100,
    connect_timeout=2,
    keepalive=4,
    max_connection_age=300,
    tls=Tls(),
)
CALL = ToolCall(
    id="c1",
    door=Door.TOOL_PATH,
    agent="scout",
    run=RunKey("scout", "r1"),
    tool="search.read",
    method="POST",
    rest="",
    query="",
    target="/query",
    headers=(),
    body=b"{}",
    started=NOON,
)
PLAN = Plan(
    agent="scout",
    tool="search.read",
    allowed=True,
    rule='tools.allowlist: "search.read"',
    effect=Effect.READ,
    builtin=False,
    upstream=UPSTREAM,
    missing=None,
    methods=None,
    path="/query",
    takes_rest=False,
    timeout=8,
    deadline=25,
    retries=Retries(2, (0.2, 0.8), frozenset({429, 502, 503, 504})),
    idempotent=False,
    stream=False,
    stream_idle=300,
    arguments=None,
    max_request_bytes=1 << 20,
    max_response_bytes=10 << 20,
    forward_authorization=False,
    budgets=BUDGETS,
    egress=Egress(frozenset(), frozenset(), False, frozenset({80, 443}), ()),
    report=False,
    anonymous="window",
)


def later(seconds: float, now: Moment = NOON) -> Moment:
    """Both clocks moved on alike."""
    return Moment(now.mono + seconds, now.wall + seconds)


def a_call(run: str = "r1", agent: str = "scout", **changes: Any) -> ToolCall:
    """`run` "" is an anonymous call."""
    return CALL._replace(agent=agent, run=RunKey(agent, run), **changes)


def a_charge(key: RunKey = CALL.run, *, step: int | None = None, now: Moment = NOON, **changes: Any) -> Charge:
    """One free call of search.read."""
    return Charge(key, **{"tool": "search.read", "spend": 0, "step": step, "at": now, **changes})


def a_plan(**changes: Any) -> Plan:
    return replace(PLAN, **changes)


def a_switch(scope: str, reason: str = "", **changes: Any) -> KillSwitch:
    switch = KillSwitch(parse_scope(scope), reason, "operator", NOON.wall, source=Source.RUNTIME)
    return replace(switch, **changes)
