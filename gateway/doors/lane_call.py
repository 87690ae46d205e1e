"""A call in the fast lane (lane.py), between the client it came from and the exchange with its upstream."""

import asyncio
from typing import Protocol

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.doors.understood import Quick, Understood
from gateway.model import Reply
from gateway.pipeline.begun import Begun


class Owner(Protocol):
    """The lane."""

    def finish(self, call: "LaneCall", reply: Reply) -> None: ...

    def go_ordinary(self, call: "LaneCall") -> None: ...

    async def resume(self, call: "LaneCall", request: BaseRequest) -> StreamResponse: ...

    def abandon(self, call: "LaneCall") -> None: ...


class Client(Protocol):
    """The connection a call came by (junction.py)."""

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

    __slots__ = ("_body", "_exchange", "_until", "begun", "client", "lane", "request", "understood")

    def __init__(
        self,
        lane: Owner,
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
        self._until = begun.progress.until(begun.at + begun.plan.timeout)
        """Loop time of its first timer."""

    def send(self) -> bool:
        """The first attempt. False where its connection is gone."""
        begun = self.begun
        left = int(begun.progress.limits.left(begun.at) * 1000)
        last = b"Tool-Gateway-Attempt: 1\r\nTool-Gateway-Deadline-Ms: %d\r\n\r\n" % max(0, left)
        return self._exchange.send(begun.attempt, self.understood.opening + last + self._body, self)

    def is_due(self, now: float) -> bool:
        """Its time is up; or its reply comes in pieces, and the silence between them is to be timed. `now`: loop time."""
        return (self._until is not None and self._until <= now) or self._exchange.arriving

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
