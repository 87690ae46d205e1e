"""The fast lane: a plain call, answered without aiohttp's objects for a request and without a task. A codec like any door.

What is plain: a whole HTTP/1.1 request with a Content-Length (or none) for the tool path or the native door, whose upstream has an idle
connection and answers whole, below 400 and with a length. All else is handed to aiohttp on the same connection before a byte of an answer
is written: requests the lane did not take, and calls it has begun, whose first attempt goes on there.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web import BaseRequest, StreamResponse

from gateway.doors.answers import answer, plain_bytes
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import WHOLE_BODY
from gateway.doors.front import Front
from gateway.doors.plain import BODILESS
from gateway.doors.refusal import Refusal
from gateway.doors.understood import KnownRequests, Quick, QuickUpstream, Understood, head_of
from gateway.model import Moment, Reply
from gateway.pipeline.begun import Begun
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.policy.snapshot import Snapshot, UpstreamPlan
from gateway.state.buffers import Buffers

END_OF_HEAD = b"\r\n\r\n"
SWEEP = 0.02
"""Seconds between two looks for calls whose time is up: one timer for all of them, and so late a timeout may be."""
REST_WITHIN = 0.05
"""Seconds for the rest of a body: many clients write head and body apart. After that aiohttp, and its timers, wait for it."""
LINE_BYTES = 16 * 1024
"""The request line, nginx's large_client_header_buffers doubled. It differs from FIELD_BYTES: the parser's error tells only the limit."""
FIELD_BYTES = 32 * 1024
"""One header: bearer tokens are long."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_NOT_PLAIN = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|idempotency-key)[ \t]*:", re.IGNORECASE)


class Policies(Protocol):
    """Where the policy in force stands (policy/source.py)."""

    @property
    def snapshot(self) -> Snapshot: ...


class Client(Protocol):
    """The connection a call came by (listener.py)."""

    transport: asyncio.Transport | None
    peer: str | None
    """The caller's address."""
    lane_call: "LaneCall | None"
    """At work for it."""

    def go_ordinary(self, call: "LaneCall") -> bool:
        """Has aiohttp take the request once more, to go on with its call. False where it takes none any more."""
        ...

    def read_anew(self, request: bytes) -> None:
        """Has aiohttp take the request as if the lane had never seen it."""
        ...

    def answered(self, now: float) -> None:
        """The next request may come. `now`: loop time."""
        ...


class LaneCall:
    """One begun call: the Taker of its exchange, and what ends its wait when it is stopped."""

    __slots__ = ("_body", "_exchange", "begun", "client", "lane", "request", "understood", "until")

    def __init__(
        self,
        lane: "Lane",
        client: Client,
        understood: Understood,
        request: bytes,
        body: bytes,
        begun: Begun,
        exchange: Quick,
    ) -> None:
        self.lane = lane
        self.client = client
        self.understood = understood
        self.request = request
        """As it came: aiohttp reads it again where the call goes on there."""
        self.begun = begun
        self._body = body
        self._exchange = exchange
        self.until = begun.progress.until(begun.at + begun.plan.timeout)
        """Loop time of its first timer."""

    def send(self) -> bool:
        """The first attempt. False where its connection is gone."""
        begun = self.begun
        left = int(begun.progress.limits.left(begun.at) * 1000)
        last = b"Tool-Gateway-Attempt: 1\r\nTool-Gateway-Deadline-Ms: %d\r\n\r\n" % max(0, left)
        return self._exchange.send(begun.attempt, self.understood.opening + last + self._body, self)

    def take(self, reply: Reply) -> None:
        self.lane.finish(self, reply)

    def look(self) -> None:
        self.lane.go_ordinary(self)

    def interrupt(self) -> None:
        """An operator's kill, or the shutdown."""
        self.lane.go_ordinary(self)

    def reschedule(self, when: float | None) -> None:
        """While the lane has it, no piece of a reply is passed on."""


