"""A tool's queue as its callers meet it: who waits, who is sent away, who goes when, and what it costs (SPEC 5)."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from gateway.denial import Reason
from gateway.model import Decision
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import Behaviour, ToolServer, status
from tests.scenarios.installation import eventually

READ, WRITE = "search.read", "notes.write"


class Answer(NamedTuple):
    """To one call."""

    status: int
    reason: str
    headers: dict[str, str]
    body: dict[str, Any]
    seconds: float


class Crowd:
    """Numbered calls, each in a task of its own, made one after the other so that their order is known."""

    def __init__(self, running: Running, tool: str = READ) -> None:
        self.running = running
        self.tool = tool
        self.tasks: list[asyncio.Task[Answer]] = []

    @property
    def waiting(self) -> int:
        return self.running.gateway.counts.pacers.waiting().get(self.tool, 0)

    def call(self, run: str = "r") -> asyncio.Task[Answer]:
        task = asyncio.create_task(self._call(len(self.tasks), run))
        self.tasks.append(task)
        return task

    async def _call(self, number: int, run: str) -> Answer:
        loop = asyncio.get_running_loop()
        before, agent = loop.time(), self.running.agent
        prefix = f"/runs/{run}" if run else ""
        async with agent.post(f"{prefix}/tools/{self.tool}", json={"n": number}) as answer:
            body = await answer.json()
            headers = dict(answer.headers)
            return Answer(answer.status, headers["Tool-Gateway-Reason"], headers, body, loop.time() - before)

    async def lines_up(self, count: int) -> None:
        """So many more calls, each waiting before the next is made."""
        for _ in range(count):
            before = self.waiting
            self.call()
            await eventually(lambda before=before: self.waiting > before)  # type: ignore[misc]  # bound at once

    async def answers(self) -> list[Answer]:
        async with asyncio.timeout(10):
            return await asyncio.gather(*self.tasks)


class Gate:
    """A tool that answers once it is let, and counts how many it has at a time."""

    def __init__(self) -> None:
        self.at_work = self.most = 0
        self._open: asyncio.Queue[None] = asyncio.Queue()

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self._open.put_nowait(None)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self._open.get()
            return web.json_response({})
        finally:
            self.at_work -= 1


def paced(**limits: object) -> str:
    """search.read under these limits, every kind of retry off; notes.write without any."""
    return policy_of({READ: {"effect": "read", **limits}, WRITE: {}}, retries=0)


def charged(running: Running, run: str = "r") -> int:
    """Tool calls."""
    return next(found.tool_calls for found in running.gateway.counts.ledger.runs() if found.key.id == run)


def order(tool: ToolServer) -> list[int]:
    """Of the calls, as they reached the tool."""
    return [json.loads(received.body)["n"] for received in tool.received]


@pytest.fixture
def gate(tool: ToolServer) -> Gate:
    tool.behaviour = gate = Gate()
    return gate


async def test_no_more_are_at_work_than_there_are_places_and_the_others_go_in_order(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    crowd = Crowd(await start(paced(max_concurrency=2), AGENT_MAX_TOOL_CALLS="100"))
    for count in (1, 2):
        crowd.call()
        await tool.seen(count)
    await crowd.lines_up(8)
    for _ in range(10):
        gate.open()
    assert {answer.reason for answer in await crowd.answers()} == {"ok"}
    assert gate.most == 2
    assert order(tool) == list(range(10))
    assert crowd.waiting == 0


async def test_calls_of_one_moment_fill_the_queue_exactly_and_the_others_are_sent_away_uncharged(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    running = await start(paced(max_concurrency=3, max_waiting=7), AGENT_MAX_TOOL_CALLS="1000")
    crowd = Crowd(running)
    for _ in range(100):
        crowd.call()
    await eventually(lambda: sum(task.done() for task in crowd.tasks) == 90)
    assert crowd.waiting == 7
    assert charged(running) == 10
    gate.open(10)
    answers = await crowd.answers()
    assert Counter(answer.reason for answer in answers) == {"ok": 10, "overloaded": 90}
    away = next(answer for answer in answers if answer.reason == "overloaded")
    assert (away.status, away.headers["Retry-After"], away.body["retryable"]) == (503, "1", True)
    assert away.headers["Tool-Gateway-Attempts"] == "0"
    assert (tool.calls, gate.most) == (10, 3)


async def test_the_rate_spreads_what_is_beyond_the_burst_and_the_log_says_who_waited(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(paced(rate={"per_second": 20, "burst": 2}))
    crowd, time = Crowd(running), asyncio.get_running_loop().time
    began = time()
    for _ in range(6):
        crowd.call()
    answers = await crowd.answers()
    assert time() - began >= 0.19  # four turns after the burst, 50 ms each, however slowly the calls arrive
    assert {answer.reason for answer in answers} == {"ok"}
    await running.seen.ended(6)
    waited = sorted(record.waited_ms for record in running.seen.records)
    assert waited[:2] == [0, 0]
    assert waited[5] > 0


async def test_a_turn_beyond_the_deadline_is_refused_at_once_and_costs_nothing(
    start: StartGateway, tool: ToolServer
) -> None:
    crowd = Crowd(await start(paced(rate={"per_second": 0.05}, deadline_ms=5000)))
    assert (await crowd.call()).reason == "ok"
    refused = await crowd.call()
    assert (refused.status, refused.reason, refused.headers["Retry-After"]) == (429, "rate_limited", "20")
    assert 19_000 < refused.body["retry_after_ms"] <= 20_000
    assert refused.headers["Tool-Gateway-Remaining"].startswith("tool_calls=11,")
    assert refused.seconds < 5
    assert tool.calls == 1


async def test_a_wait_that_ends_after_the_run_is_a_403_without_retry_after(start: StartGateway) -> None:
    crowd = Crowd(await start(paced(rate={"per_second": 0.05}, deadline_ms=5000), AGENT_MAX_SECONDS="15"))
    await crowd.call()
    refused = await crowd.call()
    assert (refused.status, refused.reason, refused.body["retryable"]) == (403, "rate_limited", False)
    assert "Retry-After" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    assert refused.body["detail"].endswith("after the end of its run. Go on without this tool.")
    assert 19_000 < refused.body["retry_after_ms"] <= 20_000


def stream(until: asyncio.Event) -> Behaviour:
    """Begins at once and has no end of its own: no deadline bounds it."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await until.wait()
        return response

    return reply


