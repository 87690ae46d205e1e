"""Every message but tools/call: passed on as it is and its answer streamed as it comes, with lists of tools filtered on the way.

Nothing here has a timer: such a stream ends with its caller, its upstream, a kill or the shutdown.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

from aiohttp.web_response import Response, StreamResponse

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.mcp.cancelled import SendApart
from gateway.doors.mcp.listing import UNREADABLE, Judge, ListError, filtered, may_list
from gateway.doors.mcp.messages import LIST, LISTEN, Message
from gateway.doors.mcp.refusals import error_of
from gateway.doors.mcp.sight import Sight
from gateway.doors.mcp.sse import LONGEST_EVENT, always, event_of, never
from gateway.doors.mcp.streams import EventStream, OldTransport, list_too_long
from gateway.doors.mcp.writing import Writer, headers_of
from gateway.model import Attempt, Effect, Outcome, Reply, UpstreamError
from gateway.pipeline.failures import no_memory, sentence
from gateway.policy.snapshot import UpstreamPlan
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.inflight import Stopped, Wait

FIRST_EVENT_SECONDS = 1.0
"""A server of the old transport says so in its first event, which comes with the head. GET streams of sessions are not asked."""
READ_BY_CLIENTS = frozenset(range(200, 300)) - {202, 204}
"""Statuses with which clients look for a message in the body."""


class Failed(Exception):
    """The message came to no answer."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.reason)
        self.denial = denial


class Passage:
    """Constructed once, by the door."""

    def __init__(
        self,
        *,
        counts: Counts,
        buffers: Buffers,
        sight: Sight,
        send_apart: SendApart,
    ) -> None:
        self._counts = counts
        self._buffers = buffers
        self._sight = sight
        self._send_apart = send_apart

    async def pass_on(
        self,
        arrival: Arrival,
        server: UpstreamPlan,
        message: Message | None,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
    ) -> StreamResponse:
        """Sends it and streams the answer. Raises Failed where there is none to stream."""
        call = arrival.call(b"", headers=(), hashed="")
        target = f"?{arrival.query}" if arrival.query else ""
        attempt = Attempt(1, arrival.request.method, target, [*headers], body)
        listens = arrival.request.method == "GET" if message is None else message.method == LISTEN
        wait = self._counts.in_flight.enter(call, Effect.READ, listens=listens)
        reply = None
        try:
            with wait.attempting(attempt, None):
                reply = await self._send_apart(attempt, server)
            return await self._answer(arrival, server, message, reply, wait)
        except UpstreamError as error:
            raise Failed(_upstream_failed(error)) from None
        except Stopped as stop:
            raise Failed(stop.denial) from None
        finally:
            if reply is not None:
                reply.close()
            self._counts.in_flight.leave(wait, asyncio.get_running_loop().time())

    async def _answer(
        self, arrival: Arrival, server: UpstreamPlan, message: Message | None, reply: Reply, wait: Wait
    ) -> StreamResponse:
        outcome = Outcome(Reason.OK, arrival.snapshot.version, 1, reply, report=arrival.snapshot.report)
        judge = partial(self._sight.may_see, arrival, server)
        listens, lists = arrival.request.method == "GET", message is not None and message.method == LIST
        events = listens or reply.event_stream  # some clients read any answer to GET as events
        if reply.status not in READ_BY_CLIENTS or not (lists or events):
            return await self._relay(arrival, outcome, reply, wait)
        if _is_coded(reply):
            raise UpstreamError("bad_response", "the upstream coded its answer, which nobody asked for", sent=True)
        if events:
            must_hold = may_list if listens else always if lists else never
            stream = EventStream(None if message is None else message.id, judge, must_hold, may_be_old=message is None)
            return await self._events(arrival, outcome, reply, wait, stream, message)
        return await self._list(arrival, outcome, reply, wait, judge)

    async def _list(self, arrival: Arrival, outcome: Outcome, reply: Reply, wait: Wait, judge: Judge) -> StreamResponse:
        """Counted as held until its reader has it."""
        whole = await self._gathered(reply, wait)
        try:
            found = filtered(whole, judge)
            body = whole if found is None else found
            headers = headers_of(arrival, outcome, reply, rewritten=True)
            headers["Content-Length"] = str(len(body))
            writer = Writer(arrival.request, reply.status, headers)
            await writer.begin()
            with wait.limit(None):
                await writer.write(body)
            return await writer.end()
        except ListError as error:
            raise UpstreamError("bad_response", str(error), sent=True) from None
        except Stopped:
            return await writer.break_off(events=False, last=None)
        finally:
            self._buffers.give(len(whole))

    async def _gathered(self, reply: Reply, wait: Wait) -> bytes:
        """A list, whole. What it takes of the buffers is the caller's to give back."""
        if reply.body is not None:
            self._buffers.owe(len(reply.body))
            return reply.body
        pieces, size = [], 0
        try:
            with wait.limit(None):
                async for piece in _chunks(reply):
                    wait.reschedule(None)
                    if size + len(piece) > LONGEST_EVENT:
                        raise list_too_long()
                    if not self._buffers.take(len(piece)):
                        raise Failed(no_memory())
                    pieces.append(piece)
                    size += len(piece)
        except BaseException:
            self._buffers.give(size)
            raise
        return b"".join(pieces)

    async def _relay(self, arrival: Arrival, outcome: Outcome, reply: Reply, wait: Wait) -> StreamResponse:
        """Whatever it is, as it comes."""
        headers = headers_of(arrival, outcome, reply)
        if reply.body is not None:
            return Response(status=reply.status, headers=headers, body=reply.body or None)
        writer = Writer(arrival.request, reply.status, headers)
        await writer.begin()
        try:
            with wait.limit(None):
                async for piece in _chunks(reply):
                    wait.reschedule(None)
                    await writer.write(piece)
                return await writer.end()
        except (UpstreamError, Stopped):
            return await writer.break_off(events=False, last=None)

    async def _events(
        self,
        arrival: Arrival,
        outcome: Outcome,
        reply: Reply,
        wait: Wait,
        stream: EventStream,
        message: Message | None,
    ) -> StreamResponse:
        """An event stream, event by event."""
        first = asyncio.ensure_future(anext(chunks := _chunks(reply), b""))
        try:
            if message is None and "Mcp-Session-Id" not in arrival.request.headers:
                with wait.limit(None):
                    await asyncio.wait({first}, timeout=FIRST_EVENT_SECONDS)
            passed = stream.feed(first.result()) if first.done() else None
            writer = Writer(arrival.request, reply.status, headers_of(arrival, outcome, reply, rewritten=True))
            await writer.begin()
            pieces = _behind(first, chunks) if passed is None else chunks
            denial = await self._pass_events(pieces, passed or b"", writer, wait, stream)
        except OldTransport:
            raise Failed(_old_transport()) from None
        finally:
            first.cancel()
            with suppress(asyncio.CancelledError, UpstreamError):
                await first
        if denial is None:
            return writer.response
        last, resumes = None, stream.resumable and denial.reason is Reason.UPSTREAM_FAILED
        if message is not None and message.is_request and not stream.answered and not resumes:
            last = event_of(error_of(arrival, message.id, denial, outcome.policy))
        return await writer.break_off(events=True, last=last)

    async def _pass_events(
        self, pieces: AsyncIterator[bytes], passed: bytes, writer: Writer, wait: Wait, stream: EventStream
    ) -> Denial | None:
        """None where the stream came to its end; else why it has to be broken off."""
        try:
            with _Room(self._buffers) as room, wait.limit(None):
                await writer.write(passed)
                async for piece in pieces:
                    wait.reschedule(None)
                    passed = stream.feed(piece)
                    room.grow(stream.held)
                    await writer.write(passed)
                    room.shrink(stream.held)
                await writer.write(stream.end())
                if stream.dropped and not stream.answered:
                    return _upstream_failed(UpstreamError("bad_response", UNREADABLE, sent=True))
                await writer.end()
        except OldTransport:
            return _old_transport()
        except Failed as failed:
            return failed.denial
        except Stopped as stop:
            return stop.denial
        except UpstreamError as error:
            return _upstream_failed(error)
        return None


