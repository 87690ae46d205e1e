"""Which answers are written as one piece, and which are left to aiohttp."""

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request

from gateway.doors.plain import PlainAnswer, is_plain
from gateway.model import Reply

REPLY = Reply(200, (), b"{}")


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


def test_the_length_is_that_of_the_body_and_the_upstreams_date_stays() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    answer = PlainAnswer(
        299, [("Content-Length", "999"), ("Date", date), ("Set-Cookie", "a"), ("Set-Cookie", "b")], b"body"
    )
    assert answer.written == (
        f"HTTP/1.1 299 \r\nDate: {date}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n\r\nbody".encode()
    )
