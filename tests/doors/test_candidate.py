"""A candidate policy over sockets: who lives under it, what it does to nobody else, and what is told of the difference."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.model import RunKey
from gateway.state.rollout import is_chosen
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, status

RUNS = [f"task-{n}" for n in range(40)]
CANARY = [run for run in RUNS if is_chosen("default", run, 50)]
LIVE = [run for run in RUNS if not is_chosen("default", run, 50)]
TOOLS = {"search.read": {"effect": "read"}, "notes.write": {"effect": "write"}}


class Answered(NamedTuple):
    status: int
    reason: str
    policy: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    return tmp_path / "policies"


def write(folder: Path, candidate: object) -> None:
    (folder / "candidate.yaml").write_text(json.dumps(candidate))


def live_policy(definitions: Any = TOOLS, percent: float = 50, **sections: Any) -> str:
    return policy_of(definitions, rollout={"canary_percent": percent}, **sections)


def tools_of(definitions: Any) -> Any:
    return {"tools": json.loads(policy_of(definitions))["tools"]}


async def call(running: Running, tool: str, run: str, body: Any = None, **headers: str) -> Answered:
    prefix = f"/runs/{run}" if run else ""
    async with running.agent.post(f"{prefix}/tools/{tool}", json=body or {}, headers=headers) as answer:
        await answer.read()
        return Answered(answer.status, answer.headers["Tool-Gateway-Reason"], answer.headers["Tool-Gateway-Policy"])


def versions(running: Running) -> tuple[str, str]:
    candidate = running.gateway.policies.candidate
    assert candidate is not None
    return running.gateway.policies.snapshot.version, candidate.snapshot.version


def words(running: Running) -> list[str | None]:
    return [record.candidate for record in running.seen.records]


async def test_a_share_of_the_runs_lives_under_the_candidate_and_stays_there(
    start: StartGateway, folder: Path, tool: ToolServer
) -> None:
    write(folder, tools_of({"search.read": {"effect": "read"}}))
    running = await start(live_policy())
    live, candidate = versions(running)
    assert live != candidate
    for run in (*CANARY[:3], *LIVE[:3]):
        expected = (403, "tool_not_allowed", candidate) if run in CANARY else (200, "ok", live)
        assert [await call(running, "notes.write", run) for _ in range(2)] == [expected] * 2
        assert (await call(running, "search.read", run)).policy == expected[2]
    assert tool.calls == 3 * 3 + 3
    assert set(words(running)) == {"denied:tool_not_allowed", "canary", "would_deny:tool_not_allowed", "same"}


async def test_calls_without_a_run_go_by_their_agent(start: StartGateway, folder: Path) -> None:
    agents = [f"agent-{n}" for n in range(12)]
    write(folder, {"agents": {agent: {"budgets": {"AGENT_MAX_TOOL_CALLS": 3}} for agent in agents}})
    running = await start(live_policy(agents={agent: {} for agent in agents}))
    live, candidate = versions(running)
    for agent in agents:
        expected = candidate if is_chosen(agent, "", 50) else live
        policies = {(await call(running, "search.read", "", **{"Agent-Id": agent})).policy for _ in range(2)}
        assert policies == {expected}


async def test_at_0_percent_it_is_judged_in_shadow_only(start: StartGateway, folder: Path) -> None:
    write(folder, tools_of({"search.read": {"effect": "read"}}))
    running = await start(live_policy(percent=0))
    live, _ = versions(running)
    assert {(await call(running, "notes.write", run)).policy for run in RUNS[:10]} == {live}
    assert words(running) == ["would_deny:tool_not_allowed"] * 10


async def test_its_budgets_are_those_of_its_runs_counted_once(start: StartGateway, folder: Path) -> None:
    write(folder, {"agents": {"default": {"budgets": {"AGENT_MAX_TOOL_CALLS": 2}}}})
    running = await start(live_policy(agents={"default": {"budgets": {"AGENT_MAX_TOOL_CALLS": 3}}}))
    for run, limit in ((CANARY[0], 2), (LIVE[0], 3)):
        statuses = [(await call(running, "search.read", run)).status for _ in range(limit + 1)]
        assert statuses == [200] * limit + [403]
        async with running.agent.get(f"/_gateway/runs/{run}") as answer:
            body = await answer.json()
        assert (body["limits"]["tool_calls"], body["counts"]["tool_calls"]) == (limit, limit)
    assert words(running)[:4] == ["canary", "canary", "denied:max_tool_calls", "same"]
    assert words(running)[5:] == ["would_deny:max_tool_calls", "same"], "it would have refused the third one"


async def test_housekeeping_ends_a_run_when_the_seconds_of_its_own_policy_are_up(
    start: StartGateway, folder: Path
) -> None:
    write(folder, {"agents": {"default": {"budgets": {"AGENT_MAX_SECONDS": 1}}}})
    running = await start(live_policy(agents={"default": {"budgets": {"AGENT_MAX_SECONDS": 600}}}))
    await asyncio.gather(call(running, "search.read", CANARY[0]), call(running, "search.read", LIVE[0]))
    async with asyncio.timeout(10):
        while "run_finished" not in running.seen.names():  # noqa: ASYNC110  housekeeping looks once a second
            await asyncio.sleep(0.05)
    finished = [event.fields["run_id"] for event in running.seen.events if event.name == "run_finished"]
    assert finished == [CANARY[0]]
    assert (await call(running, "search.read", LIVE[0])).status == 200


async def test_its_routes_serve_its_runs(start: StartGateway, folder: Path, tool: ToolServer) -> None:
    upstreams = {"tools": {"url": tool.url}}
    old = {"search.read": {"effect": "read", "upstream": "tools", "route": "GET /old"}}
    new = {"search.read": {"effect": "read", "upstream": "tools", "route": "GET /new"}}
    write(folder, tools_of(new))
    running = await start(live_policy(old, upstreams=upstreams))
    statuses = {}
    for run in (CANARY[0], LIVE[0]):
        for path in ("/old", "/new"):
            async with running.agent.get(f"/runs/{run}{path}") as answer:
                statuses[run, path] = answer.status
    assert statuses == {
        (CANARY[0], "/old"): 403,
        (CANARY[0], "/new"): 200,
        (LIVE[0], "/old"): 200,
        (LIVE[0], "/new"): 403,
    }
    assert words(running) == [
        "denied:tool_not_allowed",
        "canary",
        "would_deny:tool_not_allowed",
        "would_allow:tool_not_allowed",
    ]
    assert [received.path for received in tool.received] == ["/new", "/old"]


async def test_arguments_are_judged_by_a_schema_that_only_the_candidate_has(
    start: StartGateway, folder: Path, tool: ToolServer
) -> None:
    schema = {"type": "object", "required": ["q"]}
    write(folder, tools_of({"search.read": {"effect": "read", "arguments": schema}}))
    running = await start(live_policy({"search.read": {"effect": "read"}}))
    assert (await call(running, "search.read", LIVE[0], {"q": "x"})).reason == "ok"
    assert (await call(running, "search.read", LIVE[0], {"p": "x"})).reason == "ok"
    assert (await call(running, "search.read", LIVE[0], {"p": "x" * 70_000})).reason == "ok"
    async with running.agent.post(f"/runs/{LIVE[0]}/tools/search.read", data=b"no JSON") as answer:
        assert answer.status == 200
    assert (await call(running, "search.read", CANARY[0], {"p": "x"})).reason == "arguments_not_allowed"
    assert words(running) == [
        "same",
        "would_deny:arguments_not_allowed",
        "unknown",
        "would_deny:invalid_request",
        "denied:arguments_not_allowed",
    ]
    assert [len(received.body) for received in tool.received] == [10, 10, 70_009, 7], "as they came, all of them"


async def test_a_body_that_only_one_of_them_takes_is_a_difference(start: StartGateway, folder: Path) -> None:
    write(folder, tools_of({"search.read": {"effect": "read", "max_request_bytes": 100}}))
    running = await start(live_policy({"search.read": {"effect": "read", "max_request_bytes": 1000}}))
    for run, size in ((LIVE[0], 500), (LIVE[0], 2000), (CANARY[0], 50), (CANARY[0], 500), (CANARY[0], 2000)):
        await call(running, "search.read", run, {"p": "x" * size})
    assert words(running) == ["would_deny:request_too_large", "same", "canary", "denied:request_too_large", "canary"]


async def test_what_is_wrong_with_a_body_is_nobodys_policy(start: StartGateway, folder: Path) -> None:
    write(folder, tools_of({"http.get": {}}))
    running = await start(live_policy({"http.get": {}}))
    for run in (CANARY[0], LIVE[0]):
        assert (await call(running, "http.get", run, {"no": "url"})).reason == "invalid_request"
    assert words(running) == [None, None]
    assert running.gateway.rollout.differences == {}


@pytest.mark.sources
async def test_a_shadow_that_fails_harms_no_call(
    start: StartGateway, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, tools_of({"search.read": {"effect": "read"}}))
    running = await start(live_policy({"search.read": {"effect": "read"}}))
    candidate = running.gateway.policies.candidate
    assert candidate is not None
    monkeypatch.setattr(candidate.snapshot, "plan", lambda agent, tool: None)
    assert (await call(running, "search.read", LIVE[0])).reason == "ok"
    monkeypatch.setattr(candidate.snapshot, "plan", lambda agent, tool: 1 / 0)
    assert (await call(running, "search.read", LIVE[0])).reason == "ok"
    monkeypatch.undo()
    assert (await call(running, "search.read", LIVE[0])).reason == "ok"
    assert running.seen.names().count("internal_error") == 2
    assert words(running) == ["failed", "failed", "same"]


async def test_when_the_candidate_goes_its_runs_go_on_under_the_policy(
    start: StartGateway, folder: Path, tool: ToolServer
) -> None:
    write(folder, tools_of({"search.read": {"effect": "read"}}))
    running = await start(live_policy())
    live, candidate = versions(running)
    release = asyncio.Event()
    tool.replies.append(hang(release))
    before = asyncio.create_task(call(running, "search.read", CANARY[0]))
    await tool.seen(1)
    (folder / "candidate.yaml").unlink()
    await running.gateway.policies.reload()
    assert await call(running, "notes.write", CANARY[0]) == (200, "ok", live)
    release.set()
    assert await before == (200, "ok", candidate), "a call in flight keeps its rules"
    assert words(running) == [None, "canary"]
    actions = [event.fields["action"] for event in running.seen.events if event.name == "rollout"]
    assert actions == ["started", "ended"]


async def test_a_bad_candidate_leaves_the_policy_for_every_run(start: StartGateway, folder: Path) -> None:
    write(folder, {"mode": "report"})
    running = await start(live_policy())
    live = running.gateway.policies.snapshot.version
    assert {(await call(running, "search.read", run)).policy for run in RUNS[:10]} == {live}
    async with running.operator.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["degraded"]) == (200, ["policy_rejected"])


async def test_a_candidates_broken_upstream_opens_no_breaker_of_live_runs(
    start: StartGateway, folder: Path, tool: ToolServer
) -> None:
    write(folder, {"upstreams": {"tools": {"url": "http://127.0.0.1:9"}}})
    policy = live_policy(
        {"search.read": {"effect": "read", "upstream": "tools"}}, upstreams={"tools": {"url": tool.url}}
    )
    running = await start(policy, AGENT_MAX_TOOL_CALLS="100")
    reasons = [(await call(running, "search.read", CANARY[0])).reason for _ in range(8)]
    assert reasons[-1] == "circuit_open"
    assert (await call(running, "search.read", LIVE[0])).reason == "ok"
    assert {record.upstream for record in running.seen.records} == {"tools (candidate)", "tools"}
    async with running.operator.get("/v1/upstreams") as answer:
        named = {upstream["name"]: upstream["url"] for upstream in (await answer.json())["upstreams"]}
    assert named == {"default": tool.url, "tools": tool.url, "tools (candidate)": "http://127.0.0.1:9"}


async def test_its_connections_live_as_long_as_it_does(start: StartGateway, folder: Path, tool: ToolServer) -> None:
    write(folder, {"upstreams": {"tools": {"url": tool.url, "headers": {"X-Policy": "candidate"}}}})
    definitions = {"search.read": {"effect": "read", "upstream": "tools"}}
    upstreams = {"tools": {"url": tool.url}}
    running = await start(live_policy(definitions, upstreams=upstreams))

    def connected() -> set[object]:
        known = {status["upstream"] for status in running.gateway.ways_out.upstreams.status()}
        return known - {"default"}  # which no tool names

    for run in (CANARY[0], LIVE[0]):
        await call(running, "search.read", run)
    assert [received.headers.get("X-Policy") for received in tool.received] == ["candidate", None]
    assert connected() == {"tools", "tools (candidate)"}
    (folder / "policy.yaml").write_text(live_policy(definitions, upstreams=upstreams, mode="report"))
    await running.gateway.policies.reload()
    assert connected() == {"tools", "tools (candidate)"}
    await running.gateway.operations.roll_back("drill", "ada")
    assert connected() == {"tools"}


async def test_a_candidates_narrow_rate_holds_up_no_live_run(
    start: StartGateway, folder: Path, tool: ToolServer
) -> None:
    slow = {"search.read": {"effect": "read", "rate": {"per_second": 0.01, "burst": 1}, "deadline_ms": 1000}}
    fast = {"search.read": {"effect": "read", "rate": {"per_second": 1000, "burst": 1000}, "deadline_ms": 1000}}
    write(folder, tools_of(slow))
    running = await start(live_policy(fast), AGENT_MAX_TOOL_CALLS="100")
    assert [(await call(running, "search.read", CANARY[0])).reason for _ in range(2)] == ["ok", "rate_limited"]
    mixed = [(await call(running, "search.read", run)).reason for run in [LIVE[0], CANARY[1]] * 5]
    assert mixed == ["ok", "rate_limited"] * 5
    assert words(running).count("would_deny:rate_limited") == 5
    assert tool.calls == 6


async def test_explain_and_runs_speak_of_the_policy_that_a_run_lives_under(start: StartGateway, folder: Path) -> None:
    write(folder, {"agents": {"default": {"budgets": {"AGENT_MAX_TOOL_CALLS": 2}}}})
    running = await start(live_policy(agents={"default": {}}))
    live, candidate = versions(running)
    for run, version, limit in ((CANARY[0], candidate, 2), (LIVE[0], live, 12)):
        await call(running, "search.read", run)
        async with running.operator.get(f"/v1/explain?agent=default&tool=search.read&run={run}") as answer:
            assert (await answer.json())["policy"] == version
        async with running.operator.get(f"/v1/runs/default/{run}") as answer:
            assert (await answer.json())["limits"]["tool_calls"] == limit
    assert running.gateway.rollout.budgets_of(RunKey("default", CANARY[0])).max_tool_calls == 2


async def test_the_metric_counts_each_difference(start: StartGateway, folder: Path, tool: ToolServer) -> None:
    write(folder, tools_of({"search.read": {"effect": "read"}}))
    running = await start(live_policy())
    tool.replies.append(status(500))
    for run in (LIVE[0], LIVE[1], CANARY[0]):
        await call(running, "notes.write", run)
    async with running.operator.get("/metrics") as answer:
        lines = [line for line in (await answer.text()).splitlines() if "candidate_decisions_total{" in line]
    assert sorted(lines) == [
        'tool_gateway_candidate_decisions_total{diff="denied:tool_not_allowed"} 1.0',
        'tool_gateway_candidate_decisions_total{diff="would_deny:tool_not_allowed"} 2.0',
    ]
