"""Requests that are known by their heads: bounded, in two generations; a head or a shape that never comes again leaves a number."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.doors.forms import marks_for, put_together, taken_apart
from gateway.doors.known import LONGEST_HEAD, MOST_HEADS, MOST_SIGHTED, KnownRequests
from gateway.doors.understood import Understood

pytestmark = pytest.mark.sources  # it remembers what is no Understood and no Form

HEAD = b"POST /tools/search.read HTTP/1.1\r\nHost: localhost\r\n\r\n"
ONE: Any = SimpleNamespace(length=2)
"""In the place of what was understood: it is only kept, and asked for the length of the body."""


def head(number: int, more: bytes = b"") -> bytes:
    return HEAD.replace(b"localhost", b"%d" % number + more)


def sight_twice(known: KnownRequests, head: bytes, understood: Understood | None = ONE) -> None:
    known.sight(head, understood)
    known.sight(head, understood)


class ByHead:
    """A form that understands the first head of its shape alone, and says how often it was asked."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values
        self.asked = 0

    def understood(self, values: list[bytes]) -> Any:
        self.asked += 1
        return ONE if values == self.values else None


def test_a_plain_head_is_remembered_when_it_comes_again() -> None:
    known = KnownRequests()
    known.sight(HEAD, ONE)
    assert known.find(HEAD) is None
    known.sight(HEAD, ONE)
    assert known.find(HEAD) is ONE


def test_of_heads_that_always_differ_two_generations_are_known() -> None:
    known = KnownRequests()
    for number in range(10 * MOST_HEADS):
        sight_twice(known, head(number))
    assert sum(known.find(head(number)) is ONE for number in range(10 * MOST_HEADS)) <= 2 * MOST_HEADS
    assert known.find(head(10 * MOST_HEADS - 1)) is ONE


def test_what_is_asked_for_outlives_any_number_of_others() -> None:
    known = KnownRequests()
    sight_twice(known, HEAD)
    for number in range(10 * MOST_HEADS):
        sight_twice(known, head(number))
        if number % (MOST_HEADS // 2) == 0:
            assert known.find(HEAD) is ONE


def test_what_is_not_asked_for_is_forgotten() -> None:
    known = KnownRequests()
    sight_twice(known, HEAD)
    for number in range(2 * MOST_HEADS):
        sight_twice(known, head(number))
    assert known.find(HEAD) is None


@pytest.mark.parametrize(("size", "kept"), [(LONGEST_HEAD, True), (LONGEST_HEAD + 1, False)])
def test_a_long_head_is_understood_anew_each_time(size: int, kept: bool) -> None:
    known, long = KnownRequests(), HEAD[:-4] + b"x" * (size - len(HEAD)) + b"\r\n\r\n"
    sight_twice(known, long)
    assert (known.find(long) is not None) is kept


def test_an_odd_one_is_known_to_be_odd_and_never_found() -> None:
    known = KnownRequests()
    assert not known.is_odd(HEAD)
    known.sight(HEAD, None)
    assert known.is_odd(HEAD)
    assert known.find(HEAD) is None


def test_with_the_policy_all_is_forgotten() -> None:
    known = KnownRequests()
    sight_twice(known, HEAD)
    known.sight(head(1), None)
    shape, values = taken_apart(head(2, b"\r\nContent-Length: 2"))
    form: Any = ByHead(values)
    known.remember(shape, form)
    assert known.find(head(2, b"\r\nContent-Length: 2")) is ONE
    known.forget()
    assert known.find(HEAD) is None
    assert known.find(head(2, b"\r\nContent-Length: 2")) is None
    assert not known.is_odd(head(1))


def test_heads_that_never_come_again_leave_a_number_each_and_no_more_than_so_many() -> None:
    known = KnownRequests()
    for number in range(3 * MOST_SIGHTED):
        known.sight(head(number), ONE)
    assert not known._plain._young
    assert len(known._sighted) <= MOST_SIGHTED


def test_a_shape_that_comes_again_is_worth_a_form_and_one_without_values_is_not() -> None:
    known = KnownRequests()
    assert known.sight(HEAD, ONE) is None
    assert known.sight(HEAD, ONE) is None
    assert known.sight(head(1, b"\r\nContent-Length: 2"), ONE) is None
    shape = known.sight(head(1, b"\r\nContent-Length: 3"), ONE)
    assert shape == taken_apart(head(1, b"\r\nContent-Length: 4"))[0]


def test_a_head_found_by_its_form_is_found_by_its_bytes_once_it_came_again() -> None:
    known, one = KnownRequests(), head(1, b"\r\nContent-Length: 2")
    shape, values = taken_apart(one)
    form: Any = ByHead(values)
    known.remember(shape, form)
    for body in (None, 0, 1, None, 0):  # its body is still on its way
        assert known.find(one, body) is ONE
    assert form.asked == 5
    assert [known.find(one, 2) for _ in range(5)] == [ONE] * 5
    assert form.asked == 7
    assert known.find(one.replace(b"2", b"3")) is None


def test_a_head_is_put_together_as_it_was() -> None:
    whole = head(1, b"\r\nagent-run-id:r1\r\nContent-Length: 2\r\nX: Agent-Step: 4\r\nAgent-Step: 5\r\nAgent-Step : 6")
    shape, values = taken_apart(whole)
    assert values == [b"r1", b"2", b"5"]
    assert put_together(shape, values) == whole


def test_a_name_that_stands_twice_cannot_be_marked() -> None:
    shape, _ = taken_apart(head(1, b"\r\nAgent-Step: 5\r\nagent-step: 6"))
    assert marks_for(shape, 3) is None
