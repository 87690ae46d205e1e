"""Which run a call belongs to, what a run may use, and run control for agents (SPEC 2, 4, 11)."""

import asyncio
import json
from typing import Any

import pytest

from tests.doors.conftest import POLICY, Running, StartGateway
from tests.doors.tool_server import ToolServer
from tests.doors.wire import Answer, ask, dial, request

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


async def call(running: Running, *fields: str, prefix: str = "") -> Answer:
    return await ask(running.gateway.data_url, request(f"POST {prefix}/tools/search.read", *fields, body=b"{}"))


async def control(running: Running, line: str, *fields: str, body: bytes = b"") -> Answer:
    return await ask(running.gateway.data_url, request(line, *fields, body=body))


def counts(answer: Answer) -> dict[str, Any]:
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json"), answer
    return json.loads(answer.body)  # type: ignore[no-any-return]  # JSON is Any


@pytest.mark.parametrize(
    ("prefix", "fields", "run"),
    [
        ("/runs/a.b_c:d-1", (), "a.b_c:d-1"),
        ("/runs/prefix", ("Agent-Run-Id: header",), "prefix"),
        ("", ("Agent-Run-Id: header", "baggage: agent.run_id=baggage"), "header"),
        ("", ("baggage: other=1, agent.run_id = bag%3Agage ;p=1",), "bag:gage"),
        ("", ("baggage: agent.run_id=baggage", TRACEPARENT), "baggage"),
        ("", (TRACEPARENT,), None),
        ("", ("baggage: other=1",), None),
        ("", (f"Agent-Run-Id: {'x' * 128}",), "x" * 128),
    ],
)
async def test_the_run_is_the_first_that_is_named(
    running: Running, prefix: str, fields: tuple[str, ...], run: str | None
) -> None:
    assert (await call(running, *fields, prefix=prefix)).status == 200
    assert (await running.seen.ended()).run_id == run


async def test_a_trace_names_the_run_where_policy_says_so(start: StartGateway, tool: ToolServer) -> None:
    running = await start(f"runs: {{identify_by_trace: true}}\n{POLICY}")
    assert (await call(running, TRACEPARENT)).status == 200
    record = await running.seen.ended()
    assert (record.run_id, record.trace_id) == (TRACE, TRACE)
    assert tool.received[0].headers["traceparent"] in TRACEPARENT
    assert (await call(running, "traceparent: garbage")).status == 200
    assert (await running.seen.ended(2)).run_id is None


@pytest.mark.parametrize("run", ["", "a b", "a/b", "é", "x" * 129, "a%00"])
async def test_a_malformed_run_id_is_refused_and_not_repeated(running: Running, tool: ToolServer, run: str) -> None:
    answer = await ask(
        running.gateway.data_url,
        f"POST /tools/search.read HTTP/1.1\r\nHost: localhost\r\nAgent-Run-Id: {run}\r\n\r\n".encode(),
    )
    assert (answer.status, answer.problem()["reason"], answer.problem()["run_id"]) == (400, "invalid_request", None)
    assert tool.calls == 0


async def test_every_door_names_the_run_in_its_answers(running: Running) -> None:
    answer = await control(running, "POST /runs/r1/tools/shell.exec")
    assert (answer.problem()["run_id"], answer.problem()["tool"]) == ("r1", "shell.exec")
    answer = await control(running, "POST /tools/.bad", "Agent-Run-Id: r1")
    assert (answer.problem()["run_id"], answer.problem()["tool"]) == ("r1", None)


async def test_run_control_tells_what_a_run_has_used(running: Running, tool: ToolServer) -> None:
    for step in (1, 4, 2):
        assert (await call(running, f"Agent-Step: {step}", prefix="/runs/r1")).status == 200
    answer = await control(running, "GET /_gateway/runs/r1")
    told = counts(answer)
    assert told["counts"].pop("seconds") >= 0
    assert told["remaining"].pop("seconds") in (59, 60)
    assert told == {
        "run_id": "r1",
        "agent_id": "default",
        "counts": {"tool_calls": 3, "steps": 4},
        "limits": {"tool_calls": 12, "steps": 25, "seconds": 60.0},
        "remaining": {"tool_calls": 9, "steps": 21},
        "stop_reason": None,
    }
    assert str(answer.header("Tool-Gateway-Remaining")).startswith("tool_calls=9, steps=21, seconds=")
    assert tool.calls == 3