class Arrived:
    """In the place of an exchange: its reply, which takes the pipeline a second look."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def hand_over(self) -> None:
        """It is here."""

    async def arrive(self) -> Reply:
        return self._reply

    def abort(self) -> None:
        """Its connection was given back."""


class Lane:
    """Constructed once, by app.py; shared by all connections."""

    def __init__(
        self,
        front: Front,
        pipeline: Pipeline,
        *,
        policies: Policies,
        rollout: Rollout,
        upstream_of: Callable[[UpstreamPlan], QuickUpstream],
        buffers: Buffers,
        clock: Callable[[], Moment],
    ) -> None:
        self._front = front
        self._pipeline = pipeline
        self._policies = policies
        self._rollout = rollout
        self._upstream_of = upstream_of
        self._buffers = buffers
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known = KnownRequests()
        self._policy: Snapshot | None = None
        """Whose heads are known."""
        self._parser = self._new_parser()
        self._begun: dict[LaneCall, None] = {}
        self._unsent: list[LaneCall] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def size_of(self, data: bytes) -> int | None:
        """Of the whole request that begins so. None where that cannot be told, or it is not for the lane anyway."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        if end < len(END_OF_HEAD) or _NOT_PLAIN.search(data, 0, end):
            return None
        length = _LENGTH.search(data, 0, end - 2)
        return end + int(length[1]) if length else end

    def take(self, client: Client, data: bytes) -> bool:
        """Begins the call that `data` asks for, where it is one whole request with a head that is known."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        understood = self._known.find(data[:end])
        if understood is None or end + understood.length != len(data):
            return False
        policies, peer = self._policies, client.peer
        if understood.snapshot is not policies.snapshot or understood.peer != peer or self._rollout.candidate:
            return False
        return self._begin(client, understood, data, data[end:])

    def learn(self, client: Client, request: bytes) -> bool:
        """The same for a whole request with a head that is not known, which may be known from now on."""
        policy = self._policies.snapshot
        if policy is not self._policy:
            self._policy = policy
            self._known.forget()
        end = request.find(END_OF_HEAD) + len(END_OF_HEAD)
        head = request[:end]
        if self._rollout.candidate is not None or self._known.is_odd(head):
            return False
        known = self._known.find(head)
        if known is not None and known.peer == client.peer:
            return False  # its call could not be begun, and cannot be now
        understood = self._read(client, request)
        self._known.remember(head, understood)
        return understood is not None and self._begin(client, understood, request, request[end:])

    def finish(self, call: LaneCall, reply: Reply) -> None:
        """A whole reply has come."""
        begun, client, body, now = call.begun, call.client, reply.body, self._clock()
        written = None
        try:
            outcome = (
                self._pipeline.complete(begun, reply, body, now) if body and reply.status not in BODILESS else None
            )
            if outcome is not None and body:
                written = plain_bytes(call.understood.arrival, begun.progress.call.id, outcome, reply, body)
        except Exception:  # noqa: BLE001  a fault of ours: on the ordinary way it comes again, and is answered and logged
            written = None
        if written is None:
            begun.exchange = Arrived(reply)
            self.go_ordinary(call)
            return
        self._let_go(call)
        transport = client.transport
        if transport is None or transport.is_closing():
            begun.progress.leave()
        else:
            transport.write(written)
        self._pipeline.settle(begun.progress, begun.wait, now)
        client.answered(now.mono)

    def go_ordinary(self, call: LaneCall) -> None:
        """What has come of the call is not plain: aiohttp takes its request, and `resume` goes on with it."""
        if self._unsent:
            self._send()
            if call not in self._begun:
                return  # that became of it
        self._let_go(call)
        call.begun.exchange.hand_over()
        if not call.client.go_ordinary(call):
            self._pipeline.abandon(call.begun)

    async def resume(self, call: LaneCall, request: BaseRequest) -> StreamResponse:
        """Goes on with a begun call, as the handler of its request."""
        request.content.read_nowait()  # it is the call's already
        arrival = call.understood.arrival.of(request, call.begun.progress.call)
        return await self._pipeline.resume(call.begun, partial(answer, arrival))

    def abandon(self, call: LaneCall) -> None:
        """Its caller is gone."""
        self._let_go(call)
        self._pipeline.abandon(call.begun)

    def _begin(self, client: Client, understood: Understood, request: bytes, body: bytes) -> bool:
        """Has the first attempt sent at the end of this turn. False, with nothing changed, where the call is not for the lane now."""
        exchange = understood.upstream.quick()
        if exchange is None:
            return False
        if not self._buffers.take(len(body)):
            exchange.unused()
            return False
        begun = None
        try:
            call = understood.call(self._front.next_call_id(), body, self._clock())
            begun = self._pipeline.begin(call, understood.plan, understood.snapshot.version)
        except Exception:  # noqa: BLE001, S110  a fault of ours: on the ordinary way it comes again, and is answered and logged
            pass
        if begun is None:
            self._buffers.give(len(body))
            exchange.unused()
            return False
        begun.exchange = exchange
        at_work = client.lane_call = begun.wait.scope = LaneCall(
            self, client, understood, request, body, begun, exchange
        )
        self._begun[at_work] = None
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(at_work)
        return True

    def _send(self) -> None:
        """The first attempts of all calls begun in this turn of the loop: their charges are written together, and whatever became of their
        connections meanwhile has been heard.
        """
        unsent, self._unsent = self._unsent, []
        written = not unsent or self._pipeline.written()
        for call in unsent:
            if call not in self._begun:
                continue  # its caller is gone
            if not written and not call.begun.plan.allow_without_state:
                self._let_go(call)
                self._pipeline.withdraw(call.begun)
                call.client.read_anew(call.request)
            elif call.begun.wait.stopped is None and not call.send():
                self.go_ordinary(call)

    def _read(self, client: Client, request: bytes) -> Understood | None:
        """By aiohttp's parser and the doors' own rules."""
        try:
            messages, upgraded, rest = self._parser.feed_data(request)
            odd = len(messages) != 1 or upgraded or bool(rest) or not messages[0][1].is_eof()
        except HttpProcessingError:
            odd = True
        if odd:
            self._parser = self._new_parser()
            return None
        self._parser.message_consumed()
        message, payload = messages[0]
        if message.version != HttpVersion11 or message.should_close or message.chunked or message.method == "HEAD":
            return None
        length = payload.total_bytes
        try:
            arrival = self._front.understand(head_of(message, client.peer))
        except Refusal:
            return None
        return None if arrival is None else self._plain(arrival, length)

    def _plain(self, arrival: Arrival, length: int) -> Understood | None:
        """A call that the lane can begin: of a tool that the policy allows, at an upstream, with a short body and a short answer."""
        plan = arrival.plan
        if plan is None or plan.upstream is None or not plan.allowed or plan.stream or plan.idempotency_key:
            return None
        if length > min(WHOLE_BODY, plan.max_request_bytes):
            return None
        call, upstream = arrival.call(hashed=""), self._upstream_of(plan.upstream)
        try:
            opening = upstream.opening(call.method, call.target, call.headers, length)
        except ValueError:
            return None
        return Understood(arrival, call, plan, upstream, length, opening)

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            BaseProtocol(self._loop),
            self._loop,
            2 * WHOLE_BODY,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            auto_decompress=False,
        )

    def _let_go(self, call: LaneCall) -> None:
        """It is the lane's no more."""
        self._begun.pop(call, None)
        call.begun.wait.scope = None
        call.client.lane_call = None

    def _sweep(self) -> None:
        now = self._loop.time()
        for call in [call for call in self._begun if call.until is not None and call.until <= now]:
            self.go_ordinary(call)
        self._sweeper = self._loop.call_later(SWEEP, self._sweep) if self._begun else None
