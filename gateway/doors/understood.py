"""What a request's head asks, found out once: who calls, which tool, under which plan, with which headers."""

from collections.abc import Iterable
from hashlib import sha256
from operator import attrgetter, is_
from typing import Any, Protocol

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web import BaseRequest

from gateway.doors.arguments import ArgumentsError, arguments_of, comparable, names_of
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import WHOLE_BODY
from gateway.model import Attempt, Moment, RunKey, ToolCall
from gateway.pipeline.begun import Exchange, Taker
from gateway.policy.snapshot import Plan, Snapshot

_BODY = ToolCall._fields.index("body")
_PER_CALL = ("body", "started", "arguments", "malformed", "args_hash")
_BEHIND = _BODY + len(_PER_CALL)
_FRONT = ("door", "agent", "run", "tool", "method", "rest", "query", "target", "headers")
if ToolCall._fields[: _BEHIND + 2] != ("id", *_FRONT, *_PER_CALL, "step", "trace_id"):
    raise AssertionError("Understood fills in the fields of a ToolCall by their places")


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

    __slots__ = (
        "arrival", "asked", "behind", "front", "length", "names", "opening", "peer", "plan", "snapshot", "upstream",
    )  # fmt: skip

    def __init__(
        self, arrival: Arrival, call: ToolCall, plan: Plan, upstream: QuickUpstream, length: int, opening: bytes
    ) -> None:
        """`call`: what arrival.call() makes of the head alone."""
        self.arrival = arrival
        """Its run and step are each call's own."""
        self.asked = call
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
        self.front: tuple[object, ...] = call[1:_BODY]
        """The call's fields before its body; `behind`, those after what is found out of each."""
        self.behind: tuple[object, ...] = call[_BEHIND:]
        self.names = names_of(call.tool, call.method, call.rest, call.query)

    @property
    def longest(self) -> int:
        """Bytes that the body of such a request may have."""
        return min(WHOLE_BODY, self.plan.max_request_bytes)

    def varied(
        self, length: int, opening: bytes, run: str, headers: tuple[tuple[str, str], ...], behind: tuple[object, ...]
    ) -> "Understood":
        """The same but for these."""
        twin = Understood.__new__(Understood)
        twin.arrival, twin.plan, twin.snapshot, twin.upstream = self.arrival, self.plan, self.snapshot, self.upstream
        twin.peer, twin.asked, twin.names = self.peer, self.asked, self.names
        twin.length, twin.opening = length, opening
        door, agent, _, tool, method, rest, query, target, _ = self.front
        twin.front = (door, agent, RunKey(self.asked.agent, run), tool, method, rest, query, target, headers)
        twin.behind = behind
        return twin

    def is_like(self, other: "Understood") -> bool:
        """Do both come to the same for every call?"""
        facts = attrgetter("front", "behind", "names", "length", "opening", "peer")
        objects = attrgetter("plan", "snapshot", "upstream")
        return bool(
            facts(self) == facts(other)
            and all(map(is_, objects(self), objects(other)))
            and _lasting(self.arrival) == _lasting(other.arrival)
        )

    def call(self, call_id: str, body: bytes, started: Moment) -> ToolCall:
        """The ToolCall that Arrival.call makes of the same request."""
        arguments = malformed = None
        if self.plan.arguments is not None:
            try:
                arguments = arguments_of(body, self.arrival.query)
            except ArgumentsError as error:
                malformed = str(error)
        hashed = sha256(self.names + comparable(body)).hexdigest()
        fields = (call_id, *self.front, body, started, arguments, malformed, hashed, *self.behind)
        return tuple.__new__(ToolCall, fields)  # what its own constructor does, after a call of Python


def _lasting(arrival: Arrival) -> dict[str, object]:
    """What is not each call's own."""
    return {name: value for name, value in vars(arrival).items() if name not in ("started", "run", "step")}


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
