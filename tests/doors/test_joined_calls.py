"""Calls with the same Idempotency-Key at once: one performance, an answer for each, and whoever leaves leaves alone (SPEC 5)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from gateway.denial import Reason
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import Behaviour, ToolServer, hang, status
from tests.doors.wire import Answer, Wire, ask, dial, request
from tests.upstreams.loopback import Request, free_port, loopback

WRITE, READ, STREAM = "notes.write", "search.read", "events.stream"
POLICY = policy_of({WRITE: {}, READ: {"effect": "read"}, STREAM: {"effect": "read", "stream": True}})
KEY = "Idempotency-Key: k1"
LARGEST = 256 * 1024


@pytest.fixture
async def running(start: StartGateway) -> Running:
    return await start(POLICY)


def reason(answer: Answer) -> str | None:
    return answer.header("Tool-Gateway-Reason")


def told(answer: Answer) -> tuple[int, str | None]:
    return answer.status, reason(answer)


def line(tool: str, *fields: str) -> bytes:
    return request(f"POST /tools/{tool}", KEY, *fields, body=b"{}")


async def in_flight(running: Running, calls: int) -> None:
    """Waits until exactly so many calls are between admission and settlement."""
    async with asyncio.timeout(10):
        while len(running.gateway.counts.in_flight) != calls:  # noqa: ASYNC110  the gateway has no event for it, and needs none
            await asyncio.sleep(0.002)


async def noticed(running: Running) -> None:
    """What a caller did on its connection before, the gateway has seen once it has answered another one."""
    assert (await ask(running.gateway.data_url, request("GET /healthz"))).status == 200


class Callers:
    """Several who call the same, one after the other; the first one's call is the one that is performed."""

    def __init__(self, running: Running, tool: str, stack: AsyncExitStack) -> None:
        self.running = running
        self.tool = tool
        self.wires: list[Wire] = []
        self._stack = stack

    async def call(self, *fields: str) -> Wire:
        wire = await self._stack.enter_async_context(dial(self.running.gateway.data_url))
        self.wires.append(wire)
        before = len(self.running.gateway.counts.in_flight)
        await wire.say(line(self.tool, *fields))
        await in_flight(self.running, before + 1)
        return wire

    async def answers(self) -> list[Answer]:
        return [await wire.answer() for wire in self.wires]


@asynccontextmanager
async def callers(running: Running, tool: str, *fields: str, count: int = 1) -> AsyncIterator[Callers]:
    async with AsyncExitStack() as stack:
        those = Callers(running, tool, stack)
        for _ in range(count):
            await those.call(*fields)
        yield those


def of_size(size: int, *, chunked: bool = False) -> Behaviour:
    """A body of so many bytes, no two pieces of it alike."""
    body = b"".join(b"%07d " % n for n in range(size // 8 + 1))[:size]

    async def reply(request: web.Request) -> web.StreamResponse:
        if not chunked:
            return web.Response(body=body)
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for at in range(0, size, 30_000):
            await answer.write(body[at : at + 30_000])
        await answer.write_eof()
        return answer

    return reply


async def test_fifty_calls_at_once_are_one(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    run = "Agent-Run-Id: r1"
    calls = [asyncio.create_task(ask(running.gateway.data_url, line(WRITE, run))) for _ in range(50)]
    await in_flight(running, 50)
    go_on.set()
    answers = await asyncio.gather(*calls)
    assert tool.calls == 1
    assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"late": true}')}
    assert sorted(str(reason(answer)) for answer in answers) == ["dedup"] * 49 + ["ok"]
    assert len({answer.header("Tool-Gateway-Call-Id") for answer in answers}) == 50
    assert {(answer.header("Tool-Gateway-Remaining") or "").split(",")[0] for answer in answers} == {"tool_calls=11"}
    await running.seen.ended(50)
    performed = [record for record in running.seen.records if record.reason is Reason.OK]
    assert [(record.attempts, record.run_id) for record in performed] == [(1, "r1")]
    assert sum(record.attempts for record in running.seen.records) == 1


async def test_what_is_at_work_is_known_by_its_arguments(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE) as those:
        other = request(f"POST /tools/{WRITE}", KEY, body=b'{"other": 1}')
        assert told(await ask(running.gateway.data_url, other)) == (400, "invalid_request")
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok")]


async def test_the_first_caller_may_leave_and_the_others_have_the_answer(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE, count=3) as those:
        those.wires.pop(0).leave()
        await noticed(running)
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "dedup")] * 2
    await running.seen.ended(3)
    performed = [record for record in running.seen.records if record.attempts]
    assert [(record.reason, record.attempts, record.status) for record in performed] == [(Reason.OK, 1, 200)]
    assert tool.cancelled == 0
    assert told(await ask(running.gateway.data_url, line(WRITE))) == (200, "dedup")