async def test_an_unknown_run_is_404(running: Running) -> None:
    for line in ("GET /_gateway/runs/r1", "POST /_gateway/runs/r1/finish"):
        answer = await control(running, line)
        assert (answer.status, answer.problem()["reason"], answer.problem()["run_id"]) == (404, "invalid_request", "r1")


@pytest.mark.parametrize(
    ("line", "code", "allow"),
    [
        ("POST /_gateway/runs/r1", 405, "GET, HEAD"),
        ("GET /_gateway/runs/r1/steps", 405, "POST"),
        ("DELETE /_gateway/runs/r1/finish", 405, "POST"),
        ("GET /_gateway/runs/r1/other", 404, None),
        ("GET /_gateway/runs/", 400, None),
        ("GET /_gateway/runs/a%20b", 400, None),
        ("GET /_gateway/runs", 404, None),
    ],
)
async def test_what_run_control_does_not_take(running: Running, line: str, code: int, allow: str | None) -> None:
    answer = await control(running, line)
    assert (answer.status, answer.header("Allow"), answer.problem()["reason"]) == (code, allow, "invalid_request")


async def test_exactly_as_many_steps_as_allowed_are_taken_under_parallel_requests(start: StartGateway) -> None:
    running = await start(AGENT_MAX_STEPS="25")

    async def step() -> str:
        async with running.agent.post("/_gateway/runs/r1/steps") as answer:
            await answer.read()
            return f"{answer.status} {answer.headers['Tool-Gateway-Reason']}"

    ends = await asyncio.gather(*(step() for _ in range(200)))
    assert (ends.count("200 ok"), ends.count("403 max_steps")) == (25, 175)
    assert running.seen.names().count("run_started") == running.seen.names().count("run_finished") == 1


async def test_a_step_beyond_the_limit_is_the_max_steps_denial_and_ends_the_run(start: StartGateway) -> None:
    running = await start(AGENT_MAX_STEPS="2")
    assert [counts(await control(running, "POST /_gateway/runs/r1/steps"))["remaining"]["steps"] for _ in "ab"] == [
        1,
        0,
    ]
    answer = await control(running, "POST /_gateway/runs/r1/steps")
    assert (answer.status, answer.problem()["stop_reason"], answer.header("x-should-retry")) == (
        403,
        "max_steps",
        "false",
    )
    assert "all 2 of its 2 steps (AGENT_MAX_STEPS)" in answer.problem()["detail"]
    assert (await call(running, prefix="/runs/r1")).problem()["reason"] == "max_steps"
    assert counts(await control(running, "GET /_gateway/runs/r1"))["stop_reason"] == "max_steps"


async def test_an_announced_step_beyond_the_limit_is_refused_and_those_before_are_not(start: StartGateway) -> None:
    running = await start(AGENT_MAX_STEPS="3")
    ends = [
        (await call(running, f"Agent-Step: {n}", prefix="/runs/r1")).header("Tool-Gateway-Reason") for n in (1, 3, 3, 4)
    ]
    assert ends == ["ok", "ok", "ok", "max_steps"]


@pytest.mark.parametrize("value", ["-1", "1.5", "one", "", "99999999", "1 2"])
async def test_a_step_that_is_no_number_is_refused(running: Running, tool: ToolServer, value: str) -> None:
    answer = await call(running, f"Agent-Step: {value}")
    assert (answer.status, answer.problem()["reason"]) == (400, "invalid_request")
    assert tool.calls == 0


@pytest.mark.parametrize(
    ("body", "word"), [(b"", "finish"), (b'{"stop_reason": "gave_up"}', "gave_up"), (b"{}", "finish")]
)
async def test_a_finished_run_takes_no_more_calls(running: Running, tool: ToolServer, body: bytes, word: str) -> None:
    await call(running, prefix="/runs/r1")
    assert counts(await control(running, "POST /_gateway/runs/r1/finish", body=body))["stop_reason"] == word
    answer = await call(running, prefix="/runs/r1")
    assert (answer.status, answer.problem()["reason"], answer.problem()["stop_reason"]) == (
        403,
        "run_finished",
        "run_finished",
    )
    assert (await control(running, "POST /_gateway/runs/r1/steps")).problem()["reason"] == "run_finished"
    assert (
        counts(await control(running, "POST /_gateway/runs/r1/finish", body=b'{"stop_reason": "again"}'))["stop_reason"]
        == word
    )
    assert tool.calls == 1
    [event] = [event for event in running.seen.events if event.name == "run_finished"]
    assert (event.fields["stop_reason"], event.fields["tool_calls"], event.fields["steps"]) == (word, 1, None)


