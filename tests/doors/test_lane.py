"""What only the fast lane has to get right: calls that leave it, at any moment."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from operator import attrgetter
from pathlib import Path

import pytest

from gateway.clock import clock
from gateway.denial import Reason
from gateway.state.stores.journal import FileJournal
from gateway.upstreams.quick import QuickExchange
from tests.doors.conftest import FAST, POLICY, Running, StartGateway, nothing_is_left, policy_of
from tests.doors.wire import Wire, ask, dial, request
from tests.upstreams.loopback import Loopback, Request, always, loopback

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
READ = "search.read"
CALL = request(f"POST /tools/{READ}", body=b"{}")

only_fast = pytest.mark.parametrize("start", [FAST], indirect=True)


class Slow:
    """An upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Request] = asyncio.Queue()

    async def __call__(self, request: Request) -> None:
        self.asked.put_nowait(request)
        await request.reader.read()


@asynccontextmanager
async def slow_upstream(
    start: StartGateway, policy: str = POLICY, **variables: str
) -> AsyncIterator[tuple[Running, Loopback, Slow, Wire]]:
    slow = Slow()
    async with loopback(slow) as upstream:
        running = await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", **variables)
        async with dial(running.gateway.data_url) as wire:
            yield running, upstream, slow, wire


@only_fast
async def test_a_reply_that_comes_just_behind_the_next_request_is_answered_once(start: StartGateway) -> None:
    """The next request has the call go on in aiohttp, whose handler has not begun when the reply is there."""
    async with slow_upstream(start) as (running, _, slow, wire):
        await wire.say(CALL)
        asked = await slow.asked.get()
        wire.writer.write(request("GET /healthz"))
        asked.writer.write(REPLY)
        assert (await wire.answer()).body == b"hi"
        assert (await wire.answer()).body == b'{"ok":true}'
        assert (await running.seen.ended(1)).reason is Reason.OK


@only_fast
async def test_a_body_that_drips_has_no_more_time_than_any_other(start: StartGateway) -> None:
    """However often a byte comes: beyond a moment the read timeout runs."""
    async with slow_upstream(start, GATEWAY_READ_TIMEOUT="1") as (_, _, _, wire):
        call = request(f"POST /tools/{READ}", body=b" " * 1000)
        await wire.say(call[:-900])
        answer = asyncio.ensure_future(wire.answer())
        for _ in range(300):
            await wire.say(b" ")
            await asyncio.wait([answer], timeout=0.02)
            if answer.done():
                break
        assert answer.done()
        assert (await answer).status == 408


async def reload(running: Running, tmp_path: Path, policy: str) -> None:
    (tmp_path / "policies" / "policy.yaml").write_text(policy)
    await running.gateway.policies.reload()
    await running.warm()


@only_fast
async def test_a_known_head_is_judged_by_the_policy_in_force(start: StartGateway, tmp_path: Path) -> None:
    """Another upstream header, then another allowlist, then report mode, then the first policy again: same request, same connection."""
    headers = {"tools": {"url": "@URL@", "headers": {"X-Policy": "second"}}}
    first, second = policy_of({READ: {"effect": "read"}}), policy_of({READ: {"upstream": "tools"}}, upstreams=headers)
    async with loopback(always(REPLY)) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        running = await start(first, GATEWAY_UPSTREAM=url)
        async with dial(running.gateway.data_url) as wire:

            async def status() -> tuple[int, str | None]:
                await wire.say(CALL)
                answer = await wire.answer()
                return answer.status, answer.header("Tool-Gateway-Mode")

            assert [await status() for _ in range(2)] == [(200, None)] * 2
            await reload(running, tmp_path, second.replace("@URL@", url))
            assert await status() == (200, None)
            await reload(running, tmp_path, policy_of({"other.read": {}}))
            assert await status() == (403, None)
            await reload(running, tmp_path, policy_of({READ: {"effect": "read"}}, mode="report"))
            assert await status() == (200, "report")
            await reload(running, tmp_path, first)
            assert await status() == (200, None)
        assert [request.header("X-Policy") for request in upstream.requests] == [[], [], ["second"], [], []]
        assert running.fast == 5


