"""What an upstream may do to a call, and what the caller is promised for it (SPEC 4 and 5): one row a kind."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import product

from gateway.denial import Reason
from tests.scenarios.fault_rows import (
    CHUNKED,
    CONTINUE,
    CUT,
    DEADLINE,
    EVENTS,
    FAILED,
    GOOD_BODY,
    LARGE,
    NOT_DONE,
    OK,
    SMALL,
    STREAM_IDLE,
    TIMED_OUT,
    TIMEOUT,
    TOO_LARGE_CUT,
    UNTIL_CLOSE,
    End,
    Ends,
    Row,
    relayed,
    silent,
)
from tests.scenarios.faulty_upstream import (
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
from tests.scenarios.malformed_answers import chunks, framings, heads, interims, trailers
from tests.upstreams.loopback import reply

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
    beyond = ["2", "26", "9" * 5_000, future, "Thu, 01 Jan 9999 00:00:00 GMT"]
    # A 429 whose wait does not fit pauses its tool, the next good call too: tests/doors/test_pacing.py.
    for status, value in [*product((429, 503), fits + garbage), *product([503], beyond)]:
        attempts = 1 if value in beyond else 2
        said = reply(b"later", f"Retry-After: {value}", status=f"{status} Later")
        ends = relayed(status, read=attempts, write=attempts if status == 429 else 1)
        yield Row(f"status {status} with Retry-After {value[:30]!r}", says(said), ends, b"later")


# -- hanging, closing and resetting, at every point of an answer


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
