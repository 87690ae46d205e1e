"""Which connection an attempt gets: a warm one that still works, a new one, or its turn in the queue."""

import asyncio

import pytest

from gateway.model import Attempt, Reply, UpstreamError
from gateway.upstreams.http import HttpUpstream
from tests.upstreams.calling import Names, an_attempt, upstream, whole
from tests.upstreams.loopback import Request, always, loopback, never, reply


class Gate:
    """An upstream that answers when told to, in the order asked."""

    def __init__(self) -> None:
        self.turns: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def __call__(self, request: Request) -> None:
        go_on = asyncio.Event()
        self.turns.put_nowait(go_on)
        await go_on.wait()
        await request.say(reply(request.line.encode()))

    async def open(self) -> None:
        (await self.turns.get()).set()


def start(search: HttpUpstream, target: str) -> asyncio.Task[Reply]:
    return asyncio.create_task(search.send(an_attempt(target=target)))


async def queued(search: HttpUpstream, waiting: int) -> None:
    """Returns when so many calls are queued."""
    while search.pool.waiting != waiting:  # noqa: ASYNC110 - the pool has no event for it, and needs none
        await asyncio.sleep(0)


async def test_a_warm_connection_that_closes_under_a_call_is_not_repeated_silently() -> None:
    async def answer(request: Request) -> None:
        if request.connection == 1 and len(server.requests) == 2:
            request.writer.close()
        else:
            await request.say(reply())

    async with loopback(answer) as server, upstream(server.port) as search:
        for method in ("GET", "PUT"):
            server.requests.clear()
            server.connections = 0
            await search.send(an_attempt(method, body=b""))
            attempt = an_attempt(method, body=b"")
            with pytest.raises(UpstreamError) as failed:
                await search.send(attempt)
            assert (failed.value.kind, failed.value.sent, attempt.sent) == ("reset", True, True)
            assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize("last_word", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"x"])
async def test_a_warm_connection_that_closed_or_spoke_before_the_call_is_not_used(last_word: bytes) -> None:
    closing = asyncio.Event()

    async def answer(request: Request) -> None:
        await request.say(reply())
        if request.connection == 1:
            await closing.wait()
            if last_word:
                await request.say(last_word)
            else:
                request.writer.close()

    async with loopback(answer) as server, upstream(server.port) as search:
        await search.send(an_attempt())
        assert search.pool.idle == 1
        closing.set()
        while search.pool.idle:  # noqa: ASYNC110 - the pool has no event for it, and needs none
            await asyncio.sleep(0)
        assert (await search.send(an_attempt())).body == b"ok"
        assert [request.connection for request in server.requests] == [1, 2]


async def test_the_kernel_is_asked_before_a_warm_connection_is_used() -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        await search.send(an_attempt())
        (connection,) = search.pool._idle
        assert connection.quiet()
        server.requests[0].writer.write(b"stray")
        while connection.quiet() and connection.transport is not None:  # seen by the kernel, the loop is never asked
            pass
        assert (await search.send(an_attempt())).body == b"ok"
        assert server.connections == 2


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        reply() + reply(b"forged"),
        reply() + b"HTTP/1.1 200 OK\r\nContent-Le",
        reply() + b"\r\n",
        reply() + b"HTTP/1.1 100 Continue\r\n\r\n",
        CHUNKED + reply(b"forged"),
    ],
)
async def test_stray_bytes_behind_a_reply_reach_no_other_call(answer: bytes) -> None:
    async with loopback(always(answer)) as server, upstream(server.port) as search:
        for _ in range(2):
            assert (await search.send(an_attempt())).body == b"ok"
            await search.pool.gone()
        assert server.connections == 2


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nConnection: close", "HTTP/1.0 200 OK"])
async def test_a_connection_the_upstream_will_close_is_not_kept(head: str) -> None:
    async with (
        loopback(always(f"{head}\r\nContent-Length: 2\r\n\r\nok".encode())) as server,
        upstream(server.port) as search,
    ):
        for _ in range(2):
            assert (await search.send(an_attempt())).body == b"ok"
            assert search.pool.idle == 0
        assert server.connections == 2


async def test_an_idle_connection_is_closed_at_its_time_without_a_call() -> None:
    async with loopback(always(reply())) as server, upstream(server.port, keepalive=0.01) as search:
        await search.send(an_attempt())
        assert search.pool.idle == 1
        await search.pool.gone()
        assert (search.pool.idle, search.pool.opened) == (0, 0)
        await server.closed()


async def test_a_connection_past_its_age_is_not_used_again() -> None:
    async with loopback(always(reply())) as server, upstream(server.port, max_connection_age=0.0) as search:
        for _ in range(2):
            await search.send(an_attempt())
        assert server.connections == 2
        assert search.pool.idle == 0


async def test_a_name_is_looked_up_anew_for_each_new_connection() -> None:
    names = Names(**{"tools.internal": ["127.0.0.1"]})
    async with loopback(always(reply())) as server:
        async with upstream(server.port, names, host="tools.internal", max_connection_age=0.0) as search:
            for _ in range(3):
                await search.send(an_attempt())
        assert names.asked == ["tools.internal"] * 3
        assert server.requests[0].header("Host") == [f"tools.internal:{server.port}"]


async def test_the_newest_idle_connection_is_used_first() -> None:
    gate = Gate()
    async with loopback(gate) as server, upstream(server.port) as search:
        both = [start(search, "/a"), start(search, "/b")]
        await gate.open()
        await gate.open()
        await asyncio.gather(*both)
        assert search.pool.idle == 2
        newest = list(search.pool._idle)[-1]
        for _ in range(3):
            call = start(search, "/c")
            await gate.open()
            await call
            assert list(search.pool._idle)[-1] is newest
        assert server.connections == 2


