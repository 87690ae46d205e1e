"""What a run and an agent may use up, over sockets: exactly N are let through, the rest hear which limit, and it shows (SPEC 4)."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.denial import Reason
from gateway.model import Decision
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, status
from tests.doors.wire import ask, request

MANY = {"AGENT_MAX_TOOL_CALLS": "1000000"}
READ = {"effect": "read"}
COSTLY = {**READ, "cost_usd": 0.001}


def agents(**limits: Any) -> dict[str, Any]:
    return {"default": limits}


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "loop_detected": (READ, {"runs": {"max_identical_calls": 7}}, True),
    "max_usd": (COSTLY, {"runs": {"max_usd": 0.0079}}, True),
    "max_calls": ({**READ, "max_calls": 7}, {}, True),
    "too_many_runs": (READ, {"runs": {"max_started_per_hour": 7}}, False),
    "max_actions_per_hour": (READ, {"agents": agents(max_actions_per_hour=7)}, False),
    "max_spend_usd_per_day": (COSTLY, {"agents": agents(max_spend_usd_per_day=0.0079)}, False),
    "max_calls_per_tool": (READ, {"agents": agents(max_calls_per_tool={"search.*": 7})}, False),
}
"""By reason: the tool's definition, the policy's sections, and whether all calls are of one run rather than each of its own."""


def policy(kind: str, **sections: Any) -> str:
    definition, own, _ = KINDS[kind]
    return policy_of({"search.read": definition, "notes.write": {}}, **own, **sections)


async def call(agent: aiohttp.ClientSession, run: str, tool: str = "search.read") -> dict[str, Any]:
    """Its status, reason and what the answer says."""
    async with agent.post(f"/runs/{run}/tools/{tool}", json={"q": "tea"}) as answer:
        body = await answer.read()
        problem = json.loads(body) if answer.content_type == "application/problem+json" else {}
        headers = {"retry_after": answer.headers.get("Retry-After"), "again": answer.headers.get("x-should-retry")}
        return {**problem, **headers, "status": answer.status, "reason": answer.headers["Tool-Gateway-Reason"]}


@pytest.mark.parametrize("kind", KINDS)
async def test_of_a_thousand_parallel_calls_exactly_as_many_as_allowed_pass(
    start: StartGateway, tool: ToolServer, kind: str
) -> None:
    running = await start(policy(kind), **MANY)
    one_run = KINDS[kind][2]
    heard = await asyncio.gather(*(call(running.agent, "r" if one_run else f"r{n}") for n in range(1000)))
    assert Counter(answer["reason"] for answer in heard) == {"ok": 7, kind: 993}
    assert tool.calls == 7
    refused = next(answer for answer in heard if answer["reason"] == kind)
    stops = kind in ("loop_detected", "max_usd")
    assert refused["stop_reason"] == (kind if stops else None)
    # A minute's wait at the end of a day is a Retry-After; longer ones, and what no wait cures, must not be repeated.
    waits = refused["retry_after_ms"] is not None and refused["retry_after_ms"] <= 60_000
    assert (refused["status"], refused["again"]) == ((429, None) if waits else (403, "false"))
    assert (refused["retry_after_ms"] is None) == one_run


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "too_many_runs"])
async def test_report_mode_lets_pass_and_names_the_limit(start: StartGateway, tool: ToolServer, kind: str) -> None:
    running = await start(policy(kind, mode="report"), **MANY)
    for n in range(9):
        assert (await call(running.agent, "r" if KINDS[kind][2] else f"r{n}"))["reason"] == "ok"
    record = await running.seen.ended(9)
    assert (record.decision, record.report_reason) == (Decision.REPORT, Reason(kind))
    assert [record.report_reason for record in running.seen.records[:7]] == [None] * 7
    assert tool.calls == 9


async def test_a_step_that_starts_a_run_too_many_is_refused(start: StartGateway) -> None:
    running = await start(policy("too_many_runs"), **MANY)

    async def step(run: int) -> str:
        async with running.agent.post(f"/_gateway/runs/r{run}/steps") as answer:
            return answer.headers["Tool-Gateway-Reason"]

    ends = await asyncio.gather(*(step(run) for run in range(1000)))
    assert Counter(ends) == {"ok": 7, "too_many_runs": 993}
    assert running.seen.names().count("run_started") == 7
    assert (await call(running.agent, "late"))["reason"] == "too_many_runs"
    started = ends.index("ok")
    assert (await call(running.agent, f"r{started}"))["reason"] == "ok"


async def test_a_call_that_never_reached_its_tool_is_given_back_to_every_count(
    start: StartGateway,
) -> None:
    limited = agents(max_actions_per_hour=2, max_spend_usd_per_day=1)
    running = await start(
        policy_of({"search.read": {**COSTLY, "max_calls": 2}}, retries=0, runs={"max_usd": 1}, agents=limited),
        GATEWAY_UPSTREAM="http://127.0.0.1:9",
    )
    for n in range(4):
        assert (await call(running.agent, "r"))["reason"] == "upstream_failed"
        assert (await running.seen.ended(n + 1)).cost_micro_usd == 0
    async with running.agent.get("/_gateway/runs/r") as answer:
        told = await answer.json()
    assert (told["counts"]["tool_calls"], told["counts"]["usd"]) == (0, 0)
    assert running.gateway.operations.status()["agents"] == [
        {
            "agent_id": "default",
            "actions_this_hour": {"used": 0, "limit": 2},
            "runs_started_this_hour": {"used": 1, "limit": 6000},
            "usd_today": {"used": 0, "limit": 1},
            "calls_today": {},
        }
    ]


async def test_money_shows_where_it_is_limited(start: StartGateway) -> None:
    limits = agents(max_actions_per_hour=200, max_spend_usd_per_day=10, max_calls_per_tool={"search.read": 100})
    running = await start(policy_of({"search.read": COSTLY}, runs={"max_usd": 0.0025}, agents=limits))
    assert [(await call(running.agent, "r"))["reason"] for _ in range(3)] == ["ok", "ok", "max_usd"]
    async with running.agent.get("/_gateway/runs/r") as answer:
        told = await answer.json()
    assert (told["counts"]["usd"], told["limits"]["usd"], told["remaining"]["usd"]) == (0.002, 0.0025, 0.0005)
    assert told["stop_reason"] == "max_usd"
    async with running.operator.get("/v1/runs/default/r") as answer:
        seen = await answer.json()
    assert (seen["used"]["usd"], seen["limits"]["usd"], seen["remaining"]["usd"]) == (0.002, 0.0025, 0.0005)
    [finished] = [event.fields for event in running.seen.events if event.name == "run_finished"]
    assert (finished["stop_reason"], finished["cost_usd"]) == ("max_usd", 0.002)
    async with running.operator.get("/v1/status") as answer:
        [agent] = (await answer.json())["agents"]
    assert agent == {
        "agent_id": "default",
        "actions_this_hour": {"used": 2, "limit": 200},
        "runs_started_this_hour": {"used": 1, "limit": 6000},
        "usd_today": {"used": 0.002, "limit": 10.0},
        "calls_today": {"search.read": {"used": 2, "limit": 100}},
    }


async def test_a_model_that_hammers_at_a_forbidden_tool_is_told_to_stop(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy("loop_detected"))
    heard = [await call(running.agent, "r", "shell.run") for _ in range(9)]
    assert [answer["reason"] for answer in heard] == ["tool_not_allowed"] * 7 + ["loop_detected"] * 2
    assert (heard[-1]["stop_reason"], heard[-1]["again"]) == ("loop_detected", "false")
    assert tool.calls == 0


async def test_the_same_call_is_the_same_however_its_body_is_spelt(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({"search.read": READ}, runs={"max_identical_calls": 2}))
    heard = []
    for body in (b'{"q": "tea", "n": 1}', b'{"n":1,"q":"tea"}', b'{ "q":"te\\u0061", "n":1 }', b'{"q": "tea", "n": 2}'):
        answer = await ask(running.gateway.data_url, request("POST /runs/r/tools/search.read", body=body))
        heard.append(answer.header("Tool-Gateway-Reason"))
    assert heard == ["ok", "ok", "loop_detected", "loop_detected"], "and then the run has ended"
    assert tool.calls == 2


async def test_a_large_body_passes_by_the_loop_guard(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({"search.read": READ}, runs={"max_identical_calls": 1}))
    large = b'{"q": "' + b"x" * 100_000 + b'"}'
    for _ in range(3):
        answer = await ask(running.gateway.data_url, request("POST /runs/r/tools/search.read", body=large))
        assert answer.header("Tool-Gateway-Reason") == "ok"
    assert tool.calls == 3


async def test_a_tools_own_error_repeated_is_a_loop_like_any_other(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({"search.read": READ}, runs={"max_identical_calls": 2}))
    tool.replies += [status(500)] * 2
    assert [(await call(running.agent, "r"))["reason"] for _ in range(3)] == ["tool_error"] * 2 + ["loop_detected"]


async def test_a_reload_changes_limits_and_no_count(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({"search.read": READ}, agents=agents(max_actions_per_hour=3)))
    assert [(await call(running.agent, "r"))["reason"] for _ in range(4)] == ["ok"] * 3 + ["max_actions_per_hour"]
    running = await reloaded(running, policy_of({"search.read": READ}, agents=agents(max_actions_per_hour=5)))
    assert [(await call(running.agent, "r"))["reason"] for _ in range(3)] == ["ok"] * 2 + ["max_actions_per_hour"]
    running = await reloaded(running, policy_of({"search.read": {**READ, "max_calls": 5}}))
    assert (await call(running.agent, "r"))["reason"] == "max_calls", "counted before anybody limited it"
    assert tool.calls == 5


async def reloaded(running: Running, policy: str) -> Running:
    file = Path(running.gateway.settings.policy) / "policy.yaml"
    await asyncio.to_thread(file.write_text, policy)
    async with running.operator.post("/v1/policy/reload") as answer:
        assert (await answer.json())["ok"], await answer.text()
    return running
