"""What a request's head asks, found out once: who calls, which tool, under which plan, with which headers."""

from collections.abc import Iterable
from hashlib import sha256
from operator import attrgetter, is_
from typing import Final, Protocol

from gateway.doors.arguments import ArgumentsError, arguments_of, comparable, names_of
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import WHOLE_BODY
from gateway.model import Attempt, Moment, RunKey, ToolCall
from gateway.pipeline.begun import Exchange, Taker
from gateway.policy.snapshot import Plan, Snapshot

_BODY: Final = ToolCall._fields.index("body")
_PER_CALL = ("body", "started", "arguments", "malformed", "args_hash")
_BEHIND: Final = _BODY + len(_PER_CALL)
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
        self,
        arrival: Arrival,
        call: ToolCall,
        plan: Plan,
        upstream: QuickUpstream,
        length: int,
        opening: bytes,
        twin: "Understood | None" = None,
    ) -> None:
        """`call`: what arrival.call() makes of the head alone. `twin`: another of the same peer and request line."""
        self.arrival = arrival
        """Its run and step are each call's own."""
        self.asked = call
        self.plan = plan
        self.snapshot: Snapshot = arrival.snapshot
        self.upstream = upstream
        self.peer: str | None
        """Goes on in Forwarded."""
        self.length = length
        """Bytes of the body."""
        self.opening = opening
        """What the upstream's request head begins with."""
        self.front: tuple[object, ...] = call[1:_BODY]
        """The call's fields before its body; `behind`, those after what is found out of each."""
        self.behind: tuple[object, ...] = call[_BEHIND:]
        if twin is None:
            self.peer = arrival.request.remote
            self.names = names_of(call.tool, call.method, call.rest, call.query)
            del arrival.request  # the next call has another; Arrival.of sets it
        else:
            self.peer, self.names = twin.peer, twin.names

    @property
    def longest(self) -> int:
        """Bytes that the body of such a request may have."""
        return min(WHOLE_BODY, self.plan.max_request_bytes)

    def varied(
        self, length: int, opening: bytes, run: str, headers: tuple[tuple[str, str], ...], behind: tuple[object, ...]
    ) -> "Understood":
        """The same but for these."""
        asked = self.asked
        door, agent, _, tool, method, rest, query, target, _ = self.front
        front = (door, agent, RunKey(asked.agent, run), tool, method, rest, query, target, headers)
        call = tuple.__new__(ToolCall, (asked.id, *front, *asked[_BODY:_BEHIND], *behind))
        return Understood(self.arrival, call, self.plan, self.upstream, length, opening, self)

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
        fields = (call_id,) + self.front + (body, started, arguments, malformed, hashed) + self.behind  # noqa: RUF005  half the price
        return tuple.__new__(ToolCall, fields)  # what its own constructor does, after a call of Python


def _lasting(arrival: Arrival) -> dict[str, object]:
    """What is not each call's own."""
    return {name: value for name, value in vars(arrival).items() if name not in ("started", "run", "step")}
