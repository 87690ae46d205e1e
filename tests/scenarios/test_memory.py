"""Memory is bounded in sum, whatever readers and callers do: a gateway process of its own, its memory as the kernel counts it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import uuid4

import pytest
from aiohttp import web

from gateway.pipeline.attempts import HELD_REPLY
from tests.doors.conftest import StartGateway, policy_of
from tests.doors.tool_server import Behaviour, ToolServer, hang
from tests.scenarios.installation import POLICY, Installation, call, eventually
from tests.scenarios.resident import MB, SlowReader, has_loaded, most_resident, needs_proc, resident

pytestmark = needs_proc

TEN_MB = 10_000_000
READ = "search.read"
LIMIT = 16 << 20
CONNECTION = 48_000
"""Bytes, generously, that an agent's and an upstream's connection take before any body."""


class Flow:
    """A tool whose replies are large, and that knows how much of them it got rid of."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = self.size
        await response.prepare(request)
        left = self.size
        try:
            while left:
                piece = bytes(min(left, 64 * 1024))
                await response.write(piece)
                left -= len(piece)
                self.sent += len(piece)
            await response.write_eof()
        except ConnectionError:
            pass  # the reader left
        return response

    async def stalled(self) -> None:
        """Waits until nothing moves any more: all buffers on the way are full."""
        before = -1
        while self.sent != before:
            before = self.sent
            await asyncio.sleep(0.3)


def small(size: int) -> Behaviour:
    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(size))

    return reply


async def begin(installation: Installation, definition: dict[str, object], **environment: str) -> int:
    """A gateway that has served one call, so that what it needs once is there. Its process id."""
    installation.write_policy(
        {
            "tools": {
                "allowlist": [READ],
                "definitions": {READ: {"effect": "read", "deadline_ms": 60_000} | definition},
            },
            "upstreams": {"default": {"url": installation.upstream, "max_connections": 1000}},
        }
    )
    installation.environment |= {"GATEWAY_UPSTREAM": "", "AGENT_MAX_TOOL_CALLS": "1000000"} | environment
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, READ) == (200, "ok")
    return process.pid


class AskSlowly(Protocol):
    async def __call__(self, url: str, count: int, *, times: int = 1) -> list[SlowReader]: ...


@pytest.fixture
async def ask_slowly() -> AsyncIterator[AskSlowly]:
    """Readers that leave when the test ends, if not before."""
    readers: list[SlowReader] = []

    async def ask(url: str, count: int, *, times: int = 1) -> list[SlowReader]:
        new = [await SlowReader.ask(url, f"/tools/{READ}", times=times) for _ in range(count)]
        readers.extend(new)
        return new

    yield ask
    for reader in readers:
        await reader.leave()


async def test_large_replies_wait_at_their_upstream_for_slow_readers(
    installation: Installation, tool: ToolServer, ask_slowly: AskSlowly
) -> None:
    pid = await begin(installation, {})
    tool.behaviour = flow = Flow(TEN_MB)
    before = resident(pid)
    readers = await ask_slowly(installation.data, 64)
    heads = [await reader.head() for reader in readers]
    assert all(head.startswith(b"HTTP/1.1 200 ") for head in heads)
    await flow.stalled()
    assert flow.sent < 64 * TEN_MB
    assert (
        most_resident(pid) - before < 32 * MB
    )  # a third of what whole pieces as large as the socket gives them would take
    assert await asyncio.gather(*(reader.rest(TEN_MB) for reader in readers[:4])) == [TEN_MB] * 4
    assert most_resident(pid) - before < 32 * MB
    for reader in readers:
        await reader.leave()
    async with installation.agent() as agent:
        tool.behaviour = None
        assert await call(agent, READ) == (200, "ok")


async def test_slow_readers_beyond_the_sum_are_refused_and_the_sum_holds(
    installation: Installation, tool: ToolServer, ask_slowly: AskSlowly
) -> None:
    pid = await begin(installation, {}, GATEWAY_MAX_BUFFERED_BYTES=str(LIMIT))
    tool.behaviour = flow = Flow(TEN_MB)
    before = resident(pid)
    readers = await ask_slowly(installation.data, 400)
    statuses = Counter([(await reader.head())[9:12] for reader in readers])
    await flow.stalled()
    assert statuses[b"200"] + statuses[b"503"] == 400
    assert 150 <= statuses[b"200"] <= LIMIT // HELD_REPLY
    assert most_resident(pid) - before < LIMIT + 400 * CONNECTION
    for reader in readers:
        await reader.leave()
    tool.behaviour = None
    async with installation.agent() as agent:
        while await call(agent, READ) == (503, "overloaded"):  # noqa: ASYNC110  until it has noticed that they left
            await asyncio.sleep(0.01)


