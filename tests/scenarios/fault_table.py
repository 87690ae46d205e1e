"""What an upstream may do to a call, and what the caller is promised for it (SPEC 4 and 5): one row a kind."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import product
from typing import NamedTuple

from gateway.model import Reason
from tests.scenarios.faulty_upstream import (
    Behaviour,
    Ending,
    close,
    drips,
    hang,
    pours,
    reset,
    says,
    says_and_once_the_agent_has_the_head,
    sliced,
)
from tests.upstreams.loopback import reply

TIMEOUT, DEADLINE, STREAM_IDLE, CONNECT_TIMEOUT = 0.15, 0.4, 0.2, 0.1
"""Seconds: `timeout_ms`, `deadline_ms` and `stream_idle_ms` of both tools, which may try twice, and their upstream's
`connect_timeout_ms`."""
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


# -- statuses


def statuses() -> Iterator[Row]:
    """Of these, a read is repeated after 429, 502, 503 and 504, a write after 429 alone."""
    for status in range(400, 505):
        said = reply(b"said the tool", status=f"{status} Whatever")
        ends = relayed(status, read=2 if status in (429, 502, 503, 504) else 1, write=2 if status == 429 else 1)
        yield Row(f"status {status}", says(said), ends, b"said the tool")


def retry_afters() -> Iterator[Row]:
    """A wait that fits is waited for, one that does not ends the call at once, and garbage is no wait at all."""
    past, future = "Sun, 06 Nov 1994 08:49:37 GMT", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    fits = ["0", "000", past, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    garbage = ["", "soon", "-5", "1.5", "1e9", "0x10", "5 5", "NaN", "\u0665", "Thu, 99 Jan 2099 00:00:00 GMT", "Thu,"]
    beyond = ["1", "26", "9" * 5_000, future, "Thu, 01 Jan 9999 00:00:00 GMT"]
    for status, value in product((429, 503), fits + garbage + beyond):
        attempts = 1 if value in beyond else 2
        said = reply(b"later", f"Retry-After: {value}", status=f"{status} Later")
        ends = relayed(status, read=attempts, write=attempts if status == 429 else 1)
        yield Row(f"status {status} with Retry-After {value[:30]!r}", says(said), ends, b"later")


# -- hanging, closing and resetting, at every point of an answer

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

BEFORE_A_BYTE_HAS_PASSED = {
    "before the head": b"",
    "in the status line": b"HTTP/1.1 2",
    "in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "before the end of the head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r",
    "after an interim answer": CONTINUE,
    "after the head of a small body": SMALL,
    "in a small body": SMALL + b"half",
    "before the last byte of a small body": SMALL + b"123456789",
}
BEHIND_THE_HEAD = {
    "after the head of a large body": LARGE,
    "in a large body": LARGE + b"x" * 50_000,
    "before the last byte of a large body": LARGE + b"x" * 99_999,
    "after the head of a chunked body": CHUNKED,
    "in the size of a chunk": CHUNKED + b"5",
    "in a chunk": CHUNKED + b"5\r\nab",
    "between two chunks": CHUNKED + b"5\r\nabcde\r\n",
    "before the end of the last chunk": CHUNKED + b"5\r\nabcde\r\n0\r\n",
    "in the trailers": CHUNKED + b"5\r\nabcde\r\n0\r\nX-Tra",
}
IN_EVENTS = {
    "after the head of events": EVENTS,
    "in an event": EVENTS + b"7\r\ndata: o\r\n",
    "between two events": EVENTS + b"b\r\ndata: one\n\n\r\n",
}


def breaks() -> Iterator[Row]:
    """Until a byte has gone to the agent a fault is repeated or explained; from then on the answer can only be cut."""
    endings: tuple[tuple[str, Ending, bool], ...] = (
        ("hangs", hang, True),
        ("closes", close, False),
        ("resets", reset, False),
    )
    for word, ending, hangs in endings:
        for where, said in BEFORE_A_BYTE_HAS_PASSED.items():
            yield Row(f"{word} {where}", says(said, then=ending), TIMED_OUT if hangs else FAILED)
        later = says_and_once_the_agent_has_the_head
        for where, said in BEHIND_THE_HEAD.items():
            yield Row(f"{word} {where}", later(ending, said), silent(TIMEOUT) if hangs else CUT)
        for where, said in IN_EVENTS.items():
            yield Row(
                f"{word} {where}", later(ending, said), silent(STREAM_IDLE) if hangs else CUT, last=b"event: error"
            )
        ends = {"hangs": silent(TIMEOUT), "closes": OK, "resets": CUT}[word]
        yield Row(f"{word} a body that ends with it", later(ending, UNTIL_CLOSE, b"abc"), ends, b"abc")
    yield Row("closes right behind the head", says(CHUNKED, then=close), CUT)


def drops() -> Iterator[Row]:
    """Slow, but never silent for long: only the deadline ends a body that comes; what brings no byte of it is silence."""
    yield Row("drips the head", drips(b"", b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100), TIMED_OUT)
    yield Row("drips interim answers", drips(b"", CONTINUE * 9), TIMED_OUT)
    yield Row("drips a small body", drips(SMALL.replace(b"10", b"999"), b"x"), NOT_DONE)
    yield Row("drips a large body", drips(LARGE, b"x"), silent(DEADLINE))
    yield Row("drips chunks", drips(CHUNKED, b"1\r\nx\r\n"), silent(DEADLINE))
    yield Row("drips a body that ends with the connection", drips(UNTIL_CLOSE, b"x"), silent(DEADLINE))
    yield Row("drips the size of a chunk", drips(CHUNKED, b"0" * 100), silent(TIMEOUT))
    yield Row("drips a chunk extension", drips(CHUNKED + b"5;", b"x"), silent(TIMEOUT))
    yield Row("drips trailers", drips(CHUNKED + b"2\r\nok\r\n0\r\n", b"X-A: b\r\n"), silent(TIMEOUT))


# -- what is not HTTP, or could be read in two ways


def framings() -> Iterator[Row]:
    lines = {
        "doubled": b"Content-Length: 2\r\nContent-Length: 2",
        "conflicting": b"Content-Length: 2\r\nContent-Length: 3",
        "conflicting in one line": b"Content-Length: 2, 3",
        "doubled in one line": b"Content-Length: 2, 2",
        "with a plus": b"Content-Length: +2",
        "negative": b"Content-Length: -2",
        "hexadecimal": b"Content-Length: 0x2",
        "with a blank in it": b"Content-Length: 2 2",
        "with a fraction": b"Content-Length: 2.0",
        "not a number": b"Content-Length: two",
        "empty": b"Content-Length:",
        "of other digits": "Content-Length: \u0662".encode(),
        "behind a blank": b"Content-Length : 2",
        "of more than 64 bits": b"Content-Length: 18446744073709551618",
        "of 1,000 digits": b"Content-Length: " + b"9" * 1_000,
        "beside chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        "behind chunks": b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    }
    for name, line in lines.items():
        yield Row(f"Content-Length {name}", says(b"HTTP/1.1 200 OK\r\n", line, b"\r\n\r\nab"), FAILED)
    for length in (LONGEST_REPLY + 1, 2**53, 2**63 - 1):
        yield Row(
            f"Content-Length {length}", says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length), TOO_LARGE
        )
    for coding in (
        b"gzip",
        b"gzip, chunked",
        b"chunked, chunked",
        b"xchunked",
        b"identity",
        b"chunked\r\nTransfer-Encoding: chunked",
    ):
        said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        yield Row(f"Transfer-Encoding {coding.decode()!r}", says(said), FAILED)
    yield Row("chunks in HTTP/1.0", says(CHUNKED.replace(b"/1.1", b"/1.0"), b"2\r\nab\r\n0\r\n\r\n"), FAILED)


BAD_CHUNKS = {
    "of no size": b"\r\nabc\r\n0\r\n\r\n",
    "of a size that is no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "of a negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "of a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "of more than 64 bits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "longer than their size": b"3\r\nabcd\r\n0\r\n\r\n",
    "with NUL in the size": b"3\0\r\nabc\r\n0\r\n\r\n",
}


def chunks() -> Iterator[Row]:
    for name, said in BAD_CHUNKS.items():
        yield Row(f"chunks {name}", says(CHUNKED, said), FAILED)
        yield Row(f"chunks {name}, behind the head", says(CHUNKED, behind_head=said), CUT)
        yield Row(f"chunks {name}, behind a good one", says(CHUNKED, behind_head=b"2\r\nok\r\n" + said), CUT)
    yield Row("chunks with extensions", says(CHUNKED, b'3;a=b;c="d"\r\nabc\r\n0;last\r\n\r\n'), OK, b"abc")
    yield Row("an endless chunk extension", pours(CHUNKED + b"3;", b"x" * 10_000, behind_head=True), CUT)
    yield Row("an endless size of a chunk", pours(CHUNKED, b"0" * 10_000, behind_head=True), CUT)


def heads() -> Iterator[Row]:
    starts = {
        "SSH-2.0-OpenSSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "of HTTP/0.9": b"<html>ok</html>\r\n\r\n",
        "of HTTP/2": b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff",
        "of TLS": b"\x15\x03\x01\0\x02\x02\x28\r\n\r\n",
        "of ICY": b"ICY 200 OK\r\n\r\n",
        "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "http/1.1": b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "99": b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nab",
        "099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nab",
        "2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nab",
        "-200": b"HTTP/1.1 -200 OK\r\nContent-Length: 2\r\n\r\nab",
        "two hundred": b"HTTP/1.1 two OK\r\nContent-Length: 2\r\n\r\nab",
        "without a blank": b"HTTP/1.1200 OK\r\nContent-Length: 2\r\n\r\nab",
        "with two blanks": b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nab",
        "with NUL in its reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nab",
        "with CR in its reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nab",
        "behind an empty line": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "ending in LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
        "of a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    for name, said in starts.items():
        yield Row(f"status line {name}", says(said), FAILED)
    lines = {
        "with NUL": b"X-A: a\0b",
        "with CR": b"X-A: a\rb",
        "with LF": b"X-A: a\nX-B: b",
        "with a control character": b"X-A: a\x01b",
        "with DEL": b"X-A: a\x7fb",
        "with CR at its end": b"X-A: a\r",
        "folded": b"X-A: a\r\n b",
        "folded at once": b" X-A: a",
        "with a blank before the colon": b"X-A : a",
        "with a blank in its name": b"X A: a",
        "without a name": b": a",
        "without a colon": b"X-A",
        "with NUL in its name": b"X\0A: a",
        "with other letters in its name": "X-\u00c4: a".encode(),
        "of 70,000 bytes": b"X-A: " + b"a" * 70_000,
        "500 times": b"\r\n".join([b"X-A: a"] * 500),
        "of 100,000 bytes in all": b"\r\n".join([b"X-A: " + b"a" * 1_000] * 100),
    }
    for name, line in lines.items():
        said = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\nab"
        yield Row(f"header {name}", says(said), FAILED)
    yield Row("an endless line", pours(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 10_000), FAILED)
    yield Row("endless headers", pours(b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 100), FAILED)
    yield Row(
        "header in Latin-1", says(reply(GOOD_BODY, "X-A: \u00e4").replace("\u00e4".encode(), b"\xe4")), OK, GOOD_BODY
    )
    yield Row("a number of 5,000 digits", says(reply(GOOD_BODY, "Age: " + "9" * 5_000)), OK, GOOD_BODY)


GOOD_BODY = b"what the tool had to say"


def interims() -> Iterator[Row]:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    yield Row("100 and 103 before the answer", says(CONTINUE, hints, reply(GOOD_BODY)), OK, GOOD_BODY)
    yield Row(
        "102 ten times before the answer", says(CONTINUE.replace(b"100", b"102") * 10, reply(GOOD_BODY)), OK, GOOD_BODY
    )
    yield Row("100 a hundred times", says(CONTINUE * 100, reply(GOOD_BODY)), FAILED)
    yield Row("100 without end", pours(b"", CONTINUE * 100), FAILED)
    yield Row(
        "100 with a length",
        says(b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n", reply(GOOD_BODY)),
        OK,
        GOOD_BODY,
    )
    yield Row(
        "101 unasked", says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), FAILED
    )


def trailers() -> Iterator[Row]:
    body = CHUNKED + b"3\r\nabc\r\n0\r\n"
    passing = {"": b"X-Sum: 1\r\n", " of other kinds": b"Set-Cookie: a=b\r\nX-A: \0\r\n"}  # none of them is passed on
    for name, lines in passing.items():
        yield Row(f"trailers{name}", says(body, lines, b"\r\n"), OK, b"abc")
    bad = {"that frame": b"Content-Length: 99\r\n", "without a colon": b"X-A\r\n", "500 times": b"X-A: a\r\n" * 500}
    for name, lines in bad.items():
        yield Row(f"trailers {name}", says(body, lines, b"\r\n"), FAILED)
    yield Row("endless trailers", pours(body, b"X-A: a\r\n" * 1_000, behind_head=True), CUT)
    yield Row("an endless trailer", pours(body + b"X-A: ", b"a" * 10_000, behind_head=True), CUT)


# -- bodies

BOMB = gzip.compress(bytes(50_000_000), 9)
"""50 MB in 50 KB."""
SLICES = bytes(range(128))


def bodies() -> Iterator[Row]:
    packed = ("Content-Encoding: gzip", "Content-Type: application/json")
    yield Row("a gzip bomb", says(reply(BOMB, *packed)), OK, BOMB)
    yield Row("a gzip bomb in chunks", says(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BOMB), BOMB)), OK, BOMB)
    yield Row("a gzip bomb with an error", says(reply(BOMB, *packed, status="500 No")), relayed(500), BOMB)
    yield Row("a coding that it is not", says(reply(GOOD_BODY, "Content-Encoding: br")), OK, GOOD_BODY)
    piece = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)
    yield Row("endless chunks", pours(CHUNKED, piece), TOO_LARGE_CUT)
    yield Row("endless events", pours(EVENTS, piece), TOO_LARGE_CUT)
    yield Row("an endless body without a length", pours(UNTIL_CLOSE, b"x" * 100_000), TOO_LARGE_CUT)


def slices() -> Iterator[Row]:
    """However it is cut into packets, it is the same answer."""
    yield Row("a body in slices", sliced(reply(SLICES)), OK, SLICES)
    whole = CHUNKED + b"80\r\n" + SLICES + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
    yield Row("chunks in slices", sliced(whole), OK, SLICES)
    yield Row("interim answers in slices", sliced(CONTINUE * 3 + reply(b"ok")), OK, b"ok")


def strays() -> Iterator[Row]:
    """More than an answer: what is behind it belongs to nobody, least of all to the next call."""
    stray = reply(b"not yours", "X-Not: yours")
    yield Row("a second answer behind the first", says(reply(GOOD_BODY), stray), OK, GOOD_BODY)
    yield Row("a second answer behind chunks", says(CHUNKED, b"2\r\nok\r\n0\r\n\r\n", stray), OK, b"ok")
    yield Row("a second answer, later", says(reply(GOOD_BODY), behind_head=stray), OK, GOOD_BODY, alone=True)
    yield Row("half an answer behind the first", says(reply(GOOD_BODY), stray[:30]), OK, GOOD_BODY)
    yield Row(
        "a body behind 204", says(b"HTTP/1.1 204 No Content\r\n\r\n", stray), Ends(*[End(204, Reason.OK)] * 2), b""
    )
    unmodified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
    yield Row("a body behind 304", says(unmodified, stray), Ends(*[End(304, Reason.OK)] * 2), b"")
    yield Row("an answer and a close", says(reply(GOOD_BODY), then=close), OK, GOOD_BODY)
    yield Row("a length shorter than the body", says(SMALL, b"1234567890", b"123"), FAILED)
    yield Row(
        "a length shorter than the body, later",
        says(SMALL, b"1234567890", behind_head=b"123"),
        OK,
        b"1234567890",
        alone=True,
    )


GROUPS = (statuses, retry_afters, breaks, drops, framings, chunks, heads, interims, trailers, bodies, slices, strays)
ROWS = {row.name: row for group in GROUPS for row in group()}
