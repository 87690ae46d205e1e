"""Which answers are written as one piece, and which are left to aiohttp."""

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request

from gateway.doors.answers import relayed
from gateway.doors.arrival import Arrival
from gateway.doors.plain import PlainAnswer, is_plain
from gateway.model import Reply
from tests.unit.made_up import NOON

REPLY = Reply(200, (), b"{}")
ARRIVAL = Arrival(make_mocked_request("GET", "/"), None, "c1", NOON)  # type: ignore[arg-type]  # no snapshot is asked


def test_a_whole_reply_to_a_caller_that_stays_is_plain() -> None:
    assert is_plain(make_mocked_request("POST", "/", version=HttpVersion11), REPLY)


@pytest.mark.parametrize(
    ("method", "version", "headers", "reply"),
    [
        ("HEAD", HttpVersion11, {}, REPLY),
        ("GET", HttpVersion10, {}, REPLY),
        ("GET", HttpVersion11, {"Connection": "close"}, REPLY),
        ("GET", HttpVersion11, {}, Reply(204, (), b"")),
        ("GET", HttpVersion11, {}, Reply(304, (), b"x")),
        ("GET", HttpVersion11, {}, Reply(200, (), b"")),
        ("GET", HttpVersion11, {}, Reply(200, (), None)),
    ],
)
def test_all_else_is_not(method: str, version: object, headers: dict[str, str], reply: Reply) -> None:
    request = make_mocked_request(method, "/", headers=headers, version=version, closing=bool(headers))  # type: ignore[arg-type]  # parametrized
    assert not is_plain(request, reply)


def test_a_whole_reply_is_written_with_its_own_length_and_the_upstreams_date() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    named = [("content-length", "999"), ("Date", date), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("server", "theirs")]
    reply = Reply(299, tuple(named), b"body")
    answer = PlainAnswer(reply.status, relayed(ARRIVAL, reply), b"body")
    assert answer.written == (
        f"HTTP/1.1 299 \r\nDate: {date}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nserver: theirs\r\nContent-Length: 4\r\n\r\nbody".encode()
    )


def test_a_reply_that_names_neither_server_nor_date_gets_ours() -> None:
    lines = PlainAnswer(200, relayed(ARRIVAL, REPLY), b"{}").written.split(b"\r\n")
    assert lines[:2] == [b"HTTP/1.1 200 OK", b"Server: tool-gateway"]
    assert lines[2].startswith(b"Date: ")
    assert lines[3:] == [b"Content-Length: 2", b"", b"{}"]


def test_the_length_of_what_is_still_to_come_is_relayed() -> None:
    reply = Reply(200, (("Content-Length", "7"),), None)
    assert ("Content-Length", "7") in relayed(ARRIVAL, reply)