@pytest.mark.parametrize(
    "body", [b"finish", b"[]", b'{"stop_reason": 1}', b'{"stop_reason": "a b"}', b'{"stop_reason": "' + b"x" * 400]
)
async def test_a_finish_that_says_something_else_is_refused(running: Running, body: bytes) -> None:
    await call(running, prefix="/runs/r1")
    assert (await control(running, "POST /_gateway/runs/r1/finish", body=body)).status == 400
    assert counts(await control(running, "GET /_gateway/runs/r1"))["stop_reason"] is None


async def test_a_finish_may_come_in_pieces_but_not_for_ever(start: StartGateway) -> None:
    running = await start(GATEWAY_READ_TIMEOUT="0.3")
    await call(running, prefix="/runs/r1")
    async with dial(running.gateway.data_url) as wire:
        await wire.say(request("POST /_gateway/runs/r1/finish", "Content-Length: 23") + b'{"stop_reason"')
        await asyncio.sleep(0.05)
        await wire.say(b': "done"}')
        assert counts(await wire.answer())["stop_reason"] == "done"
        await wire.say(request("POST /_gateway/runs/r1/finish", "Content-Length: 23") + b"{")
        assert (await wire.answer()).status == 408


async def test_a_spent_budget_shows_as_stop_reason(start: StartGateway) -> None:
    running = await start(AGENT_MAX_TOOL_CALLS="1")
    await call(running, prefix="/runs/r1")
    assert counts(await control(running, "GET /_gateway/runs/r1"))["stop_reason"] == "max_tool_calls"


async def test_another_agents_runs_are_not_there(start: StartGateway) -> None:
    running = await start(f"agents: {{one: {{}}, two: {{}}}}\n{POLICY}")
    await call(running, "Agent-Id: one", prefix="/runs/r1")
    assert (await control(running, "GET /_gateway/runs/r1", "Agent-Id: one")).status == 200
    for line in ("GET /_gateway/runs/r1", "POST /_gateway/runs/r1/finish"):
        assert (await control(running, line, "Agent-Id: two")).status == 404
    assert (await call(running, "Agent-Id: one", prefix="/runs/r1")).status == 200


async def test_report_mode_softens_no_kill_switch_on_steps(start: StartGateway) -> None:
    running = await start(f"mode: report\n{POLICY}", AGENT_MAX_STEPS="1")
    assert [(await control(running, "POST /_gateway/runs/r1/steps")).status for _ in "ab"] == [200, 200]
    await running.kill("all")
    answer = await control(running, "POST /_gateway/runs/r1/steps")
    assert (answer.status, answer.problem()["reason"]) == (403, "kill_switch")


async def test_anonymous_calls_are_counted_in_windows(start: StartGateway, tool: ToolServer) -> None:
    running = await start(AGENT_MAX_TOOL_CALLS="2", AGENT_MAX_SECONDS="1")
    first = await call(running)
    assert first.header("Tool-Gateway-Remaining") == "tool_calls=1, steps=25"
    assert (await call(running)).status == 200
    answer = await call(running)
    assert (answer.status, answer.header("Retry-After"), answer.problem()["reason"]) == (429, "1", "max_tool_calls")
    assert (answer.problem()["stop_reason"], answer.problem()["retryable"]) == (None, True)
    assert 0 < answer.problem()["retry_after_ms"] <= 1000
    assert answer.header("x-should-retry") is None
    await asyncio.sleep(1)
    assert (await call(running)).status == 200
    assert "run_finished" not in running.seen.names()
    assert "run_started" not in running.seen.names()


async def test_a_window_with_more_than_a_minute_left_is_403_without_retry_after(start: StartGateway) -> None:
    running = await start(AGENT_MAX_TOOL_CALLS="1", AGENT_MAX_SECONDS="600")
    assert (await call(running)).status == 200
    answer = await call(running)
    assert (answer.status, answer.header("Retry-After"), answer.header("x-should-retry")) == (403, None, "false")
    assert 590_000 < answer.problem()["retry_after_ms"] <= 600_000
    assert answer.problem()["retryable"] is False


async def test_where_policy_wants_a_run_id_a_call_without_one_is_refused(start: StartGateway, tool: ToolServer) -> None:
    running = await start(f"runs: {{anonymous: deny}}\n{POLICY}")
    answer = await call(running)
    assert (answer.status, answer.problem()["reason"], answer.problem()["stop_reason"]) == (
        403,
        "run_id_required",
        None,
    )
    assert "Agent-Run-Id" in answer.problem()["detail"]
    assert (await call(running, "Agent-Run-Id: r1")).status == 200
    assert tool.calls == 1