async def test_no_more_connections_are_open_than_allowed() -> None:
    gate = Gate()
    async with loopback(gate) as server, upstream(server.port, max_connections=2) as search:
        calls = [start(search, f"/{index}") for index in range(8)]
        await queued(search, 6)
        assert search.pool.opened == 2
        for _ in calls:
            await gate.open()
        assert {(await call).status for call in calls} == {200}
        assert server.connections == 2


async def test_the_queue_is_first_in_first_out() -> None:
    gate = Gate()
    async with loopback(gate) as server, upstream(server.port, max_connections=1) as search:
        calls = []
        for index in range(8):
            calls.append(start(search, f"/{index}"))
            await queued(search, index)
        for call in calls:
            await gate.open()
            assert (await call).status == 200
        assert [request.line for request in server.requests] == [f"POST /{index} HTTP/1.1" for index in range(8)]


async def test_a_call_that_leaves_the_queue_has_sent_nothing_and_holds_nobody_up() -> None:
    gate = Gate()
    async with loopback(gate) as server, upstream(server.port, max_connections=1) as search:
        first = start(search, "/first")
        await server.seen(1)
        attempt = an_attempt(target="/leaves")
        leaves = asyncio.create_task(search.send(attempt))
        await queued(search, 1)
        last = start(search, "/last")
        await queued(search, 2)
        leaves.cancel()
        await gate.open()
        assert (await first).status == 200
        await gate.open()
        assert (await last).status == 200
        with pytest.raises(asyncio.CancelledError):
            await leaves
        assert not attempt.sent
        assert [request.line for request in server.requests] == ["POST /first HTTP/1.1", "POST /last HTTP/1.1"]
        assert (search.pool.opened, search.pool.idle, search.pool.waiting) == (1, 1, 0)


@pytest.mark.parametrize("kept", [True, False])
async def test_a_turn_given_to_a_call_that_leaves_at_that_moment_goes_to_the_next(kept: bool) -> None:
    gate = Gate()
    age = 300.0 if kept else 0.0
    async with loopback(gate) as server, upstream(server.port, max_connections=1, max_connection_age=age) as search:
        first, leaves = start(search, "/first"), start(search, "/leaves")
        await queued(search, 1)
        last = start(search, "/last")
        await queued(search, 2)
        await gate.open()
        await queued(search, 1)  # the turn is given, but its caller has not run yet
        leaves.cancel()
        await gate.open()
        assert (await first).status == 200
        assert (await last).status == 200
        assert leaves.cancelled()
        assert search.pool.waiting == 0


async def test_a_turn_is_not_given_to_a_call_that_has_just_left() -> None:
    gate = Gate()
    async with loopback(gate) as server, upstream(server.port, max_connections=1) as search:
        first, leaves = start(search, "/first"), start(search, "/leaves")
        await queued(search, 1)
        leaves.cancel()
        search.pool._free_place()  # at the very moment: its turn is cancelled, and still in the queue
        assert search.pool.waiting == 0
        assert search.pool._places == 1
        search.pool._places = 0
        await gate.open()
        assert (await first).status == 200


async def test_many_calls_that_leave_at_any_moment_leak_no_place() -> None:
    async with loopback(always(reply(b"x" * 100_000))) as server, upstream(server.port, max_connections=3) as search:

        async def call(turns: int) -> None:
            task = asyncio.create_task(_read(search, an_attempt()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(call(turns) for turns in range(60)))
        assert await _read(search, an_attempt()) == b"x" * 100_000
        assert search.pool.opened <= 3
        assert search.pool.waiting == 0
        search.pool.abort()
        await search.pool.gone()
        assert search.pool.opened == 0


async def test_a_failed_connection_frees_its_place_for_the_queue() -> None:
    names = Names()
    async with upstream(1, names, host="gone.internal", max_connections=1) as search:
        results = await asyncio.gather(*(search.send(an_attempt()) for _ in range(3)), return_exceptions=True)
        assert [(r.kind, r.sent) for r in results if isinstance(r, UpstreamError)] == [("dns", False)] * 3
        assert (search.pool.opened, search.pool.waiting) == (0, 0)


async def test_cancelling_while_connecting_leaves_no_socket() -> None:
    class Slow(Names):
        async def lookup(self, host: str) -> list[str]:
            started.set()
            await never()
            return []

    started = asyncio.Event()
    async with upstream(1, Slow(), host="slow.internal", max_connections=1) as search:
        attempt = an_attempt()
        task = asyncio.create_task(search.send(attempt))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not attempt.sent
        assert search.pool.opened == 0


async def test_a_look_up_that_hangs_ends_with_the_connect_timeout() -> None:
    class Slow(Names):
        async def lookup(self, host: str) -> list[str]:
            await never()
            return []

    async with upstream(1, Slow(), host="slow.internal", connect_timeout=0.01) as search:
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt())
        assert (failed.value.kind, failed.value.sent) == ("dns", False)


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    async with loopback(always(reply())) as server:
        names = Names(**{"tools.internal": ["127.0.0.2", "127.0.0.1"]})
        async with upstream(server.port, names, host="tools.internal") as search:
            assert (await search.send(an_attempt())).body == b"ok"


async def _read(search: HttpUpstream, attempt: Attempt) -> bytes:
    return await whole(await search.send(attempt))
