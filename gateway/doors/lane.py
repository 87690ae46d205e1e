"""The fast lane: a plain call, answered without aiohttp's objects for a request and without a task. A codec like any door.

What is plain: a whole HTTP/1.1 request with a Content-Length (or none) for the tool path or the native door, whose upstream has an idle
connection and answers whole, below 400 and with a length. All else is handed to aiohttp on the same connection before a byte of an answer
is written: requests the lane did not take, and calls it has begun, whose first attempt goes on there.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.doors.answers import answer, plain_bytes
from gateway.doors.front import Front
from gateway.doors.known import KnownRequests
from gateway.doors.lane_call import Arrived, Client, LaneCall
from gateway.doors.learner import END_OF_HEAD, Learner
from gateway.doors.plain import BODILESS
from gateway.doors.understood import Understood
from gateway.model import Moment, Reply
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.policy.snapshot import Snapshot
from gateway.state.buffers import Buffers

SWEEP: Final = 0.02
"""Seconds between two looks for calls that are due: one timer for all of them, and so late a timeout may be."""
REST_WITHIN: Final = 0.05
"""Seconds for the rest of a body: many clients write head and body apart. After that aiohttp, and its timers, wait for it."""


class Policies(Protocol):
    """Where the policy in force stands (policy/source.py)."""

    @property
    def snapshot(self) -> Snapshot: ...


class Lane:
    """Constructed once, by app.py; shared by all connections."""

    def __init__(
        self,
        front: Front,
        pipeline: Pipeline,
        *,
        policies: Policies,
        rollout: Rollout,
        learner: Learner,
        buffers: Buffers,
        clock: Callable[[], Moment],
    ) -> None:
        self._front = front
        self.learner = learner
        self._pipeline = pipeline
        self._policies = policies
        self._rollout = rollout
        self._buffers = buffers
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known = KnownRequests()
        self._policy: Snapshot | None = None
        """Whose heads are known."""
        self._begun: dict[LaneCall, None] = {}
        self._unsent: list[LaneCall] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def take(self, client: Client, data: bytes) -> bool:
        """Begins the call that `data` asks for, where it is one whole request with a head that is known."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        size = len(data) - end
        understood = self._known.find(data[:end], size)
        if understood is None or understood.length != size:
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
        understood = self.learner.understand(client.peer, request)
        shape = self._known.sight(head, understood)
        if shape is not None and understood is not None and (form := self.learner.form(shape, head, understood)):
            self._known.remember(shape, form)
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
                written = plain_bytes(call.understood.arrival, begun.progress.call.id, outcome, reply, body, now)
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
        exchange = understood.upstream.quick(asked=not understood.plan.repeatable)
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

    def _let_go(self, call: LaneCall) -> None:
        """It is the lane's no more."""
        self._begun.pop(call, None)
        call.begun.wait.scope = None
        call.client.lane_call = None

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP, self._sweep) if self._begun else None
        now = self._loop.time()
        for call in [call for call in self._begun if call.is_due(now)]:
            self.go_ordinary(call)