@only_fast
@pytest.mark.parametrize(
    "last", [request("GET /healthz", "Connection: close"), b"GET /healthz HTTP/1.0\r\n\r\n", b"no HTTP\r\n\r\n"]
)
async def test_the_last_request_of_one_caller_closes_the_lane_to_no_other(start: StartGateway, last: bytes) -> None:
    async with loopback(always(REPLY)) as upstream:
        running = await start(GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        await ask(running.gateway.data_url, last)
        for _ in range(2):
            assert (await ask(running.gateway.data_url, CALL)).status == 200
        assert running.fast == 2


@only_fast
async def test_a_thousand_at_once_against_a_budget_of_twelve(start: StartGateway) -> None:
    async with loopback(always(REPLY)) as upstream:
        running = await start(GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", GATEWAY_MAX_IN_FLIGHT="2000")
        await running.warm(50)
        call = request(f"POST /tools/{READ}", "Agent-Run-Id: r1", body=b"{}")
        answers = await asyncio.gather(*(ask(running.gateway.data_url, call) for _ in range(1000)))
        assert Counter(answer.status for answer in answers) == {200: 12, 403: 988}
        assert len(upstream.requests) == 12
        assert running.fast


@only_fast
@pytest.mark.parametrize(("cancel", "end"), [(True, (403, Reason.KILL_SWITCH)), (False, (200, Reason.OK))])
async def test_a_kill_reaches_a_call_at_work_only_where_it_is_meant_to(
    start: StartGateway, cancel: bool, end: tuple[int, Reason]
) -> None:
    async with slow_upstream(start) as (running, upstream, slow, wire):
        await wire.say(CALL)
        asked = await slow.asked.get()
        await running.kill("all", cancel_in_flight=cancel)
        if cancel:
            await upstream.closed()
        else:
            await asked.say(REPLY)
        answer = await wire.answer()
        assert (answer.status, (await running.seen.ended(1)).reason) == end
        assert running.fast == (0 if cancel else 1)
        await wire.say(CALL)
        assert (await wire.answer()).header("Tool-Gateway-Reason") == "kill_switch"


@only_fast
async def test_a_caller_that_leaves_takes_its_call_along(start: StartGateway) -> None:
    """It is charged: the upstream may have done its work."""
    async with slow_upstream(start) as (running, upstream, slow, wire):
        await wire.say(request(f"POST /tools/{READ}", "Agent-Run-Id: r1", body=b"{}"))
        await slow.asked.get()
        wire.leave()
        await upstream.closed()
        record = await running.seen.ended(1)
        assert (record.reason, record.status, record.attempts) == (Reason.CLIENT_GONE, None, 1)
        async with running.agent.get("/_gateway/runs/r1") as answer:
            assert (await answer.json())["counts"]["tool_calls"] == 1


@only_fast
async def test_a_call_at_work_is_told_of_the_shutdown(start: StartGateway) -> None:
    async with slow_upstream(start) as (running, _, slow, wire):
        await wire.say(CALL)
        await slow.asked.get()
        running.gateway.counts.in_flight.cut_all()
        await running.gateway.data_plane.listener.shutdown(0.5)
        answer = await wire.answer()
        assert (answer.status, (await running.seen.ended(1)).reason) == (503, Reason.DRAINING)


@only_fast
async def test_a_call_that_comes_to_nothing_has_a_timeout(start: StartGateway) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 100, "retries": {"max": 0}}})
    async with slow_upstream(start, policy) as (running, upstream, slow, wire):
        await wire.say(CALL)
        await slow.asked.get()
        assert (await wire.answer()).status == 504
        record = await running.seen.ended(1)
        assert (record.reason, record.errors) == (Reason.TOOL_TIMEOUT, ("timeout",))
        assert record.duration_ms >= 100
        await upstream.closed()


@only_fast
async def test_a_reply_that_stalls_has_no_more_time_than_any_other(start: StartGateway) -> None:
    """From its first bytes on, the timeout is the longest silence between two pieces: not that and the time until the timeout before."""
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 1000, "deadline_ms": 9000, "retries": {"max": 0}}})
    async with slow_upstream(start, policy) as (running, upstream, slow, wire):
        await wire.say(CALL)
        await (await slow.asked.get()).say(REPLY[:-1])
        assert (await wire.answer()).status == 504
        record = await running.seen.ended(1)
        assert (record.reason, record.errors) == (Reason.TOOL_TIMEOUT, ("timeout",))
        assert 1000 <= record.duration_ms < 1900
        await upstream.closed()


@only_fast
@pytest.mark.sources
async def test_a_fault_with_one_call_leaves_the_others_their_timeouts(
    start: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of({READ: {"effect": "read", "timeout_ms": 100, "retries": {"max": 0}}})
    hand_over, faults = QuickExchange.hand_over, [LookupError]

    def at_first_a_fault(exchange: QuickExchange) -> None:
        if faults:
            raise faults.pop()
        hand_over(exchange)

    monkeypatch.setattr(QuickExchange, "hand_over", at_first_a_fault)
    async with slow_upstream(start, policy) as (running, _, slow, lost):
        await running.warm(2)
        async with dial(running.gateway.data_url) as other:
            for wire in (lost, other):
                await wire.say(CALL)
                await slow.asked.get()
            assert (await other.answer()).status == 504
            lost.leave()


@only_fast
async def test_without_memory_for_it_a_call_is_refused(start: StartGateway) -> None:
    async with slow_upstream(start) as (running, upstream, slow, wire):
        buffers = running.gateway.buffers
        buffers.owe(buffers.limit - 1)
        await wire.say(CALL)
        assert (await wire.answer()).header("Tool-Gateway-Reason") == "overloaded"
        buffers.give(buffers.limit - 1)
        await wire.say(CALL)
        await (await slow.asked.get()).say(REPLY)
        assert (await wire.answer()).status == 200
        assert (len(upstream.requests), running.fast) == (1, 1)


@only_fast
async def test_what_a_slow_reader_has_not_taken_is_counted(start: StartGateway) -> None:
    """And it gets no more than one answer at a time."""
    body = b"x" * 60_000
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with loopback(always(reply)) as upstream:
        running = await start(
            GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}",
            AGENT_MAX_TOOL_CALLS="10000",
            GATEWAY_READ_TIMEOUT="30",
        )
        buffers = running.gateway.buffers
        async with dial(running.gateway.data_url) as wire:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a whole transport
            calls = 0
            while not buffers.held and calls < 2000:
                await wire.say(CALL)
                calls += 1
                await running.seen.ended(calls)
            assert 0 < buffers.held <= len(reply) + 1000
            assert running.fast == calls
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(calls):
                assert (await wire.answer()).body == body
            await nothing_is_left(running.gateway)


