"""What a request's head asks, found out once and remembered with its bytes: who calls, which tool, under which plan, with which headers.

A head is remembered only where aiohttp's parser took those very bytes and the doors let them in; it is forgotten with its policy.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Protocol

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import BaseRequest

from gateway.doors.arguments import ArgumentsError, arguments_of, comparable, names_of
from gateway.doors.arrival import Arrival
from gateway.model import Attempt, Moment, ToolCall
from gateway.pipeline.begun import Exchange, Taker
from gateway.policy.snapshot import Plan, Snapshot

MOST_HEADS = 256
"""Remembered before the older half of them is forgotten."""
MOST_SIGHTED = 4096
"""Heads that came once: a number each."""
LONGEST_HEAD = 4096
"""Bytes: longer ones are understood anew each time, or an agent could fill memory with them."""
_BODY = ToolCall._fields.index("body")
_PER_CALL = ("body", "started", "arguments", "malformed", "args_hash")
_BEHIND = _BODY + len(_PER_CALL)
if ToolCall._fields[0] != "id" or ToolCall._fields[_BODY:_BEHIND] != _PER_CALL:
    raise AssertionError("Understood.call fills in the fields of a ToolCall by their places")


class Quick(Exchange, Protocol):
    """An exchange on an idle connection, not begun yet (upstreams/quick.py)."""

    def send(self, attempt: Attempt, request: bytes, taker: Taker) -> bool: ...

    def unused(self) -> None: ...

    @property
    def arriving(self) -> bool: ...


class QuickUpstream(Protocol):
    """What the lane needs of an upstream (upstreams/http.py)."""

    def opening(self, method: str, target: str, headers: Iterable[tuple[str, str]], size: int) -> bytes: ...

    def quick(self, *, asked: bool) -> Quick | None: ...


class Understood:
    """A head, and all that follows from it for the calls it comes with."""

    __slots__ = ("_behind", "_front", "_names", "arrival", "length", "opening", "peer", "plan", "snapshot", "upstream")

    def __init__(
        self, arrival: Arrival, call: ToolCall, plan: Plan, upstream: QuickUpstream, length: int, opening: bytes
    ) -> None:
        """`call`: what arrival.call() makes of the head alone."""
        self.arrival = arrival
        self.plan = plan
        self.snapshot: Snapshot = arrival.snapshot
        self.upstream = upstream
        self.peer = arrival.request.remote
        """Goes on in Forwarded."""
        self.length = length
        """Bytes of the body."""
        self.opening = opening
        """What the upstream's request head begins with."""
        del arrival.request  # the next call has another; Arrival.of sets it
        self._front = call[1:_BODY]
        self._behind = call[_BEHIND:]
        self._names = names_of(call.tool, call.method, call.rest, call.query)

    def call(self, call_id: str, body: bytes, started: Moment) -> ToolCall:
        """The ToolCall that Arrival.call makes of the same request."""
        arguments = malformed = None
        if self.plan.arguments is not None:
            try:
                arguments = arguments_of(body, self.arrival.query)
            except ArgumentsError as error:
                malformed = str(error)
        hashed = sha256(self._names + comparable(body)).hexdigest()
        fields = (call_id, *self._front, body, started, arguments, malformed, hashed, *self._behind)
        return tuple.__new__(ToolCall, fields)  # what its own constructor does, after a call of Python


class Peer:
    """In the place of a connection, for a request that is only looked at."""

    __slots__ = ("peername",)
    ssl_context = sockname = transport = None

    def __init__(self, address: str | None) -> None:
        self.peername = address


def head_of(message: RawRequestMessage, peer: str | None) -> BaseRequest:
    """A request to be understood, not answered."""
    nobody: Any = Peer(peer)
    nothing: Any = None
    return BaseRequest(message, EMPTY_PAYLOAD, nobody, nothing, nothing, nothing)


class KnownRequests:
    """Heads by their bytes. `None` stands for one that is known not to be plain. Two generations: what is not asked for is forgotten."""

    def __init__(self) -> None:
        self._young: dict[bytes, Understood | None] = {}
        self._old: dict[bytes, Understood | None] = {}
        self._sighted: set[int] = set()

    def is_odd(self, head: bytes) -> bool:
        """Known not to be plain."""
        return self._young.get(head, self) is None or self._old.get(head, self) is None

    def find(self, head: bytes) -> Understood | None:
        """None: not known, or known not to be plain."""
        found = self._young.get(head)
        if found is None and (found := self._old.get(head)) is not None:
            self.remember(head, found)
        return found

    def sight(self, head: bytes, understood: Understood | None) -> None:
        """Remembers a plain head when it comes for the second time: one that never comes again, say for its trace id, would only be in the
        way, and what hangs on it is work for the garbage collector.
        """
        mark = hash(head)
        if understood is None or mark in self._sighted:
            self.remember(head, understood)
            return
        if len(self._sighted) >= MOST_SIGHTED:
            self._sighted.clear()
        self._sighted.add(mark)

    def remember(self, head: bytes, understood: Understood | None) -> None:
        """Another one, or another word on it."""
        if len(head) > LONGEST_HEAD:
            return
        if len(self._young) >= MOST_HEADS:
            self._old, self._young = self._young, {}
        self._young[head] = understood

    def forget(self) -> None:
        """Another policy is in force."""
        self._young, self._old = {}, {}