async def test_a_place_that_is_never_free_ends_with_the_deadline_and_is_refunded(
    start: StartGateway, tool: ToolServer
) -> None:
    end = asyncio.Event()
    tool.replies = [stream(end)]
    running = await start(paced(max_concurrency=1, deadline_ms=300))
    async with running.agent.post(f"/tools/{READ}") as answer:
        late = await Crowd(running).call()
        assert (late.status, late.reason, late.headers["Retry-After"]) == (503, "overloaded", "1")
        assert "(max_concurrency: 1)" in late.body["detail"]
        assert late.headers["Tool-Gateway-Remaining"].startswith("tool_calls=12,"), "nothing of it was sent"
        record = await running.seen.ended()
        assert record.waited_ms >= 250
        assert record.attempts == 0
        end.set()
        await answer.read()
    assert tool.calls == 1


async def test_a_run_that_ends_while_its_call_waits_is_told_so(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    running = await start(paced(max_concurrency=1), AGENT_MAX_SECONDS="1")
    crowd = Crowd(running)
    crowd.call("")  # in no run, so that only its deadline ends it
    await tool.seen(1)
    late = await crowd.call()
    assert (late.status, late.reason, late.body["stop_reason"]) == (504, "tool_timeout", "max_seconds")
    assert "It was not sent." in late.body["detail"]
    gate.open()
    await crowd.answers()


async def test_a_kill_reaches_those_who_wait_and_the_others_keep_their_order(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    running = await start(paced(max_concurrency=1))
    crowd = Crowd(running)
    crowd.call()
    await tool.seen(1)
    for run in ("r", "bad", "r", "bad"):
        before = crowd.waiting
        crowd.call(run)
        await eventually(lambda before=before: crowd.waiting > before)  # type: ignore[misc]  # bound at once
    await running.kill("run:bad")
    killed = [await crowd.tasks[n] for n in (2, 4)]
    assert [(answer.status, answer.reason) for answer in killed] == [(403, "kill_switch")] * 2
    assert crowd.waiting == 2
    assert charged(running, "bad") == 0, "refunded: nothing of it was sent"
    gate.open(3)
    await crowd.answers()
    assert order(tool) == [0, 1, 3]


async def test_callers_that_leave_the_queue_are_never_sent_and_hold_nobody_up(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    running = await start(paced(max_concurrency=1))
    crowd = Crowd(running)
    crowd.call()
    await tool.seen(1)
    await crowd.lines_up(4)
    for number in (1, 3):  # the queue's head, and one in the middle
        crowd.tasks[number].cancel()
    await eventually(lambda: crowd.waiting == 2)
    gate.open(3)
    await asyncio.gather(*(crowd.tasks[n] for n in (0, 2, 4)))
    assert order(tool) == [0, 2, 4]
    await running.seen.ended(5)
    ends = Counter(record.reason for record in running.seen.records)
    assert ends == {Reason.OK: 3, Reason.CLIENT_GONE: 2}
    assert charged(running) == 3


async def test_a_stream_holds_its_place_until_it_is_through(start: StartGateway, tool: ToolServer) -> None:
    more = asyncio.Event()
    tool.replies = [stream(more)]
    running = await start(paced(max_concurrency=1))
    crowd = Crowd(running)
    async with running.agent.post(f"/tools/{READ}", json={"n": 9}) as answer:
        assert await answer.content.readline() == b"data: 1\n"
        await crowd.lines_up(1)
        assert tool.calls == 1
        more.set()
        await answer.read()
    assert (await crowd.tasks[0]).reason == "ok"


async def reload(running: Running, policy: str) -> None:
    """In force when this returns."""
    Path(running.gateway.settings.policy, "policy.yaml").write_text(policy)  # noqa: ASYNC240  a small file, once
    assert await running.gateway.policies.reload() == ()


async def test_a_rate_that_is_lifted_by_a_reload_releases_those_who_wait(start: StartGateway, tool: ToolServer) -> None:
    running = await start(paced(rate={"per_second": 0.1}, deadline_ms=100_000), AGENT_MAX_SECONDS="1000")
    crowd = Crowd(running)
    await crowd.call()
    await crowd.lines_up(3)
    await reload(running, paced())
    assert {answer.reason for answer in await crowd.answers()} == {"ok"}
    assert order(tool) == [0, 1, 2, 3]
    assert crowd.waiting == 0


async def test_a_reload_is_worth_no_burst(start: StartGateway, tool: ToolServer) -> None:
    running = await start(paced(rate={"per_second": 0.01, "burst": 2}))
    crowd = Crowd(running)
    await crowd.call()
    await crowd.call()
    for burst in (3, 2, 5, 2):
        await reload(running, paced(rate={"per_second": 0.01, "burst": burst}))
        assert (await crowd.call()).reason == "rate_limited"
    assert tool.calls == 2


async def test_429_with_retry_after_pauses_that_tool_alone(start: StartGateway, tool: ToolServer) -> None:
    tool.replies = [status(429, Retry_After="30")]
    running = await start(policy_of({READ: {"effect": "read", "deadline_ms": 5000}, WRITE: {}}))
    crowd = Crowd(running)
    first = await crowd.call()
    assert (first.status, first.reason) == (429, "tool_error"), (
        "the wait does not fit the deadline: its own answer is relayed"
    )
    refused = await crowd.call()
    assert (refused.status, refused.reason) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "30"
    assert "has asked for a pause" in refused.body["detail"]
    assert tool.calls == 1
    assert (await Crowd(running, WRITE).call()).reason == "ok"


async def test_after_a_pause_one_goes_first_and_then_the_others(
    start: StartGateway, tool: ToolServer, gate: Gate
) -> None:
    tool.replies = [status(429, Retry_After="1")]
    crowd = Crowd(await start(paced(), AGENT_MAX_TOOL_CALLS="100"))
    assert (await crowd.call()).reason == "tool_error"
    for _ in range(7):
        crowd.call()
    for answered, at_work, waiting in ((0, 1, 6), (1, 2, 4), (2, 4, 0)):
        gate.open(answered)
        await eventually(lambda seen=(at_work, waiting): (gate.at_work, crowd.waiting) == seen)  # type: ignore[misc]  # bound at once
    gate.open(4)
    assert {answer.reason for answer in (await crowd.answers())[1:]} == {"ok"}
    assert gate.most == 4


async def test_a_host_that_asks_a_fetch_for_a_pause_does_not_silence_the_other_hosts(
    start: StartGateway, tool: ToolServer
) -> None:
    tool.behaviour = status(429, Retry_After="30")
    port = int(tool.url.rpartition(":")[2])
    running = await start(
        policy_of(
            {"http.get": {}}, egress={"allow_hosts": ["127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.0/8"]}
        )
    )
    for _ in range(2):
        async with running.agent.post("/tools/http.get", json={"url": tool.url}) as answer:
            assert (answer.status, answer.headers["Tool-Gateway-Reason"]) == (429, "tool_error")
    assert tool.calls == 2


async def test_a_retry_lines_up_again_behind_the_others(start: StartGateway, tool: ToolServer) -> None:
    tool.replies = [status(503)]
    running = await start(policy_of({READ: {"effect": "read", "rate": {"per_second": 5}}, WRITE: {}}))
    crowd = Crowd(running)
    crowd.call()
    await tool.seen(1)
    crowd.call()
    crowd.call()
    answers = await crowd.answers()
    assert {answer.reason for answer in answers} == {"ok"}
    assert answers[0].headers["Tool-Gateway-Attempts"] == "2"
    assert order(tool)[0] == 0
    assert sorted(order(tool)) == [0, 0, 1, 2]
    assert max(answer.seconds for answer in answers) >= 0.55, "four attempts at five a second"


async def test_a_retry_that_would_not_have_its_turn_leaves_the_answer_as_it_came(
    start: StartGateway, tool: ToolServer
) -> None:
    tool.replies = [status(503)]
    running = await start(
        policy_of({READ: {"effect": "read", "rate": {"per_second": 0.1}, "deadline_ms": 5000}, WRITE: {}})
    )
    answer = await Crowd(running).call()
    assert (answer.status, answer.reason, answer.headers["Tool-Gateway-Attempts"]) == (503, "tool_error", "1")


async def test_report_mode_holds_nobody_up_and_reports_what_would_be_refused(
    start: StartGateway, tool: ToolServer
) -> None:
    definitions = {READ: {"effect": "read", "rate": {"per_second": 0.1}, "deadline_ms": 5000}, WRITE: {}}
    running = await start(policy_of(definitions, mode="report"))
    crowd = Crowd(running)
    for _ in range(4):
        assert (await crowd.call()).reason == "ok"
    await running.seen.ended(4)
    told = [(record.decision, record.report_reason) for record in running.seen.records]
    assert told == [(Decision.ALLOW, None)] + [(Decision.REPORT, Reason.RATE_LIMITED)] * 3
    assert all(record.waited_ms == 0 for record in running.seen.records)
    assert tool.calls == 4


async def test_report_mode_softens_no_place(start: StartGateway, tool: ToolServer, gate: Gate) -> None:
    definitions = {READ: {"effect": "read", "max_concurrency": 1, "max_waiting": 1}, WRITE: {}}
    crowd = Crowd(await start(policy_of(definitions, mode="report")))
    crowd.call()
    await tool.seen(1)
    await crowd.lines_up(1)
    assert (await crowd.call()).reason == "overloaded"
    gate.open(2)
    await crowd.answers()


async def test_operators_see_who_waits_and_what_is_paused(start: StartGateway, tool: ToolServer, gate: Gate) -> None:
    tool.replies = [status(429, Retry_After="30")]
    running = await start(policy_of({READ: {"effect": "read", "max_concurrency": 1}, WRITE: {}}, retries=0))
    await Crowd(running, WRITE).call()
    crowd = Crowd(running)
    crowd.call()
    await tool.seen(2)
    await crowd.lines_up(2)
    async with running.operator.get("/v1/status") as answer:
        reading, writing = (await answer.json())["queues"]
    assert reading == {"tool": READ, "waiting": 2, "paused_seconds": 0}
    assert (writing["tool"], writing["waiting"]) == (WRITE, 0)
    assert 25 < writing["paused_seconds"] <= 30
    gate.open(3)
    await crowd.answers()


async def test_explaining_a_call_does_not_count_it(start: StartGateway, tool: ToolServer) -> None:
    running = await start(paced(rate={"per_second": 0.05}, deadline_ms=5000))
    url = f"/v1/explain?agent=default&tool={READ}"
    for reason in (None, "rate_limited"):
        for _ in range(5):
            async with running.operator.get(url) as answer:
                assert (await answer.json())["reason"] == reason
        if reason is None:
            assert (await Crowd(running).call()).reason == "ok"
