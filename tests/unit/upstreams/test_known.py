"""Reply heads that are known: bounded in number and in bytes, and only the very bytes that were read before."""

import pytest

from gateway.model import ReplyHead
from gateway.upstreams.known import END_OF_HEAD, LONGEST_BODY, LONGEST_HEAD, MOST_HEADS, Known, KnownHeads, wants_more

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2" + END_OF_HEAD
KNOWN = Known(ReplyHead(200, (("Content-Length", "2"),)), 2)


def test_a_head_is_found_by_its_very_bytes() -> None:
    heads = KnownHeads()
    heads.remember(HEAD, KNOWN)
    assert heads.find(HEAD) is KNOWN
    for other in (HEAD[:-1], HEAD + b"\n", HEAD.replace(b"200", b"201"), HEAD.lower(), b""):
        assert heads.find(other) is None


def test_of_heads_that_always_differ_the_newest_are_known() -> None:
    heads = KnownHeads()
    many = [HEAD.replace(b"OK", b"%d" % number) for number in range(3 * MOST_HEADS)]
    for head in many:
        heads.remember(head, KNOWN)
    assert [head for head in many if heads.find(head)] == many[-MOST_HEADS:]


def test_one_that_is_remembered_again_displaces_no_other() -> None:
    heads = KnownHeads()
    many = [HEAD.replace(b"OK", b"%d" % number) for number in range(MOST_HEADS)]
    for head in (*many, many[-1], many[-1]):
        heads.remember(head, KNOWN)
    assert all(heads.find(head) for head in many)


def test_a_long_head_is_not_remembered() -> None:
    """An upstream could fill memory with them."""
    heads = KnownHeads()
    longest, longer = (HEAD.replace(b"OK", b"x" * (size - len(HEAD) + 2)) for size in (LONGEST_HEAD, LONGEST_HEAD + 1))
    heads.remember(longest, KNOWN)
    heads.remember(longer, KNOWN)
    assert (heads.find(longest), heads.find(longer)) == (KNOWN, None)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (HEAD, True),
        (HEAD + b"x", True),
        (HEAD + b"xx", False),
        (HEAD + b"xxx", False),
        (HEAD[:-1], False),
        (b"", False),
        (b"HTTP/1.1 200 OK" + END_OF_HEAD, False),
        (b"HTTP/1.1 200 OK\r\ncontent-LENGTH:\t2 " + END_OF_HEAD + b"x", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0" + END_OF_HEAD, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d" % LONGEST_BODY + END_OF_HEAD, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d" % (LONGEST_BODY + 1) + END_OF_HEAD, False),
        (b"HTTP/1.1 200 OK\r\nX-Content-Length: 2" + END_OF_HEAD, False),
        (b"HTTP/1.1 200 OK" + END_OF_HEAD + b"\r\nContent-Length: 99\r\n", False),
    ],
)
def test_the_rest_of_a_short_reply_with_a_length_is_waited_for(data: bytes, more: bool) -> None:
    assert wants_more(data) is more
