"""The rows of fault_table.py for what is not HTTP, or could be read in two ways."""

from collections.abc import Iterator

from tests.scenarios.fault_rows import CHUNKED, CONTINUE, CUT, FAILED, GOOD_BODY, LONGEST_REPLY, OK, TOO_LARGE, Row
from tests.scenarios.faulty_upstream import pours, says
from tests.upstreams.loopback import reply


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
