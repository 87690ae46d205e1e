"""Which answers are written as one piece, and which are left to aiohttp."""

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request

from gateway.denial import Reason
from gateway.doors.answers import first_lines, keep, last_lines, outcome_headers, plain_bytes, relayed
from gateway.doors.arrival import Arrival
from gateway.doors.plain import is_plain
from gateway.model import Moment, Outcome, Remaining, Reply, ReplyHead
from tests.unit.made_up import NOON

REPLY = Reply(200, (), b"{}")
OUTCOME = Outcome(Reason.OK, "0123456789ab", 1)
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
def test_what_aiohttp_has_to_write_is_not_plain(
    method: str, version: object, headers: dict[str, str], reply: Reply
) -> None:
    request = make_mocked_request(method, "/", headers=headers, version=version, closing=bool(headers))  # type: ignore[arg-type]  # parametrized
    assert not is_plain(request, reply)


def test_a_whole_reply_is_written_with_its_own_length_and_the_upstreams_date() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    named = [("content-length", "999"), ("Date", date), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("server", "theirs")]
    reply = Reply(299, tuple(named), b"body")
    assert last_lines(relayed(ARRIVAL, reply), 4) == (
        f"Date: {date}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nserver: theirs\r\nContent-Length: 4\r\n\r\n".encode()
    )
    assert first_lines("c1", OUTCOME, 299).startswith(b"HTTP/1.1 299 \r\nTool-Gateway-Call-Id: c1\r\n")


def test_a_reply_that_names_neither_server_nor_date_gets_ours() -> None:
    lines = last_lines(relayed(ARRIVAL, REPLY), 2).split(b"\r\n")
    assert lines[0] == b"Server: tool-gateway"
    assert lines[1].startswith(b"Date: ")
    assert lines[2:] == [b"Content-Length: 2", b"", b""]


@pytest.mark.parametrize("remaining", [None, Remaining(3, 20, 41), Remaining(3, 20, None)])
@pytest.mark.parametrize("report", [False, True])
def test_our_own_headers_are_the_same_whichever_way_an_answer_is_written(
    remaining: Remaining | None, report: bool
) -> None:
    outcome = Outcome(Reason.OK, "0123456789ab", 1, remaining=remaining, report=report)
    lines = first_lines("c1", outcome, 200).decode().split("\r\n")
    assert lines == ["HTTP/1.1 200 OK", *map(": ".join, outcome_headers("c1", outcome).items()), ""]


@pytest.mark.parametrize(
    ("names", "written", "second"),
    [(("Date",), b"lines", None), ((), b"lines", 7), (("date", "LOCATION"), None, None)],
)
def test_what_is_relayed_is_kept_unless_it_differs_by_call(
    names: tuple[str, ...], written: bytes | None, second: int | None
) -> None:
    head = ReplyHead(200, tuple((name, "x") for name in names))
    keep(head, b"lines", 7)
    assert (head.written, head.second) == (written, second)


@pytest.mark.parametrize(("second", "used"), [(None, True), (7, True), (6, False), (8, False)])
def test_a_date_of_ours_is_kept_for_its_second(second: int | None, used: bool) -> None:
    head = ReplyHead(200, ())
    head.written, head.second = b"kept", second
    whole = plain_bytes(ARRIVAL, "c1", OUTCOME, Reply(200, (), b"hi", head=head), b"hi", Moment(0.0, 7.9))
    assert whole.endswith(b"kepthi") is used
    assert (head.written == b"kept") is used


def test_the_length_of_what_is_still_to_come_is_relayed() -> None:
    reply = Reply(200, (("Content-Length", "7"),), None)
    assert ("Content-Length", "7") in relayed(ARRIVAL, reply)
