"""Where the requests of a connection part: whole ones are offered to the fast lane, one at a time, and aiohttp gets the rest."""

import asyncio
from typing import TYPE_CHECKING

from gateway.doors.bodies import WHOLE_BODY
from gateway.doors.connection import Connection
from gateway.doors.lane import REST_WITHIN, Lane
from gateway.doors.lane_call import LaneCall
from gateway.doors.learner import FIELD_BYTES

if TYPE_CHECKING:
    from gateway.doors.listener import Listener  # which makes them

LARGEST_REQUEST = FIELD_BYTES + WHOLE_BODY
"""Bytes of a request that is waited for before it is known whether the lane takes it."""


class Junction(Connection):
    """A connection whose requests may take either way: the Client of the lane's calls."""

    __slots__ = ("_held", "_owed", "_rest_timer", "handed_over", "lane_call")

    def __init__(self, listener: "Listener", *, loop: asyncio.AbstractEventLoop, **kwargs: object) -> None:
        super().__init__(listener, loop=loop, **kwargs)
        self.lane_call: LaneCall | None = None
        self.handed_over: LaneCall | None = None
        """Begun by the lane; its request is on its way through aiohttp."""
        self._held = b""
        """The beginning of a request that the lane waits for."""
        self._rest_timer: asyncio.TimerHandle | None = None
        self._owed: int | None = 0
        """Bytes that belong to the request aiohttp reads and have not come. None: it cannot be told where the next request begins."""

    @property
    def idle(self) -> bool:
        """aiohttp waits for the next request, none has come, and the lane has no call of it."""
        return self._waiter is not None and not self._messages and self.lane_call is None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._let_go()
        for call in (self.lane_call, self.handed_over):
            if call is not None:
                call.lane.abandon(call)
        self.handed_over = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whole requests, one at a time, are offered to the lane; aiohttp gets the rest."""
        lane = self._listener.lane
        if lane is None or self._owed != 0 or not data:  # aiohttp calls it with b"" to read on
            if data:
                self._owed = None if not self._owed or self._owed < len(data) else self._owed - len(data)
            super().data_received(data)
            return
        if self._held:
            data = self._held + data
        elif self.lane_call is not None:  # the next request, before this one is answered
            lane.go_ordinary(self.lane_call)
        resting = self._waiter is not None and not self._messages and not self._paused and not self._force_close
        if not (resting and lane.take(self, data)) and not self._sort(lane, data, resting=resting):
            return
        if self._head_timer is not None:
            self._stop_head_timer()
        if self._held:
            self._let_go()

    def _sort(self, lane: Lane, data: bytes, *, resting: bool) -> bool:
        """What the lane does not know is learned, waited for, or read by aiohttp. True: the lane has taken it."""
        size = lane.learner.size_of(data)
        if size is not None and resting:
            if size == len(data) and lane.learn(self, data):
                return True
            if len(data) < size <= LARGEST_REQUEST and self._hold(data):
                return False
        self._let_go()
        self._owed = None if size is None or size < len(data) else size - len(data)
        super().data_received(data)
        return False

    def _hold(self, data: bytes) -> bool:
        """Many clients write head and body apart. False where there is no memory to wait for the rest."""
        if not self._listener.buffers.take(len(data) - len(self._held)):
            return False
        self._stop_head_timer()
        self._held = data
        if self._rest_timer is None:
            self._rest_timer = self._loop.call_later(REST_WITHIN, self._rest_too_slow)
        return True

    def _rest_too_slow(self) -> None:
        """aiohttp waits for the rest, and its handler's timers run."""
        data, lane = self._held, self._listener.lane
        size = None if lane is None else lane.learner.size_of(data)
        self._let_go()
        self._owed = None if size is None else size - len(data)
        super().data_received(data)

    def _let_go(self) -> None:
        """Nothing is held any more."""
        self._listener.buffers.give(len(self._held))
        self._held = b""
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def go_ordinary(self, call: LaneCall) -> bool:
        """For the lane: aiohttp takes the request, whose handler then goes on with the call."""
        if self._force_close or self._close or self.transport is None:
            return False
        self.handed_over = call
        super().data_received(call.request)
        return True

    def read_anew(self, request: bytes) -> None:
        """For the lane: it has changed its mind."""
        super().data_received(request)

    def answered(self, now: float) -> None:
        """For the lane: from now on the connection is idle."""
        close_time = self._next_keepalive_close_time = now + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        if self.lane_call is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = None  # the lane asks for the next look once it has answered
