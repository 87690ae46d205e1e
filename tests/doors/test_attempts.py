"""What an attempt that goes wrong becomes: repeated, explained, or left alone because it may have run (SPEC 4 and 5)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway.denial import Reason
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, status
from tests.doors.wire import Answer, ask, dial, request
from tests.upstreams.loopback import Loopback, Request, always, free_port, loopback, never, reply

READ, WRITE, REPEATABLE = "search.read", "notes.write", "notes.put"
POLICY = policy_of({READ: {"effect": "read"}, WRITE: {"effect": "write"}, REPEATABLE: {"idempotent": True}})
Fault = Callable[[Request], Awaitable[None]]


def impatient(**limits: object) -> str:
    """One try under these limits, unless they say otherwise."""
    once: dict[str, object] = {"retries": {"max": 0}, **limits}
    return policy_of({READ: {"effect": "read", **once}, WRITE: once, REPEATABLE: {"idempotent": True, **once}})


def in_turn(*answers: Fault) -> Fault:
    """One answer a request; the last one repeats."""
    left = list(answers)

    async def answer(request: Request) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


async def reset_before_the_head(request: Request) -> None:
    request.reset()


async def close_before_the_head(request: Request) -> None:
    request.writer.close()


async def reset_in_the_head(request: Request) -> None:
    await request.say(b"HTTP/1.1 200 OK\r\nContent-Le")
    request.reset()


async def close_in_a_small_body(request: Request) -> None:
    await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    request.writer.close()


async def close_in_a_body_of_64_kib(request: Request) -> None:
    await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65_535)
    request.writer.close()


async def no_http(request: Request) -> None:
    await request.say(b"220 smtp.example ESMTP\r\n\r\n")


async def hanging(request: Request) -> None:
    await request.reader.read()  # until the caller closes


FAULTS = [
    reset_before_the_head,
    close_before_the_head,
    reset_in_the_head,
    close_in_a_small_body,
    close_in_a_body_of_64_kib,
    no_http,
]


@asynccontextmanager
async def behind(
    start: StartGateway, answer: Fault, policy: str = POLICY, **variables: str
) -> AsyncIterator[tuple[Running, Loopback]]:
    async with loopback(answer) as upstream:
        yield await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", **variables), upstream


async def post(running: Running, tool: str, *fields: str) -> Answer:
    return await ask(running.gateway.data_url, request(f"POST /tools/{tool}", *fields, body=b"{}"))


def told(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.header("Tool-Gateway-Reason"), answer.header("Tool-Gateway-Attempts")


async def test_503_twice_then_200(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(503), status(503)]
    assert told(await post(running, READ)) == (200, "ok", "3")
    assert [received.headers["Tool-Gateway-Attempt"] for received in tool.received] == ["1", "2", "3"]
    assert (await running.seen.ended()).attempts == 3


async def test_an_upstream_that_stays_at_503_is_relayed_when_the_attempts_are_used_up(
    running: Running, tool: ToolServer
) -> None:
    tool.behaviour = status(503, X_From="tool", Retry_After="0")
    answer = await post(running, READ)
    assert told(answer) == (503, "tool_error", "3")
    assert (answer.header("X-From"), answer.header("Retry-After")) == ("tool", "0")
    assert answer.body == b'{"status": 503}'
    assert tool.calls == 3


@pytest.mark.parametrize("code", [500, 502, 503, 504, 408, 409, 425])
async def test_a_write_is_never_repeated_for_an_answer_that_may_mean_it_ran(
    running: Running, tool: ToolServer, code: int
) -> None:
    tool.behaviour = status(code)
    assert told(await post(running, WRITE)) == (code, "tool_error", "1")
    assert tool.calls == 1


async def test_a_write_is_repeated_after_429_which_says_that_it_did_not_run(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(429)]
    assert told(await post(running, WRITE)) == (200, "ok", "2")
    assert tool.calls == 2


async def test_retry_after_in_seconds_is_waited_for(running: Running, tool: ToolServer) -> None:
    tool.replies = [status(429, Retry_After="1")]
    assert told(await post(running, WRITE)) == (200, "ok", "2")
    assert (await running.seen.ended()).waited_ms >= 990  # the loop's timers count whole milliseconds


async def test_retry_after_as_a_date_is_waited_for(running: Running, tool: ToolServer) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1.999)).replace(microsecond=0)
    tool.replies = [status(503, Retry_After=format_datetime(soon, usegmt=True))]
    assert told(await post(running, READ)) == (200, "ok", "2")
    await running.seen.ended()
    assert datetime.now(UTC) >= soon - timedelta(milliseconds=10)


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "12 parsecs", "Thu, 99 Jan 2099 00:00:00 GMT"])
async def test_a_retry_after_that_means_nothing_is_not_waited_for(
    running: Running, tool: ToolServer, value: str
) -> None:
    tool.replies = [status(503, Retry_After=value)]
    assert told(await post(running, READ)) == (200, "ok", "2")
    assert (await running.seen.ended()).waited_ms < 5000


async def test_a_retry_after_beyond_the_deadline_is_given_up_at_once(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(429, Retry_After="26")
    answer = await post(running, READ)
    assert told(answer) == (429, "tool_error", "1")
    assert answer.header("Retry-After") == "26"
    assert (await running.seen.ended()).waited_ms == 0


async def test_a_retry_after_beyond_the_runs_end_is_given_up_at_once(start: StartGateway, tool: ToolServer) -> None:
    running = await start(AGENT_MAX_SECONDS="3")
    tool.behaviour = status(429, Retry_After="4")
    assert told(await post(running, READ, "Agent-Run-Id: r1")) == (429, "tool_error", "1")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_read_is_repeated_after_a_fault(start: StartGateway, fault: Fault) -> None:
    async with behind(start, in_turn(fault, always(reply(b"whole")))) as (running, upstream):
        answer = await post(running, READ)
        assert told(answer) == (200, "ok", "2")
        assert answer.body == b"whole"
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("name", [READ, REPEATABLE])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_stays_is_explained_after_the_last_attempt(
    start: StartGateway, fault: Fault, name: str
) -> None:
    async with behind(start, fault) as (running, upstream):
        answer = await post(running, name, "Agent-Run-Id: r1")
        assert told(answer) == (502, "upstream_failed", "3")
        assert answer.problem()["retryable"] is True
        assert answer.problem()["stop_reason"] is None
        assert answer.header("x-should-retry") is None
        assert answer.header("Tool-Gateway-Remaining") == "tool_calls=11, steps=25, seconds=59"
        assert len(upstream.requests) == 3
        assert len((await running.seen.ended()).errors) == 3


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_write_that_was_sent_is_not_repeated_and_may_have_run(start: StartGateway, fault: Fault) -> None:
    async with behind(start, fault) as (running, upstream):
        answer = await post(running, WRITE, "Agent-Run-Id: r1")
        assert told(answer) == (424, "outcome_unknown", "1")
        assert "It may have run: check its effect before you repeat it." in answer.problem()["detail"]
        assert answer.problem()["retryable"] is False
        assert answer.header("x-should-retry") == "false"
        assert answer.header("Retry-After") is None
        assert answer.header("Tool-Gateway-Remaining") == "tool_calls=11, steps=25, seconds=59"
        assert len(upstream.requests) == 1


async def test_a_read_that_hangs_times_out_and_is_repeated(start: StartGateway) -> None:
    policy = impatient(timeout_ms=300, deadline_ms=10_000, retries={"max": 1})
    async with behind(start, in_turn(hanging, always(reply())), policy) as (running, upstream):
        assert told(await post(running, READ)) == (200, "ok", "2")
        assert (await running.seen.ended()).errors == ("timeout",)
        assert len(upstream.requests) == 2


async def test_a_read_that_hangs_is_told_that_the_attempts_timeout_fired(start: StartGateway) -> None:
    async with behind(start, hanging, impatient(timeout_ms=150)) as (running, upstream):
        answer = await post(running, READ)
        assert told(answer) == (504, "tool_timeout", "1")
        assert "did not answer within its timeout of 150 ms" in answer.problem()["detail"]
        assert answer.problem()["stop_reason"] is None
        assert answer.problem()["retryable"] is True
        await upstream.closed()


async def test_a_write_that_hangs_may_have_run(start: StartGateway) -> None:
    async with behind(start, hanging, impatient(timeout_ms=150)) as (running, upstream):
        answer = await post(running, WRITE)
        assert told(answer) == (424, "outcome_unknown", "1")
        assert "did not answer within its timeout of 150 ms. It may have run" in answer.problem()["detail"]
        assert len(upstream.requests) == 1


async def test_silence_in_a_small_body_counts_as_the_attempts_timeout(start: StartGateway) -> None:
    async def half(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await never()

    async with behind(start, half, impatient(timeout_ms=150, deadline_ms=5000)) as (running, _):
        answer = await post(running, READ)
        assert told(answer) == (504, "tool_timeout", "1")
        assert "went silent for 150 ms" in answer.problem()["detail"]


@pytest.mark.parametrize(("name", "code", "reason"), [(READ, 504, "tool_timeout"), (WRITE, 424, "outcome_unknown")])
async def test_the_deadline_ends_the_call_and_is_named(start: StartGateway, name: str, code: int, reason: str) -> None:
    policy = impatient(timeout_ms=8000, deadline_ms=150, retries={"max": 2})
    async with behind(start, hanging, policy) as (running, upstream):
        answer = await post(running, name)
        assert told(answer) == (code, reason, "1")
        assert "deadline of 150 ms" in answer.problem()["detail"]
        assert answer.problem()["stop_reason"] is None
        assert len(upstream.requests) == 1


async def test_the_deadline_covers_all_attempts_together(start: StartGateway) -> None:
    policy = impatient(timeout_ms=400, deadline_ms=1100, retries={"max": 9, "backoff_ms": [1]})
    async with behind(start, hanging, policy) as (running, upstream):
        answer = await post(running, READ)
        assert answer.status == 504
        assert len(upstream.requests) == int(answer.header("Tool-Gateway-Attempts") or 0) == 3
        assert (await running.seen.ended()).duration_ms < 3000  # of the four seconds that ten attempts take


@pytest.mark.parametrize(("name", "code", "reason"), [(READ, 504, "tool_timeout"), (WRITE, 424, "outcome_unknown")])
async def test_the_end_of_the_run_ends_its_calls(start: StartGateway, name: str, code: int, reason: str) -> None:
    policy = impatient(timeout_ms=8000, retries={"max": 2})
    async with behind(start, hanging, policy, AGENT_MAX_SECONDS="1") as (running, upstream):
        answer = await post(running, name, "Agent-Run-Id: r1")
        assert told(answer) == (code, reason, "1")
        assert answer.problem()["stop_reason"] == "max_seconds"
        assert "AGENT_MAX_SECONDS" in answer.problem()["detail"]
        assert answer.header("x-should-retry") == "false"
        assert len(upstream.requests) == 1
        again = await post(running, name, "Agent-Run-Id: r1")
        assert told(again) == (403, "max_seconds", "0")


@pytest.mark.parametrize("name", [READ, WRITE])
async def test_a_refused_port_is_tried_again_even_for_a_write_and_not_charged(start: StartGateway, name: str) -> None:
    running = await start(POLICY, GATEWAY_UPSTREAM=f"http://127.0.0.1:{free_port()}")
    answer = await post(running, name, "Agent-Run-Id: r1")
    assert told(answer) == (502, "upstream_failed", "3")
    assert "refused the connection" in answer.problem()["detail"]
    assert answer.header("Tool-Gateway-Remaining") == "tool_calls=12, steps=25, seconds=59"
    assert (await running.seen.ended()).errors == ("refused",) * 3


async def test_a_name_without_an_address_is_an_upstream_that_failed(start: StartGateway) -> None:
    running = await start(POLICY, GATEWAY_UPSTREAM="http://no-such-host.invalid:9000")
    answer = await post(running, WRITE, "Agent-Run-Id: r1")
    assert told(answer) == (502, "upstream_failed", "3")
    assert "no address" in answer.problem()["detail"]
    assert "no-such-host" not in answer.problem()["detail"]
    assert answer.header("Tool-Gateway-Remaining") == "tool_calls=12, steps=25, seconds=59"


@pytest.mark.parametrize(
    ("name", "end", "hits"), [(WRITE, (424, "outcome_unknown", "1"), 2), (READ, (200, "ok", "2"), 3)]
)
async def test_a_warm_connection_that_closes_under_a_call(
    start: StartGateway, name: str, end: tuple[int, str, str], hits: int
) -> None:
    async with behind(start, in_turn(always(reply()), close_before_the_head, always(reply()))) as (running, upstream):
        assert told(await post(running, name)) == (200, "ok", "1")
        assert told(await post(running, name)) == end
        assert len(upstream.requests) == hits
        assert upstream.requests[1].connection == upstream.requests[0].connection


async def test_a_warm_connection_that_closed_before_the_call_costs_no_attempt(start: StartGateway) -> None:
    async def answer_and_close(request: Request) -> None:
        await request.say(reply())
        request.writer.close()

    async with behind(start, answer_and_close) as (running, upstream):
        for _ in range(3):
            assert told(await post(running, WRITE)) == (200, "ok", "1")
            await upstream.closed()
        assert upstream.connections == len(upstream.requests) == 3


@pytest.mark.parametrize("framing", ["Content-Length: 200000", "Transfer-Encoding: chunked"])
async def test_a_streamed_body_that_breaks_off_cannot_look_whole(start: StartGateway, framing: str) -> None:
    piece = b"x" * 100_000

    async def cut(request: Request) -> None:
        body = piece if "Length" in framing else b"%x\r\n%b\r\n" % (len(piece), piece)
        await request.say(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body)
        await released.wait()
        request.reset()

    released = asyncio.Event()
    async with behind(start, cut) as (running, upstream), dial(running.gateway.data_url) as agent:
        await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
        assert (await agent.head())[0] == 200
        assert await agent.reader.read(1)
        released.set()
        rest = await agent.rest()
        assert len(rest) < 200_000
        assert not rest.endswith(b"0\r\n\r\n")
        assert len(upstream.requests) == 1
        record = await running.seen.ended()
        assert (record.reason, record.status, record.errors) == (Reason.UPSTREAM_FAILED, 200, ("cut",))


async def test_a_streamed_body_that_breaks_off_cannot_look_whole_to_http_1_0(start: StartGateway) -> None:
    """There the end of the connection is the end of the body: only a reset tells."""

    async def cut(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await released.wait()
        request.reset()

    released = asyncio.Event()
    async with behind(start, cut) as (running, _), dial(running.gateway.data_url) as agent:
        await agent.say(f"GET /tools/{READ} HTTP/1.0\r\n\r\n".encode())
        assert (await agent.head())[0] == 200
        assert await agent.reader.read(5) == b"first"
        released.set()
        with pytest.raises(ConnectionResetError):
            await agent.reader.read()


async def test_a_caller_that_leaves_takes_the_attempt_with_it(running: Running, tool: ToolServer) -> None:
    tool.behaviour = hang(asyncio.Event())
    async with dial(running.gateway.data_url) as agent:
        await agent.say(request(f"POST /tools/{READ}", "Agent-Run-Id: r1", body=b"{}"))
        await tool.seen()
        agent.leave()
        record = await running.seen.ended()
    assert (record.reason, record.status, record.attempts) == (Reason.CLIENT_GONE, None, 1)
    await tool.left()
    assert tool.calls == 1
    async with running.agent.get("/_gateway/runs/r1") as answer:
        assert (await answer.json())["counts"]["tool_calls"] == 1


async def test_a_caller_that_leaves_during_a_wait_is_not_retried_for(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(429, Retry_After="20")
    async with dial(running.gateway.data_url) as agent:
        await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
        await tool.seen()
        agent.leave()
        record = await running.seen.ended()
    assert (record.reason, record.attempts, tool.calls) == (Reason.CLIENT_GONE, 1, 1)


async def test_a_kill_reaches_a_call_that_waits_to_be_repeated(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(429, Retry_After="20")
    call = asyncio.create_task(post(running, WRITE))
    await tool.seen()
    await running.kill("writes")
    answer = await call
    assert told(answer) == (403, "kill_switch", "1")
    assert "It may have run" not in answer.problem()["detail"]
    assert tool.calls == 1
    assert (await running.seen.ended()).duration_ms < 5000


async def test_a_run_that_was_finished_meanwhile_is_not_retried_for(running: Running, tool: ToolServer) -> None:
    tool.behaviour = status(429, Retry_After="1")
    call = asyncio.create_task(post(running, READ, "Agent-Run-Id: r1"))
    await tool.seen()
    assert (await ask(running.gateway.data_url, request("POST /_gateway/runs/r1/finish"))).status == 200
    answer = await call
    assert told(answer) == (403, "run_finished", "1")
    assert tool.calls == 1


@pytest.mark.parametrize("name", [READ, WRITE])
async def test_a_kill_with_cancel_in_flight_ends_an_attempt(running: Running, tool: ToolServer, name: str) -> None:
    tool.behaviour = hang(asyncio.Event())
    call = asyncio.create_task(post(running, name))
    await tool.seen()
    await running.kill("all", cancel_in_flight=True)
    answer = await call
    assert told(answer) == (403, "kill_switch", "1")
    assert answer.problem()["stop_reason"] == "kill_switch"
    assert ("It may have run" in answer.problem()["detail"]) == (name == WRITE)
    assert answer.header("x-should-retry") == "false"


async def test_the_last_seconds_of_the_process_take_no_new_calls(running: Running, tool: ToolServer) -> None:
    running.gateway.counts.draining = True
    answer = await post(running, READ)
    assert told(answer) == (503, "draining", "0")
    assert answer.header("Retry-After") == "5"
    assert tool.calls == 0


@pytest.mark.parametrize(("name", "code"), [(READ, 503), (WRITE, 424)])
async def test_a_call_cut_by_the_shutdown_is_draining_and_a_write_not_offered_for_repeating(
    running: Running, tool: ToolServer, name: str, code: int
) -> None:
    tool.behaviour = hang(asyncio.Event())
    call = asyncio.create_task(post(running, name))
    await tool.seen()
    running.gateway.counts.in_flight.cut_all()
    answer = await call
    assert told(answer) == (code, "draining", "1")
    assert answer.problem()["retryable"] is (name == READ)
