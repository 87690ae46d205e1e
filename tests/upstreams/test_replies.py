"""What an attempt makes of everything an upstream may answer."""

import asyncio

import pytest

from gateway.model import UpstreamError
from tests.upstreams.calling import an_attempt, upstream, whole
from tests.upstreams.loopback import Request, always, free_port, loopback, never, reply

BIG = bytes(range(256)) * 16_384  # 4 MiB


async def test_a_small_reply_is_whole_at_once() -> None:
    async with (
        loopback(
            always(reply(b'{"a":1}', "Content-Type: application/json", "Set-Cookie: a", "Set-Cookie: b"))
        ) as server,
        upstream(server.port, headers=(("Authorization", "Bearer ours"),), base_path="/api") as search,
    ):
        attempt = an_attempt(headers=[("Accept", "*/*"), ("Authorization", "Bearer theirs")])
        got = await search.send(attempt)
    assert (got.status, got.body, got.length) == (200, b'{"a":1}', 7)
    assert got.headers == (
        ("Content-Type", "application/json"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Content-Length", "7"),
    )
    assert attempt.sent
    (seen,) = server.requests
    assert seen.line == "POST /api/query HTTP/1.1"
    assert seen.headers == [
        ("Host", f"127.0.0.1:{server.port}"),
        ("Authorization", "Bearer ours"),
        ("Content-Length", "2"),
        ("Accept", "*/*"),
    ]
    assert seen.body == b"{}"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nTrailer: x\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(b"ab"), b"ab"),
        (reply(b"x" * 60_000), b"x" * 60_000),
        (reply(b"", "X-Long: " + "x" * 30_000), b""),
    ],
)
async def test_every_framing_is_understood_and_leaves_the_connection_in_use(answer: bytes, body: bytes) -> None:
    async with loopback(always(answer)) as server, upstream(server.port) as search:
        for _ in range(2):
            got = await search.send(an_attempt())
            assert await whole(got) == body
            assert "transfer-encoding" not in {name.lower() for name, _ in got.headers}
        assert server.connections == 1


async def test_a_head_reply_announces_a_body_that_never_comes() -> None:
    async with (
        loopback(always(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")) as server,
        upstream(server.port) as search,
    ):
        for _ in range(2):
            got = await search.send(an_attempt("HEAD"))
            assert (got.body, got.length) == (b"", 10)
        assert server.connections == 1


async def test_without_a_length_the_body_ends_with_the_connection() -> None:
    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\n\r\nab")
        await request.say(b"cd")
        request.writer.close()

    async with loopback(answer) as server, upstream(server.port) as search:
        assert await whole(await search.send(an_attempt())) == b"abcd"
        assert await whole(await search.send(an_attempt())) == b"abcd"
        assert server.connections == 2


@pytest.mark.parametrize("size", [None, len(BIG)])
async def test_a_big_body_streams_and_the_connection_stays_in_use(size: int | None) -> None:
    async def answer(request: Request) -> None:
        if size is not None:
            await request.say(reply(BIG))
        else:
            chunks = b"".join(
                b"%x\r\n%b\r\n" % (len(c), c) for c in (BIG[i : i + 9_999] for i in range(0, len(BIG), 9_999))
            )
            await request.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    async with loopback(answer) as server, upstream(server.port) as search:
        for _ in range(2):
            got = await search.send(an_attempt())
            assert got.body is None
            assert got.length == size
            assert await whole(got) == BIG
        assert server.connections == 1


async def test_a_reader_that_is_slow_holds_the_upstream_back() -> None:
    written = 0

    async def answer(request: Request) -> None:
        nonlocal written
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(BIG)))
        for _ in range(64):
            await request.say(BIG)
            written += len(BIG)

    async with loopback(answer) as server, upstream(server.port) as search:
        got = await search.send(an_attempt())
        assert got.chunks is not None
        assert await anext(got.chunks)
        for _ in range(400):  # turns of the loop in which a reader without backpressure would take it all
            await asyncio.sleep(0)
        assert written < 8 * len(BIG)
        got.close()
        await server.closed()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab", "bad_response"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "bad_response",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "bad_response",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "bad_response"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + reply(), "bad_response"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "bad_response"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Many: y\r\n" * 500 + b"\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\n" + (b"X-Many: " + b"y" * 1_000 + b"\r\n") * 100, "bad_response"),
        (b"HTTP/1.1 200 OK\r\n" + (b"X-Many: " + b"y" * 1_000 + b"\r\n") * 100 + b"\r\n", "bad_response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_response"),
    ],
)
async def test_an_answer_that_could_be_read_in_two_ways_is_refused(answer: bytes, kind: str) -> None:
    async with loopback(always(answer)) as server, upstream(server.port) as search:
        with pytest.raises(UpstreamError) as failed:
            await whole(await search.send(an_attempt()))
        assert failed.value.kind == kind
        assert failed.value.sent
        assert "upstream search" in failed.value.detail
        await server.closed()
        assert len(server.requests) == 1