@only_fast
@pytest.mark.sources
@pytest.mark.parametrize(
    "part", ["data_plane.listener.front.understand", "pipeline.begin", "pipeline._reserve", "pipeline.complete"]
)
async def test_a_fault_of_the_lane_leaves_the_call_to_the_ordinary_way(
    start: StartGateway, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection is lost by it, and nothing is held."""
    async with loopback(always(REPLY)) as upstream:
        running = await start(GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        owner, _, name = part.rpartition(".")
        usual = attrgetter(part)(running.gateway)

        def fault(*given: object, gather: bool = name != "_reserve") -> object:
            if gather:
                raise LookupError
            return usual(*given)  # it is the ordinary way's as well

        monkeypatch.setattr(attrgetter(owner)(running.gateway), name, fault)
        async with dial(running.gateway.data_url) as wire:
            for call in range(2):
                await wire.say(CALL)
                assert (await wire.answer()).status == 200
                assert (await running.seen.ended(call + 1)).reason is Reason.OK
        assert (upstream.connections, len(upstream.requests), running.fast) == (1, 2, 0)
        await nothing_is_left(running.gateway)


def journal_of(running: Running) -> FileJournal:
    journal = running.gateway.counts.ledger.journal
    assert isinstance(journal, FileJournal)
    return journal


@asynccontextmanager
async def full_disk(running: Running) -> AsyncIterator[None]:
    """The kernel has no room for what is written to the journal's file; the next file takes over afterwards, and not before."""
    running.gateway._chores[1].cancel()  # which asks for the next file once a second
    file = journal_of(running)._file
    assert file is not None
    assert file.descriptor is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.descriptor)
    os.close(full)
    yield
    while journal_of(running).problem:
        await running.gateway.keeper.flush(running.gateway.counts.ledger, clock())


async def tool_calls(running: Running, run: str) -> int:
    async with running.agent.get(f"/_gateway/runs/{run}") as answer:
        return int((await answer.json())["counts"]["tool_calls"])


@only_fast
@pytest.mark.parametrize(("prefer", "end"), [("deny", (503, "state_unavailable")), ("allow", (200, "ok"))])
async def test_charges_of_one_turn_that_cannot_be_written_down(
    start: StartGateway, tmp_path: Path, prefer: str, end: tuple[int, str]
) -> None:
    """Nothing of these calls is sent, charged or taken for a repeat; or, where the policy prefers that, all of them are performed."""
    policy = policy_of({READ: {"effect": "read", "max_identical_calls": 9}}, state={"on_unavailable": prefer})
    call = request(f"POST /tools/{READ}", "Agent-Run-Id: r1", body=b"{}")
    async with loopback(always(REPLY)) as upstream, AsyncExitStack() as stack:
        running = await start(
            policy,
            GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}",
            GATEWAY_STATE=f"sqlite:{tmp_path / 'state.db'}",
        )
        await running.warm(8)
        wires = [await stack.enter_async_context(dial(running.gateway.data_url)) for _ in range(8)]

        async def ask_all() -> list[tuple[int, str | None]]:
            """In one turn of the loop, which is the gateway's as well."""
            for wire in wires:
                wire.writer.write(call)
            answers = [await wire.answer() for wire in wires]
            return [(answer.status, answer.header("Tool-Gateway-Reason")) for answer in answers]

        await wires[0].say(call)
        assert (await wires[0].answer()).status == 200
        sent = 1
        async with full_disk(running):
            assert await ask_all() == [end] * 8
            sent += 0 if prefer == "deny" else 8
            assert (len(upstream.requests), await tool_calls(running, "r1")) == (sent, sent)
        if prefer == "deny":
            assert await ask_all() == [(200, "ok")] * 8
            sent += 8
        assert (len(upstream.requests), await tool_calls(running, "r1"), running.fast) == (sent, sent, sent)
        assert upstream.connections == 8
