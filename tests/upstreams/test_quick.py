"""Exchanges that are begun without waiting: on either loop, aborted, handed over or lost at any point, they leave nothing behind."""

import asyncio
import gc

import pytest

from gateway.model import Attempt, Reply, UpstreamError
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.quick import QuickExchange
from tests.upstreams.calling import upstream, whole
from tests.upstreams.loopback import Loopback, Request, always, loopback, reply

ASKED = b"POST /q HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
PLAIN = reply(b"ok")


class Waiting:
    """A Taker."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()

    def take(self, reply: Reply) -> None:
        self.reply.set_result(reply)

    def look(self) -> None:
        self.reply.set_result(None)


async def warm(served: HttpUpstream) -> None:
    served.pool.rest(await served.pool.take())


def begin(served: HttpUpstream) -> tuple[QuickExchange, Waiting, Attempt]:
    exchange = served.quick(asked=False)
    assert exchange is not None
    taker, attempt = Waiting(), Attempt(1, "POST", "/q", [], b"{}")
    assert exchange.send(attempt, ASKED, taker)
    assert attempt.sent
    return exchange, taker, attempt


async def test_a_plain_reply_is_handed_over_whole_and_its_connection_used_again() -> None:
    async with loopback(always(PLAIN)) as served, upstream(served.port) as made:
        await warm(made)
        for _ in range(3):
            _, taker, _ = begin(made)
            got = await taker.reply
            assert got is not None
            assert (got.status, got.body) == (200, b"ok")
        assert served.connections == 1
        assert made.pool.idle == 1


async def test_without_an_idle_connection_nothing_is_begun() -> None:
    async with loopback(always(PLAIN)) as served, upstream(served.port) as made:
        assert made.quick(asked=False) is None
        assert served.connections == 0


async def test_one_that_is_not_needed_is_given_back() -> None:
    async with loopback(always(PLAIN)) as served, upstream(served.port) as made:
        await warm(made)
        exchange = made.quick(asked=False)
        assert exchange is not None
        exchange.unused()
        exchange.abort()
        assert made.pool.idle == 1
        assert served.requests == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        PLAIN[:10],
        PLAIN[:-1],
        PLAIN + b"x",
        PLAIN + PLAIN,
        b"not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
    ],
)
@pytest.mark.parametrize("known", [False, True])
async def test_whatever_comes_before_the_end_is_what_an_attempt_that_waits_would_get(said: bytes, known: bool) -> None:
    """Known or not, the head: the ordinary exchange and this one end alike."""
    odd = False

    async def answer(request: Request) -> None:
        await request.say(said if odd else PLAIN)
        if odd:
            request.writer.close()

    async def outcome(made: HttpUpstream, *, quick: bool) -> object:
        attempt = Attempt(1, "POST", "/q", [], b"{}")
        try:
            if not quick:
                got = await made.send(attempt)
            else:
                exchange, taker, attempt = begin(made)
                taken = await taker.reply
                got = await exchange.arrive() if taken is None else taken
            return got.status, got.headers, await whole(got)
        except UpstreamError as error:
            return error.kind, error.detail, error.sent

    async with loopback(answer) as served, upstream(served.port) as made:
        ends = []
        for quick in (False, True):
            odd = False
            await warm(made)
            for _ in range(2 if known else 0):
                await outcome(made, quick=True)
            odd = True
            ends.append(await outcome(made, quick=quick))
            await served.closed()
        assert ends[0] == ends[1]


@pytest.mark.parametrize("moment", ["at once", "asked", "odd", "handed over", "lost"])
async def test_aborted_at_any_moment_it_is_gone(moment: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = asyncio.Event()

    async def answer(request: Request) -> None:
        seen.set()
        if moment == "odd":
            await request.say(PLAIN[:20])
        if moment == "lost":
            request.reset()
        else:
            await request.reader.read()

    async with loopback(answer) as served, upstream(served.port) as made:
        await warm(made)
        exchange, taker, _ = begin(made)
        if moment != "at once":
            await seen.wait()
        if moment == "handed over":
            exchange.hand_over()
        if moment in ("odd", "lost"):
            assert await taker.reply is None
        exchange.abort()
        exchange.abort()
        await served.closed()
        await made.pool.gone()
        del exchange, taker
    gc.collect()
    assert caplog.records == []  # "exception was never retrieved" would be one


async def test_bytes_that_come_while_idle_end_the_connection() -> None:
    """They can be the answer to nothing that is asked later."""
    stray = asyncio.Event()

    async def answer(request: Request) -> None:
        await request.say(PLAIN)
        await stray.wait()
        await request.say(reply(b"poison"))

    async with loopback(answer) as served, upstream(served.port) as made:
        await warm(made)
        _, taker, _ = begin(made)
        assert await taker.reply is not None
        stray.set()
        await served.closed()
        assert made.quick(asked=False) is None
        assert len(served.requests) == 1


async def test_a_connection_that_closes_before_the_request_is_sent_sends_nothing() -> None:
    async with loopback(always(PLAIN)) as served, upstream(served.port) as made:
        await warm(made)
        exchange = made.quick(asked=False)
        assert exchange is not None
        await cut(served)
        attempt = Attempt(1, "POST", "/q", [], b"{}")
        assert not exchange.send(attempt, ASKED, Waiting())
        assert not attempt.sent


async def cut(served: Loopback) -> None:
    await served.connected(1)
    await served.stop()
    await asyncio.sleep(0.01)  # until the end of the connection has come
