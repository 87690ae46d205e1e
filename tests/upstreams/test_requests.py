"""How a request goes out: in one piece, or streamed while the reply may already arrive."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.model import UpstreamError
from tests.upstreams.calling import Pieces, an_attempt, upstream, whole
from tests.upstreams.loopback import Request, always, loopback, never, read_body, reply

BIG = bytes(range(256)) * 16_384  # 4 MiB


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def leaving(*parts: bytes) -> AsyncIterator[bytes]:
    """A caller that hangs up after so much of its body."""
    for part in parts:
        yield part
    raise ConnectionResetError("the agent has left")


async def endless(size: int = 65_536) -> AsyncIterator[bytes]:
    while True:
        yield b"x" * size


async def drain(request: Request) -> None:
    while await request.reader.read(1 << 20):
        pass


@pytest.mark.parametrize("body", [b"", b"small", BIG])
async def test_a_whole_body_arrives_with_its_length(body: bytes) -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        await search.send(an_attempt(body=body))
        (seen,) = server.requests
        assert seen.body == body
        assert seen.header("Content-Length") == [str(len(body))]
        assert seen.header("Transfer-Encoding") == []


@pytest.mark.parametrize("length", [None, 7])
async def test_a_streamed_body_arrives_chunked_or_with_the_length_it_knows(length: int | None) -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        for _ in range(2):
            attempt = an_attempt(body=Pieces(pieces(b"abc", b"", b"defg"), length))
            assert await whole(await search.send(attempt)) == b"ok"
            assert attempt.sent
        assert server.connections == 1
        for seen in server.requests:
            assert seen.body == b"abcdefg"
            assert seen.header("Content-Length") == ([] if length is None else ["7"])
            assert seen.header("Transfer-Encoding") == (["chunked"] if length is None else [])


@pytest.mark.parametrize("length", [None, 0])
async def test_an_empty_stream_is_an_empty_body(length: int | None) -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        assert (await search.send(an_attempt(body=Pieces(pieces(), length)))).status == 200
        assert server.requests[0].body == b""


@pytest.mark.parametrize("length", [6, 8])
async def test_a_stream_that_is_not_as_long_as_it_said_never_looks_whole(length: int) -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        with pytest.raises(ValueError, match="length"):
            await search.send(an_attempt(body=Pieces(pieces(b"abc", b"defg"), length)))
        await server.closed()
        assert not server.requests


async def test_an_early_refusal_is_delivered_while_the_body_is_still_on_its_way() -> None:
    async def answer(request: Request) -> None:
        await request.say(reply(b"too large", status="413 Content Too Large"))
        await never()

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        got = await search.send(an_attempt(body=Pieces(endless())))
        assert (got.status, got.body) == (413, b"too large")
        await search.pool.gone()
        assert search.pool.opened == 0


async def test_an_early_refusal_that_streams_stops_the_upload_and_arrives_whole() -> None:
    go_on = asyncio.Event()

    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        reading = asyncio.create_task(drain(request))
        await go_on.wait()
        reading.cancel()
        await request.say(b"3\r\ndef\r\n0\r\n\r\n")
        await never()

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        body = Pieces(endless())
        got = await search.send(an_attempt(body=body))
        await asyncio.sleep(0)
        taken = body.size
        for _ in range(200):  # turns of the loop in which the upstream reads all that comes
            await asyncio.sleep(0)
        assert body.size == taken
        go_on.set()
        assert await whole(got) == b"abcdef"
        await search.pool.gone()
        assert search.pool.opened == 0


async def test_an_upstream_may_answer_while_it_still_reads() -> None:
    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        request.body = await read_body(request)
        await request.say(request.body)

    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        await go_on.wait()
        yield b"defg"

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        got = await search.send(an_attempt(body=Pieces(slowly())))
        go_on.set()
        assert await whole(got) == b"abcdefg"
        assert search.pool.idle == 1


async def test_a_slow_upstream_holds_the_body_back() -> None:
    async def answer(request: Request) -> None:
        await never()

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        body = Pieces(endless(1 << 20))
        task = asyncio.create_task(search.send(an_attempt(body=body)))
        await server.seen(1)
        for _ in range(400):
            await asyncio.sleep(0)
        assert body.size < 8 * len(BIG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await search.pool.gone()


async def test_a_caller_that_leaves_before_its_first_byte_has_sent_nothing() -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        attempt = an_attempt(body=Pieces(leaving()))
        with pytest.raises(ConnectionResetError):
            await search.send(attempt)
        assert not attempt.sent
        await server.closed()
        assert not server.requests


async def test_a_caller_that_leaves_in_the_middle_cuts_the_upstreams_request() -> None:
    async with loopback(always(reply())) as server, upstream(server.port) as search:
        attempt = an_attempt(body=Pieces(leaving(b"abc")))
        with pytest.raises(ConnectionResetError):
            await search.send(attempt)
        assert attempt.sent
        await server.closed()
        assert not server.requests


async def test_a_body_refused_on_its_way_fails_the_attempt_with_the_refusal() -> None:
    async def too_large() -> AsyncIterator[bytes]:
        yield b"abc"
        raise UpstreamError("request_too_large", "the body outgrew max_request_bytes", sent=True)

    async with loopback(always(reply())) as server, upstream(server.port) as search:
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt(body=Pieces(too_large())))
        assert (failed.value.kind, failed.value.sent) == ("request_too_large", True)
        await server.closed()
        assert not server.requests


async def test_a_body_that_breaks_while_the_reply_streams_breaks_the_reply() -> None:
    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nab")
        await never()

    go_on = asyncio.Event()

    async def breaks() -> AsyncIterator[bytes]:
        yield b"abc"
        await go_on.wait()
        raise ConnectionResetError("the agent has left")

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        got = await search.send(an_attempt(body=Pieces(breaks())))
        assert got.chunks is not None
        assert await anext(got.chunks) == b"ab"
        go_on.set()
        with pytest.raises(ConnectionResetError):
            await anext(got.chunks)
        await search.pool.gone()


async def test_an_upstream_that_resets_during_the_upload_is_a_reset() -> None:
    async def answer(request: Request) -> None:
        request.reset()

    async with loopback(answer, read_bodies=False) as server, upstream(server.port) as search:
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt(body=Pieces(endless())))
        assert (failed.value.kind, failed.value.sent) == ("reset", True)
        assert len(server.requests) == 1