class _Room:
    """What an event that has to be whole takes of the buffers."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._taken = 0

    def __enter__(self) -> "_Room":
        return self

    def __exit__(self, *_: object) -> None:
        self._buffers.give(self._taken)

    def grow(self, size: int) -> None:
        """To this many bytes. Raises Failed."""
        if size > self._taken:
            if not self._buffers.take(size - self._taken):
                raise Failed(no_memory())
            self._taken = size

    def shrink(self, size: int) -> None:
        """Back to this many, once its reader has what was held."""
        self._buffers.give(self._taken - size)
        self._taken = size


async def _behind(first: "asyncio.Future[bytes]", chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield await first
    async for piece in chunks:
        yield piece


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _chunks(reply: Reply) -> AsyncIterator[bytes]:
    return reply.chunks if reply.chunks is not None else _one(reply.body or b"")


def _is_coded(reply: Reply) -> bool:
    return any(name.lower() == "content-encoding" and value.lower() != "identity" for name, value in reply.headers)


def _upstream_failed(error: UpstreamError) -> Denial:
    return Denial(Reason.UPSTREAM_FAILED, f"{sentence(error.detail)} Try again later or go on without it.")


def _old_transport() -> Denial:
    detail = "The upstream speaks HTTP+SSE, the transport of 2024-11-05, which leads past the gateway; it needs Streamable HTTP."
    return Denial(Reason.UPSTREAM_FAILED, detail)
