import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.heads import REPLY_HEAD, RequestHeads, end_to_end, flaw, framing

HEADS = RequestHeads("tools.internal:9000", "/api", [("Authorization", "Bearer ours"), ("X-Team", "a")])


def lines(head: bytes) -> list[str]:
    assert head.endswith(b"\r\n\r\n")
    return head.decode("utf-8", "surrogateescape")[:-4].split("\r\n")


def test_a_head_is_the_request_line_our_headers_the_framing_and_the_callers() -> None:
    head = HEADS.head("POST", "/query?q=1", [("Accept", "*/*"), ("Accept", "text/html")], "Content-Length: 3")
    assert lines(head) == [
        "POST /api/query?q=1 HTTP/1.1",
        "Host: tools.internal:9000",
        "Authorization: Bearer ours",
        "X-Team: a",
        "Content-Length: 3",
        "Accept: */*",
        "Accept: text/html",
    ]


@pytest.mark.parametrize(
    ("base", "target", "path"),
    [("", "", "/"), ("", "?q", "/?q"), ("", "/x", "/x"), ("/api", "", "/api"), ("/api", "?q", "/api?q")],
)
def test_the_path_always_starts_with_a_slash(base: str, target: str, path: str) -> None:
    assert lines(RequestHeads("h", base).head("GET", target, [], None))[0] == f"GET {path} HTTP/1.1"


def test_the_callers_framing_connection_and_replaced_headers_do_not_pass() -> None:
    smuggled = [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Expect",
        "AUTHORIZATION",
        "Proxy-Connection",
    ]
    head = HEADS.head("GET", "", [(name, "evil") for name in smuggled], None)
    assert b"evil" not in head


def test_bytes_beyond_ascii_pass_unchanged() -> None:
    raw = b"caf\xe9 \xc3\xa9"
    head = HEADS.head("GET", "", [("X-Name", raw.decode("utf-8", "surrogateescape"))], None)
    assert b"X-Name: " + raw + b"\r\n" in head


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GE T", "/", ("A", "b")),
        ("", "/", ("A", "b")),
        ("GET", "/a b", ("A", "b")),
        ("GET", "/a\r\nX: y", ("A", "b")),
        ("GET", "/\x7f", ("A", "b")),
        ("GET", "/", ("A", "b\r\nX: y")),
        ("GET", "/", ("A", "b\nX: y")),
        ("GET", "/", ("A", "b\rc")),
        ("GET", "/", ("A", "b\0")),
        ("GET", "/", ("A:b", "c")),
        ("GET", "/", ("A ", "c")),
        ("GET", "/", ("", "c")),
        ("GET", "/", ("A\r\nB", "c")),
    ],
)
def test_what_could_break_out_of_its_line_is_refused(method: str, target: str, header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"forbids|line break"):
        HEADS.head(method, target, [header], None)


@given(st.text(max_size=20), st.lists(st.tuples(st.text(max_size=5), st.text(max_size=20)), max_size=3))
def test_no_input_adds_a_line(target: str, headers: list[tuple[str, str]]) -> None:
    try:
        head = HEADS.head("GET", "/" + target, headers, None)
    except ValueError:
        return
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r") <= 5 + len(headers)
    assert head.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    ("method", "size", "line"),
    [
        ("GET", 0, None),
        ("HEAD", 0, None),
        ("DELETE", 0, None),
        ("POST", 0, "Content-Length: 0"),
        ("PUT", 0, "Content-Length: 0"),
        ("PATCH", 0, "Content-Length: 0"),
        ("GET", 3, "Content-Length: 3"),
        ("POST", None, "Transfer-Encoding: chunked"),
    ],
)
def test_a_body_is_framed_in_exactly_one_way(method: str, size: int | None, line: str | None) -> None:
    assert framing(method, size) == line


def test_hop_by_hop_headers_of_a_reply_stay_on_their_hop() -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("Connection", "close, X-Hop"),
        ("Keep-Alive", "timeout=5"),
        ("x-hop", "y"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authenticate", "Basic"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "3"),
    ]
    assert end_to_end(headers, ["close, X-Hop"]) == (
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "3"),
    )


@pytest.mark.parametrize(
    ("status", "version", "codings", "flawed"),
    [
        (200, (1, 1), [], False),
        (200, (1, 0), [], False),
        (200, (1, 1), ["Chunked"], False),
        (200, (1, 0), ["chunked"], True),
        (200, (1, 1), ["gzip, chunked"], True),
        (200, (1, 1), ["gzip"], True),
        (200, (1, 1), ["chunked", "chunked"], True),
        (101, (1, 1), [], True),
    ],
)
def test_only_plain_chunked_is_trusted(status: int, version: tuple[int, int], codings: list[str], flawed: bool) -> None:
    assert (flaw(status, version, codings) is not None) == flawed


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 O\x1bK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x7f\r\n\r\n",
    ],
)
def test_a_reply_head_that_parsers_read_differently_does_not_match(head: bytes) -> None:
    assert REPLY_HEAD.match(head) is None


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nA:b\r\n\r\n", b"HTTP/1.1 999 \xe9\r\nA: \xe9\t\r\nB:\r\n\r\n"],
)
def test_a_plain_reply_head_matches_to_its_end(head: bytes) -> None:
    match = REPLY_HEAD.match(head + b"body\r\n\r\n")
    assert match is not None
    assert match.end() == len(head)