async def test_a_caller_that_joined_may_leave(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE, count=2) as those:
        those.wires.pop().leave()
        await in_flight(running, 1)
        assert (await running.seen.ended()).reason is Reason.CLIENT_GONE
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok")]


@pytest.mark.parametrize("first_leaves_first", [True, False])
async def test_the_attempt_ends_with_its_last_caller(
    running: Running, tool: ToolServer, first_leaves_first: bool
) -> None:
    tool.replies = [hang(asyncio.Event())]
    async with callers(running, WRITE, count=3) as those:
        for wire in those.wires if first_leaves_first else reversed(those.wires):
            assert tool.cancelled == 0
            wire.leave()
        await tool.left()
    await running.seen.ended(3)
    assert {record.reason for record in running.seen.records} == {Reason.CLIENT_GONE}
    assert sorted(record.attempts for record in running.seen.records) == [0, 0, 1]
    # What nobody waited for answers nobody later.
    assert told(await ask(running.gateway.data_url, line(WRITE))) == (200, "ok")


async def test_a_write_that_hangs_is_unknown_to_all_and_kept_for_none(start: StartGateway, tool: ToolServer) -> None:
    running = await start(policy_of({WRITE: {"timeout_ms": 700}}))
    tool.replies = [hang(asyncio.Event())]
    async with callers(running, WRITE, count=3) as those:
        answers = await those.answers()
    assert [told(answer) for answer in answers] == [(424, "outcome_unknown")] * 3
    details = {answer.problem()["detail"] for answer in answers}
    assert details == {
        "notes.write did not answer within its timeout of 700 ms. It may have run: check its effect before you repeat it."
    }
    assert [answer.header("Tool-Gateway-Attempts") for answer in answers] == ["1", "0", "0"]
    assert tool.calls == 1
    assert told(await ask(running.gateway.data_url, line(WRITE))) == (200, "ok")


async def test_a_relayed_error_is_shared_by_those_at_once_and_tried_again_later(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(policy_of({WRITE: {}}))
    go_on = asyncio.Event()

    async def fails(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await status(503)(request)

    tool.replies = [fails]
    async with callers(running, WRITE, count=2) as those:
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(503, "tool_error"), (503, "dedup")]
    assert told(await ask(running.gateway.data_url, line(WRITE))) == (200, "ok")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 65_537, 200_000, LARGEST])