async def test_requests_that_are_judged_whole_hold_no_more_than_the_sum(
    installation: Installation, tool: ToolServer, ask_slowly: AskSlowly
) -> None:
    """A body of many small values weighs twenty times its bytes once it is parsed: that must not outlive the judging."""
    pid = await begin(
        installation, {"arguments": {}, "max_request_bytes": 2 * MB}, GATEWAY_MAX_BUFFERED_BYTES=str(LIMIT)
    )
    body = b"[" + b"[]," * (MB // 3) + b"[]]"
    released = asyncio.Event()
    async with installation.agent() as agent:
        assert await call(agent, READ, json=None, data=body) == (200, "ok")  # what the parser needs once is there
        tool.behaviour = hang(released)
        before, received = resident(pid), tool.calls
        calls = [asyncio.create_task(call(agent, READ, json=None, data=body)) for _ in range(40)]
        await eventually(lambda: tool.calls + sum(each.done() for each in calls) - received >= 40)
        refused = [each.result() for each in calls if each.done()]
        assert set(refused) == {(503, "overloaded")}
        assert 1 <= len(calls) - len(refused) <= LIMIT // len(body)
        assert resident(pid) - before < LIMIT + 100 * MB  # kept as they are judged they would be 350 MB
        released.set()
        assert Counter(await asyncio.gather(*calls))[200, "ok"] == len(calls) - len(refused)
        assert await call(agent, READ, json=None, data=body) == (200, "ok")


async def test_small_replies_that_nobody_reads_do_not_pile_up(
    installation: Installation, tool: ToolServer, ask_slowly: AskSlowly
) -> None:
    """Each connection asks a hundred times in one go, and takes no answer."""
    pid = await begin(installation, {}, GATEWAY_MAX_BUFFERED_BYTES=str(LIMIT))
    tool.behaviour = small(60_000)
    before = resident(pid)
    readers = await ask_slowly(installation.data, 100, times=100)
    calls = -1
    while calls != tool.calls:
        calls = tool.calls
        await asyncio.sleep(0.3)
    assert calls < 100 * 100
    assert (
        most_resident(pid) - before < LIMIT + 24 * MB
    )  # connections, heads behind one another, the log and what it waits for
    for reader in readers:
        await reader.leave()


async def test_what_a_reader_leaves_of_a_whole_answer_is_counted_until_it_is_gone(
    start: StartGateway, tool: ToolServer, ask_slowly: AskSlowly
) -> None:
    running = await start(
        policy_of({READ: {"effect": "read"}}), AGENT_MAX_TOOL_CALLS="1000000", GATEWAY_MAX_BUFFERED_BYTES="128KiB"
    )
    tool.behaviour = small(60_000)
    buffers = running.gateway.buffers
    readers: list[SlowReader] = []
    while buffers.held + HELD_REPLY <= buffers.limit and len(readers) < 8:
        readers += await ask_slowly(running.gateway.data_url, 1, times=100)
        calls = -1
        while calls != tool.calls:
            calls = tool.calls
            await asyncio.sleep(0.1)
    assert len(running.gateway.counts.in_flight) == 0
    assert buffers.held <= buffers.limit
    async with running.agent.post(f"/tools/{READ}", json={}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    for reader in readers:
        await reader.leave()
    await eventually(lambda: buffers.held == 0)
    async with running.agent.post(f"/tools/{READ}", json={}) as answer:
        assert answer.status == 200


async def test_a_gateway_at_rest_does_not_hold_what_redacts_until_a_payload_is_logged(
    installation: Installation, tool: ToolServer
) -> None:
    installation.write_policy(POLICY | {"observability": {"result_sample_rate": 0}})
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, READ, run=str(uuid4())) == (200, "ok")
        await eventually(lambda: installation.lines("tool_call"))
        assert has_loaded(process.pid, "_sqlite3")
        assert not has_loaded(process.pid, "_re2")
        status, _ = await call(agent, "not.allowed", json={"password": "hunter2"})
        await eventually(lambda: len(installation.lines("tool_call")) == 2)
    assert status == 403
    assert installation.lines("tool_call")[1]["args"] == {"password": "[redacted]"}
    assert has_loaded(process.pid, "_re2")