@pytest.mark.parametrize("said", [b"", b"HT", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_hangs_up_before_its_head_is_a_reset_after_sending(said: bytes, how: str) -> None:
    async def answer(request: Request) -> None:
        if said:
            await request.say(said)
        request.reset() if how == "reset" else request.writer.close()

    async with loopback(answer) as server, upstream(server.port) as search:
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt())
        assert (failed.value.kind, failed.value.sent) == ("reset", True)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
async def test_a_cut_body_is_not_taken_for_a_whole_one_and_what_came_is_not_lost(said: bytes) -> None:
    async def answer(request: Request) -> None:
        await request.say(said)
        request.writer.close()

    async with loopback(answer) as server, upstream(server.port) as search:
        got = await search.send(an_attempt())
        assert got.chunks is not None
        assert await anext(got.chunks) == b"abc"
        with pytest.raises(UpstreamError) as failed:
            await anext(got.chunks)
        assert (failed.value.kind, failed.value.sent) == ("cut", True)
        await server.closed()


async def test_a_body_without_length_that_ends_in_a_reset_is_cut() -> None:
    arrived = asyncio.Event()

    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await arrived.wait()
        request.reset()

    async with loopback(answer) as server, upstream(server.port) as search:
        got = await search.send(an_attempt())
        assert got.chunks is not None
        assert await anext(got.chunks) == b"abc"
        arrived.set()
        with pytest.raises(UpstreamError) as failed:
            await anext(got.chunks)
        assert failed.value.kind == "cut"


async def test_a_refused_port_sends_nothing() -> None:
    async with upstream(free_port()) as search:
        attempt = an_attempt()
        with pytest.raises(UpstreamError) as failed:
            await search.send(attempt)
        assert (failed.value.kind, failed.value.sent, attempt.sent) == ("refused", False, False)
        assert search.pool.opened == 0


async def test_a_forbidden_header_sends_nothing() -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        attempt = an_attempt(headers=[("A", "b\r\nX: y")])
        with pytest.raises(ValueError, match="line break"):
            await search.send(attempt)
        assert not attempt.sent
        await server.closed()
        assert not server.requests


async def test_cancelling_a_wait_for_the_head_closes_the_connection() -> None:
    async def answer(request: Request) -> None:
        await never()

    async with loopback(answer) as server, upstream(server.port) as search:
        attempt = an_attempt()
        task = asyncio.create_task(search.send(attempt))
        await server.seen(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert attempt.sent
        await search.pool.gone()
        assert search.pool.opened == 0


async def test_cancelling_a_reader_of_the_body_closes_the_connection() -> None:
    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await never()

    async with loopback(answer) as server, upstream(server.port) as search:
        got = await search.send(an_attempt())
        assert got.chunks is not None
        assert await anext(got.chunks) == b"abc"
        task = asyncio.ensure_future(anext(got.chunks))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await search.pool.gone()
        got.close()
        assert search.pool.opened == 0


async def test_closing_a_reply_before_its_end_closes_the_connection_and_after_it_does_nothing() -> None:
    async with loopback(always(reply(BIG))) as server, upstream(server.port) as search:
        got = await search.send(an_attempt())
        got.close()
        got.close()
        await search.pool.gone()
        got = await search.send(an_attempt())
        assert await whole(got) == BIG
        got.close()
        assert search.pool.idle == 1
        assert server.connections == 2