async def test_an_answer_of_up_to_256_kib_is_shared_and_kept_whole(
    running: Running, tool: ToolServer, size: int, chunked: bool
) -> None:
    tool.behaviour = of_size(size, chunked=chunked)
    first = await ask(running.gateway.data_url, line(WRITE))
    again = await ask(running.gateway.data_url, line(WRITE))
    assert (len(first.body), reason(first), reason(again)) == (size, "ok", "dedup")
    assert again.body == first.body
    assert (await running.seen.ended(2)).bytes_out == size


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_longer_answer_goes_to_the_first_caller_alone(
    running: Running, tool: ToolServer, chunked: bool
) -> None:
    go_on = asyncio.Event()
    large = of_size(LARGEST + 300_000, chunked=chunked)

    async def later(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await large(request)

    tool.behaviour = later
    async with callers(running, WRITE, count=2) as those:
        go_on.set()
        first, joined = await those.answers()
    assert (len(first.body), told(first)) == (LARGEST + 300_000, (200, "ok"))
    assert first.body == b"".join(b"%07d " % n for n in range(len(first.body) // 8 + 1))[: len(first.body)]
    assert told(joined) == (424, "response_too_large")
    assert "notes.write has run for the first call with this Idempotency-Key" in joined.problem()["detail"]
    assert sorted(record.bytes_out for record in running.seen.records) == [0, LARGEST + 300_000]
    assert tool.calls == 1
    assert told(await ask(running.gateway.data_url, line(WRITE))) == (200, "ok")
    assert tool.calls == 2


async def test_without_memory_to_hold_it_an_answer_is_streamed(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, GATEWAY_MAX_BUFFERED_BYTES=str(200_000))
    tool.behaviour = of_size(250_000)
    first = await ask(running.gateway.data_url, line(WRITE))
    assert (len(first.body), told(first)) == (250_000, (200, "ok"))


async def test_a_stream_goes_to_the_first_caller_and_is_not_begun_again_for_others(
    start: StartGateway, tool: ToolServer
) -> None:
    held: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

    async def events(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        held.set_result(request)
        await request.reader.read()

    async with loopback(events) as upstream:
        running = await start(POLICY, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        async with callers(running, READ) as those:
            first = those.wires[0]
            code, _ = await first.head()
            chunks = first.chunks()
            assert (code, await anext(chunks)) == (200, b"data: 1\n\n")
            joined = await ask(running.gateway.data_url, line(READ))
            assert told(joined) == (424, "response_too_large")
            request = await held
            await request.say(b"data: 2\n\n")
            assert await anext(chunks) == b"data: 2\n\n"
            request.writer.close()
            assert [chunk async for chunk in chunks] == []
        assert len(upstream.requests) == 1


async def test_an_answer_that_is_cut_while_it_is_held_is_explained_to_all(start: StartGateway) -> None:
    """Alone and without a key, the first caller's connection would have been cut."""
    go_on = asyncio.Event()

    async def cut(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await go_on.wait()
        request.writer.close()

    async with loopback(cut) as upstream:
        running = await start(POLICY, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        async with callers(running, WRITE, count=2) as those:
            go_on.set()
            answers = await those.answers()
    assert [told(answer) for answer in answers] == [(424, "outcome_unknown")] * 2
    assert {record.status for record in running.seen.records} == {424}


@pytest.mark.parametrize("scope", ["all", "writes", f"tool:{WRITE}"])
async def test_a_kill_reaches_every_caller(running: Running, tool: ToolServer, scope: str) -> None:
    tool.behaviour = hang(asyncio.Event())
    async with callers(running, WRITE, count=3) as those:
        await tool.seen()
        await running.kill(scope, cancel_in_flight=True)
        answers = await those.answers()
    assert [told(answer) for answer in answers] == [(403, "kill_switch")] * 3
    assert all("sent before that. It may have run" in answer.problem()["detail"] for answer in answers)
    await tool.left()


async def test_a_kill_of_a_joined_callers_run_ends_that_one_alone(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE, "Agent-Run-Id: r1") as those:
        joined = await those.call("Agent-Run-Id: r2")
        await tool.seen()
        await running.kill("run:r2", cancel_in_flight=True)
        assert told(await joined.answer()) == (403, "kill_switch")
        those.wires.remove(joined)
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok")]


async def test_a_kill_without_cancel_in_flight_leaves_what_is_at_work(running: Running, tool: ToolServer) -> None:
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE, count=2) as those:
        await tool.seen()
        await running.kill(f"tool:{WRITE}")
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok"), (200, "dedup")]


async def test_a_kill_of_the_first_callers_run_ends_the_performance_for_all(running: Running, tool: ToolServer) -> None:
    """What an operator stops is what the run does in the world. Others learn what became of it, not that their run was stopped."""
    tool.behaviour = hang(asyncio.Event())
    async with callers(running, WRITE, "Agent-Run-Id: r1") as those:
        await those.call("Agent-Run-Id: r1")
        await those.call("Agent-Run-Id: r2")
        await tool.seen()
        await running.kill("run:r1", cancel_in_flight=True)
        first, same, other = await those.answers()
    assert [told(first), told(same)] == [(403, "kill_switch")] * 2
    assert told(other) == (424, "outcome_unknown")
    assert other.problem()["stop_reason"] is None
    assert "was ended with its run, after it was sent" in other.problem()["detail"]
    await tool.left()


async def test_the_first_callers_run_may_end_and_others_can_repeat(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, AGENT_MAX_SECONDS="1")
    tool.replies = [hang(asyncio.Event())]
    async with callers(running, READ, "Agent-Run-Id: r1") as those:
        await those.call()
        first, other = await those.answers()
    assert (told(first), first.problem()["stop_reason"]) == ((504, "tool_timeout"), "max_seconds")
    assert (told(other), other.problem()["stop_reason"]) == ((504, "tool_timeout"), None)
    assert other.problem()["retryable"] is True
    assert told(await ask(running.gateway.data_url, line(READ))) == (200, "ok")


async def test_a_joined_callers_run_may_end_while_the_first_goes_on(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, AGENT_MAX_SECONDS="1")
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE) as those:
        joined = await those.call("Agent-Run-Id: r1")
        answer = await joined.answer()
        assert (told(answer), answer.problem()["stop_reason"]) == ((424, "outcome_unknown"), "max_seconds")
        those.wires.remove(joined)
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok")]


async def test_a_joined_caller_takes_a_place_of_its_own(start: StartGateway, tool: ToolServer) -> None:
    running = await start(POLICY, GATEWAY_MAX_IN_FLIGHT="2")
    go_on = asyncio.Event()
    tool.behaviour = hang(go_on)
    async with callers(running, WRITE, count=2) as those:
        assert told(await ask(running.gateway.data_url, line(WRITE))) == (503, "overloaded")
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "ok"), (200, "dedup")]


async def test_the_shutdown_cuts_all_callers(running: Running, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    async with callers(running, WRITE, count=3) as those:
        await tool.seen()
        running.gateway.counts.in_flight.cut_all()
        assert [told(answer) for answer in await those.answers()] == [(424, "draining")] * 3


async def test_a_retry_goes_on_while_anybody_waits(running: Running, tool: ToolServer) -> None:
    """The first caller left in the first attempt; the second attempt is for the other."""
    go_on = asyncio.Event()

    async def busy(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await status(429)(request)

    tool.replies = [busy]
    async with callers(running, WRITE, count=2) as those:
        await tool.seen()
        those.wires.pop(0).leave()
        await noticed(running)
        go_on.set()
        assert [told(answer) for answer in await those.answers()] == [(200, "dedup")]
    assert tool.calls == 2
    await running.seen.ended(2)
    assert sorted(record.attempts for record in running.seen.records) == [0, 2]


async def test_calls_that_were_never_sent_are_not_charged(start: StartGateway) -> None:
    running = await start(POLICY, GATEWAY_UPSTREAM=f"http://127.0.0.1:{free_port()}")
    calls = (ask(running.gateway.data_url, line(WRITE, "Agent-Run-Id: r1")) for _ in range(3))
    assert {told(answer) for answer in await asyncio.gather(*calls)} == {(502, "upstream_failed")}
    counts = json.loads((await ask(running.gateway.data_url, request("GET /_gateway/runs/r1"))).body)
    assert counts["counts"]["tool_calls"] == 0
