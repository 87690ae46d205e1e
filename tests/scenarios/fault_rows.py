"""The form of a row of fault_table.py, and the ends that SPEC 4 and 5 know for a call whose upstream fails."""

from typing import NamedTuple

from gateway.denial import Reason
from tests.scenarios.faulty_upstream import Behaviour

TIMEOUT, DEADLINE, STREAM_IDLE, CONNECT_TIMEOUT = 0.3, 0.9, 0.3, 0.15
"""Seconds: `timeout_ms`, `deadline_ms` and `stream_idle_ms` of the tools that meet a fault which a timer ends, twice at most, and
`connect_timeout_ms` of an upstream out of reach."""
PATIENT = 1.5
"""Seconds: timeout and deadline of the other tools, so that a machine that stands still for a moment is not taken for the upstream."""
BACKOFF = 0.005
LONGEST_REPLY = 512 * 1024


class End(NamedTuple):
    """How the call ends: what the agent sees, and what the log says where the answer was under way already."""

    status: int
    reason: Reason
    attempts: int = 1
    cut: bool = False
    """The connection ends before the body is whole."""
    within: float = 0.0
    """Seconds until the timer that applies has fired; 0: at once."""


class Ends(NamedTuple):
    """The same fault means two things: a read tool's call is repeated, a write tool's may have run."""

    read: End
    write: End


class Row(NamedTuple):
    """One kind of fault."""

    name: str
    behaviour: Behaviour
    ends: Ends
    body: bytes | None = None
    """Of an answer that passes whole."""
    last: bytes = b""
    """What the agent gets to read last where its answer is cut."""
    alone: bool = False
    """One call after the other: what an upstream says while it has another request cannot be told from the answer to that."""


UNKNOWN = End(424, Reason.OUTCOME_UNKNOWN)
FAILED = Ends(End(502, Reason.UPSTREAM_FAILED, 2, within=BACKOFF), UNKNOWN)
TIMED_OUT = Ends(End(504, Reason.TOOL_TIMEOUT, 2, within=2 * TIMEOUT + BACKOFF), UNKNOWN._replace(within=TIMEOUT))
NOT_DONE = Ends(End(504, Reason.TOOL_TIMEOUT, within=DEADLINE), UNKNOWN._replace(within=DEADLINE))
CUT = Ends(End(200, Reason.UPSTREAM_FAILED, cut=True), End(200, Reason.OUTCOME_UNKNOWN, cut=True))
TOO_LARGE = Ends(*[End(424, Reason.RESPONSE_TOO_LARGE)] * 2)
TOO_LARGE_CUT = Ends(*[End(200, Reason.RESPONSE_TOO_LARGE, cut=True)] * 2)
OK = Ends(*[End(200, Reason.OK)] * 2)


def silent(seconds: float) -> Ends:
    """The head was through when the timer fired."""
    read, write = End(200, Reason.TOOL_TIMEOUT, cut=True, within=seconds), CUT.write._replace(within=seconds)
    return Ends(read, write)


def relayed(status: int, *, read: int = 1, write: int = 1) -> Ends:
    """The upstream's own answer, after so many attempts."""
    return Ends(*(End(status, Reason.TOOL_ERROR, attempts, within=BACKOFF) for attempts in (read, write)))


SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GOOD_BODY = b"what the tool had to say"
