"""An upstream that fails attempt after attempt is left alone, probed, and used again; its retries keep to a budget (SPEC 5)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.tool_server import ToolServer, hang, reset, status
from tests.doors.wire import Answer, ask, dial, request
from tests.upstreams.loopback import Loopback, Request, free_port, loopback

READ, WRITE = "search.read", "notes.write"
SOON = 50
"""Milliseconds that a breaker is open in tests which wait for its end."""


def fragile(failures: int = 1, open_ms: int = 40_000, *, retries: int = 0, **limits: Any) -> str:
    """Opens after so many failures in a row; one try a call, unless a test says otherwise."""
    return policy_of(
        {READ: {"effect": "read", **limits}, WRITE: limits},
        retries=retries,
        upstreams={"default": {"circuit_breaker": {"failures": failures, "open_ms": open_ms}}},
    )


async def post(running: Running, tool: str, *fields: str) -> Answer:
    return await ask(running.gateway.data_url, request(f"POST /tools/{tool}", *fields, body=b"{}"))


def told(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.header("Tool-Gateway-Reason"), answer.header("Tool-Gateway-Attempts")


def change_policy(running: Running, policy: str) -> None:
    Path(running.gateway.settings.policy, "policy.yaml").write_text(policy)


def changes(running: Running) -> list[str]:
    return [str(event.fields["state"]) for event in running.seen.events if event.name == "breaker"]


async def breaker(running: Running) -> dict[str, Any]:
    """As operators see it."""
    async with running.operator.get("/v1/upstreams") as answer:
        (upstream,) = (await answer.json())["upstreams"]
        return dict(upstream["breaker"])


async def degraded(running: Running) -> list[str]:
    async with running.operator.get("/readyz") as answer:
        assert answer.status == 200
        return list((await answer.json())["degraded"])


async def half_open(running: Running) -> None:
    """Its time is over: the next call is the probe."""
    async with asyncio.timeout(10):
        while (await breaker(running))["state"] == "open":  # noqa: ASYNC110  time alone changes it, and tells nobody
            await asyncio.sleep(0.005)


@asynccontextmanager
async def behind(
    start: StartGateway, answer: Callable[[Request], Awaitable[None]], policy: str, **variables: str
) -> AsyncIterator[tuple[Running, Loopback]]:
    async with loopback(answer) as upstream:
        yield await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", **variables), upstream


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_it_opens_with_the_last_failure_in_a_row_and_then_nothing_is_sent(
    start: StartGateway, tool: ToolServer, code: int
) -> None:
    running = await start(fragile(failures=3))
    tool.replies = [status(code), status(code), status(200), status(code), status(code), status(code)]
    for expected in (code, code, 200, code, code, code):
        assert (await post(running, WRITE)).status == expected
    answer = await post(running, READ, "Agent-Run-Id: r1")
    assert told(answer) == (503, "circuit_open", "0")
    assert tool.calls == 6
    assert changes(running) == ["open"]


async def test_what_it_refuses_costs_nothing_and_says_when_to_come_back(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(open_ms=30_000))
    tool.behaviour = status(503)
    await post(running, READ)
    answer = await post(running, READ, "Agent-Run-Id: r1")
    assert told(answer) == (503, "circuit_open", "0")
    assert 23 <= int(answer.header("Retry-After") or 0) <= 36
    assert answer.problem()["retryable"] is True
    assert (answer.header("Tool-Gateway-Remaining") or "").startswith("tool_calls=12,")


async def test_operators_see_it(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile())
    assert await breaker(running) == {"state": "closed", "next_attempt_in_ms": None}
    assert "breaker_open" not in await degraded(running)
    tool.behaviour = status(503)
    await post(running, READ)
    seen = await breaker(running)
    assert seen["state"] == "open"
    assert 20_000 < seen["next_attempt_in_ms"] <= 48_000
    assert "breaker_open" in await degraded(running)
    (event,) = (event for event in running.seen.events if event.name == "breaker")
    assert (event.fields["upstream"], event.fields["failures"]) == ("default", 1)
    assert 32_000 <= int(str(event.fields["open_for_ms"])) <= 48_000


@pytest.mark.parametrize("code", [200, 400, 404, 429, 500, 501])
async def test_an_upstream_that_answers_is_not_left_alone_whatever_it_says(
    start: StartGateway, tool: ToolServer, code: int
) -> None:
    running = await start(fragile())
    tool.behaviour = status(code)
    for _ in range(3):
        assert (await post(running, READ)).status == code
    assert tool.calls == 3
    assert changes(running) == []


async def test_a_refused_connection_counts(start: StartGateway) -> None:
    running = await start(fragile(), GATEWAY_UPSTREAM=f"http://127.0.0.1:{free_port()}")
    assert told(await post(running, WRITE)) == (502, "upstream_failed", "1")
    assert told(await post(running, WRITE)) == (503, "circuit_open", "0")


async def test_an_attempt_that_breaks_counts(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile())
    tool.behaviour = reset
    assert told(await post(running, WRITE)) == (424, "outcome_unknown", "1")
    assert told(await post(running, WRITE)) == (503, "circuit_open", "0")


@pytest.mark.parametrize("limits", [{"timeout_ms": 100, "deadline_ms": 5000}, {"timeout_ms": 5000, "deadline_ms": 100}])
async def test_an_attempt_that_hangs_counts_whichever_timer_ends_it(
    start: StartGateway, tool: ToolServer, limits: dict[str, int]
) -> None:
    running = await start(fragile(**limits))
    tool.behaviour = hang(asyncio.Event())
    assert (await post(running, READ)).status == 504
    assert told(await post(running, READ)) == (503, "circuit_open", "0")


async def test_a_deadline_that_left_the_attempt_no_time_says_nothing_of_the_upstream(
    start: StartGateway, tool: ToolServer
) -> None:
    """The first call holds the tool's only place for most of the second one's time."""
    running = await start(fragile(timeout_ms=1000, deadline_ms=1000, max_concurrency=1))
    released = asyncio.Event()
    tool.replies = [hang(released)]
    tool.behaviour = hang(asyncio.Event())
    first = asyncio.create_task(post(running, READ))
    await tool.seen(1)
    second = asyncio.create_task(post(running, READ))
    await asyncio.sleep(0.7)  # what is left of the second call's deadline is less than half of an attempt's time
    released.set()
    assert (await first).status == 200
    assert told(await second) == (504, "tool_timeout", "1")
    assert changes(running) == []


async def test_the_end_of_a_run_says_nothing_of_the_upstream(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(), AGENT_MAX_SECONDS="1")
    tool.behaviour = hang(asyncio.Event())
    assert (await post(running, READ, "Agent-Run-Id: r1")).problem()["stop_reason"] == "max_seconds"
    assert changes(running) == []


async def test_a_kill_says_nothing_of_the_upstream(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile())
    tool.behaviour = hang(asyncio.Event())
    call = asyncio.create_task(post(running, READ))
    await tool.seen()
    await running.kill("all", cancel_in_flight=True)
    assert told(await call) == (403, "kill_switch", "1")
    assert changes(running) == []


async def test_a_caller_that_leaves_says_nothing_of_the_upstream(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile())
    tool.behaviour = hang(asyncio.Event())
    async with dial(running.gateway.data_url) as agent:
        await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
        await tool.seen()
        agent.leave()
        await running.seen.ended()
    assert changes(running) == []


async def test_a_caller_that_is_slow_with_its_body_says_nothing_of_the_upstream(start: StartGateway) -> None:
    async def waits(upload: Request) -> None:
        await upload.reader.read()

    async with loopback(waits, read_bodies=False) as upstream:
        running = await start(fragile(timeout_ms=200), GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        async with dial(running.gateway.data_url) as agent:
            await agent.say(
                f"POST /tools/{READ} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n".encode()
                + b"x" * 100_000
            )
            assert (await agent.head())[0] == 504
        assert changes(running) == []


async def big(answered: Request) -> None:
    """More than any buffer on the way holds."""
    await answered.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)


async def test_a_slow_reader_says_nothing_of_the_upstream(start: StartGateway) -> None:
    async with behind(start, big, fragile(timeout_ms=300, deadline_ms=600)) as (running, _):
        async with dial(running.gateway.data_url) as agent:
            await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
            assert (await running.seen.ended()).reason == "tool_timeout"
        assert changes(running) == []


async def test_a_body_that_breaks_off_while_it_is_passed_on_counts(start: StartGateway) -> None:
    async def cut(answered: Request) -> None:
        await answered.say(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        answered.reset()

    async with behind(start, cut, fragile()) as (running, _):
        async with dial(running.gateway.data_url) as agent:
            await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
            await agent.rest()
        assert (await running.seen.ended()).errors == ("cut",)
        assert changes(running) == ["open"]


async def test_a_body_that_was_passed_on_whole_breaks_the_row(start: StartGateway) -> None:
    async def answer(asked: Request) -> None:
        if b"good" in asked.body:
            await asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n")
        else:
            await asked.say(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")

    async with behind(start, answer, fragile(failures=2)) as (running, _):
        for body, code in ((b"bad", 503), (b"good", 200), (b"bad", 503), (b"good", 200), (b"bad", 503), (b"bad", 503)):
            asked = request(f"POST /tools/{READ}", body=body)
            assert (await ask(running.gateway.data_url, asked)).status == code
        assert changes(running) == ["open"]


async def test_one_call_probes_it_and_its_success_lets_all_others_in(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(open_ms=1000))
    released = asyncio.Event()
    tool.replies = [status(503), hang(released)]
    await post(running, READ)
    await half_open(running)
    probe = asyncio.create_task(post(running, READ))
    await tool.seen(2)
    others = await asyncio.gather(*(post(running, READ) for _ in range(10)))
    assert {told(answer) for answer in others} == {(503, "circuit_open", "0")}
    assert {answer.header("Retry-After") for answer in others} == {"1"}
    released.set()
    assert told(await probe) == (200, "ok", "1")
    assert {(await post(running, READ)).status for _ in range(10)} == {200}
    assert tool.calls == 12
    assert changes(running) == ["open", "half_open", "closed"]
    assert "breaker_open" not in await degraded(running)


async def test_a_probe_that_fails_opens_it_again(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(open_ms=SOON))
    tool.behaviour = status(503)
    await post(running, READ)
    for calls in (2, 3):
        await half_open(running)
        assert told(await post(running, READ)) == (503, "tool_error", "1")
        assert tool.calls == calls
    assert changes(running) == ["open", "half_open", "open", "half_open", "open"]


async def test_a_probe_that_was_killed_leaves_its_place_to_the_next_call(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(open_ms=SOON))
    tool.replies = [status(503), hang(asyncio.Event())]
    await post(running, READ)
    await half_open(running)
    probe = asyncio.create_task(post(running, READ, "Agent-Run-Id: r1"))
    await tool.seen(2)
    await running.kill("run:r1", cancel_in_flight=True)
    assert told(await probe) == (403, "kill_switch", "1")
    assert told(await post(running, READ)) == (200, "ok", "1")


async def test_a_probe_whose_caller_left_leaves_its_place_to_the_next_call(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(fragile(open_ms=SOON))
    tool.replies = [status(503), hang(asyncio.Event())]
    await post(running, READ)
    await half_open(running)
    async with dial(running.gateway.data_url) as agent:
        await agent.say(request(f"POST /tools/{READ}", body=b"{}"))
        await tool.seen(2)
        agent.leave()
        await running.seen.ended(2)
    assert told(await post(running, READ)) == (200, "ok", "1")


async def test_the_slow_reader_of_a_probe_keeps_nobody_out(start: StartGateway) -> None:
    async def answer(asked: Request) -> None:
        await (big(asked) if b"good" in asked.body else asked.say(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))

    async with behind(start, answer, fragile(open_ms=1000)) as (running, _):
        assert (await post(running, READ)).status == 503
        await half_open(running)
        async with dial(running.gateway.data_url) as agent:
            await agent.say(request(f"POST /tools/{READ}", body=b"good"))
            assert (await agent.head())[0] == 200
            assert changes(running) == ["open", "half_open", "closed"]


async def test_the_breaker_outlives_a_reload(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(failures=2))
    tool.behaviour = status(503)
    await post(running, READ)
    change_policy(running, fragile(failures=2, open_ms=30_000))
    async with running.operator.post("/v1/policy/reload") as answer:
        assert (await answer.json())["changed"] is True
    assert (await post(running, READ)).status == 503
    assert told(await post(running, READ)) == (503, "circuit_open", "0")


async def test_a_read_is_not_repeated_at_an_upstream_that_is_left_alone(start: StartGateway, tool: ToolServer) -> None:
    running = await start(fragile(retries=2))
    tool.behaviour = status(503, X_From="tool")
    answer = await post(running, READ)
    assert told(answer) == (503, "tool_error", "1")
    assert answer.header("X-From") == "tool"


async def test_a_repeat_that_finds_the_breaker_open_is_answered_with_what_came_back(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(fragile(failures=2, retries=2))
    tool.replies = [status(503, X_From="tool", Retry_After="1")]
    tool.behaviour = status(503)
    waiting = asyncio.create_task(post(running, READ))
    await tool.seen(1)
    assert (await post(running, WRITE)).status == 503
    answer = await waiting
    assert told(answer) == (503, "tool_error", "1")
    assert answer.header("X-From") == "tool"
    record = running.seen.records[-1]
    assert (record.tool, record.attempts, record.errors) == (READ, 1, ())


async def test_a_repeat_that_finds_the_breaker_open_and_nothing_to_relay_is_refused(start: StartGateway) -> None:
    async def too_long_to_keep(asked: Request) -> None:
        if len(upstream.requests) == 1:
            await asked.say(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000)
        else:
            await asked.say(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    async with behind(start, too_long_to_keep, fragile(failures=2, retries=2)) as (running, upstream):
        waiting = asyncio.create_task(post(running, READ))
        await upstream.seen(1)
        assert (await post(running, WRITE)).status == 503
        assert told(await waiting) == (503, "circuit_open", "1")


async def test_retries_keep_to_their_budget_and_what_came_back_is_relayed(
    start: StartGateway, tool: ToolServer
) -> None:
    running = await start(fragile(failures=1000, retries=2), AGENT_MAX_TOOL_CALLS="50")
    tool.behaviour = status(503)
    answers = await asyncio.gather(*(post(running, READ) for _ in range(50)))
    assert {(answer.status, answer.header("Tool-Gateway-Reason")) for answer in answers} == {(503, "tool_error")}
    assert 50 < tool.calls <= 50 + 10 + 3
    async with running.operator.get("/metrics") as answer:
        refused = next(line for line in (await answer.text()).splitlines() if line.startswith("tool_gateway_retries_r"))
    assert float(refused.split()[1]) == 50 - sum(1 for a in answers if a.header("Tool-Gateway-Attempts") == "3")


@pytest.mark.parametrize(
    ("open_ms", "run", "code", "retry"),
    [(1000, True, 503, True), (30_000, False, 503, True), (30_000, True, 403, False), (600_000, False, 403, False)],
)
async def test_nobody_is_led_to_wait_longer_than_a_minute_or_its_run(
    start: StartGateway, tool: ToolServer, open_ms: int, run: bool, code: int, retry: bool
) -> None:
    running = await start(fragile(open_ms=open_ms), AGENT_MAX_SECONDS="10")
    tool.behaviour = status(503)
    await post(running, READ)
    answer = await post(running, READ, *(["Agent-Run-Id: r1"] if run else []))
    assert told(answer) == (code, "circuit_open", "0")
    problem = answer.problem()
    assert (answer.header("Retry-After") is not None) == problem["retryable"] == retry
    assert (answer.header("x-should-retry") == "false") == (not retry)
    assert 0 < problem["retry_after_ms"] <= open_ms * 1.2 + 1000
    assert ("But this run ends before that." in problem["detail"]) == (run and not retry)
    assert problem["stop_reason"] is None


async def test_the_same_holds_for_a_gateway_that_shuts_down(start: StartGateway) -> None:
    running = await start(AGENT_MAX_SECONDS="4")
    running.gateway.counts.draining = True
    answer = await post(running, READ, "Agent-Run-Id: r1")
    assert told(answer) == (403, "draining", "0")
    assert answer.header("Retry-After") is None
    assert answer.problem()["retry_after_ms"] == 5000
