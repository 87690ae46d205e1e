"""Request heads that are known: bounded, in two generations; and the ToolCall made of one is the one that the doors make."""

from typing import Any

import pytest
from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.doors.arrival import Arrival
from gateway.doors.understood import LONGEST_HEAD, MOST_HEADS, MOST_SIGHTED, KnownRequests, Understood, head_of
from gateway.model import Door
from tests.unit.made_up import NOON, a_plan, later

HEAD = b"POST /tools/search.read HTTP/1.1\r\nHost: localhost\r\n\r\n"
NOTHING: Any = None


def understood() -> Understood:
    arrival = an_arrival()
    return Understood(arrival, arrival.call(), a_plan(), NOTHING, 0, b"")


def an_arrival(schema: object = None, *, query: str = "", method: str = "POST") -> Arrival:
    headers = CIMultiDict({"Host": "localhost", "Via": "1.0 a", "X-Mine": "1", "Agent-Step": "3"})
    raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
    message = RawRequestMessage(
        method, "/", HttpVersion11, CIMultiDictProxy(headers), raw, False, None, False, False, URL("/")
    )
    arrival = Arrival(head_of(message, "10.0.0.1"), NOTHING, "c2", later(1))
    arrival.tool, arrival.plan = "search.read", a_plan(arguments=schema)
    arrival.agent, arrival.run, arrival.step, arrival.door = "scout", "r1", 3, Door.NATIVE
    arrival.rest, arrival.query, arrival.target = "/a", query, f"/query/a?{query}"
    return arrival


def head(number: int) -> bytes:
    return HEAD.replace(b"localhost", b"%d" % number)


def test_of_heads_that_always_differ_two_generations_are_known() -> None:
    known, one = KnownRequests(), understood()
    for number in range(10 * MOST_HEADS):
        known.remember(head(number), one)
    assert sum(known.find(head(number)) is one for number in range(10 * MOST_HEADS)) <= 2 * MOST_HEADS
    assert known.find(head(10 * MOST_HEADS - 1)) is one


def test_what_is_asked_for_outlives_any_number_of_others() -> None:
    known, one = KnownRequests(), understood()
    known.remember(HEAD, one)
    for number in range(10 * MOST_HEADS):
        known.remember(head(number), None)
        if number % (MOST_HEADS // 2) == 0:
            assert known.find(HEAD) is one


def test_what_is_not_asked_for_is_forgotten() -> None:
    known = KnownRequests()
    known.remember(HEAD, understood())
    for number in range(2 * MOST_HEADS):
        known.remember(head(number), None)
    assert known.find(HEAD) is None
    assert not known.is_odd(HEAD)


@pytest.mark.parametrize(("size", "kept"), [(LONGEST_HEAD, True), (LONGEST_HEAD + 1, False)])
def test_a_long_head_is_understood_anew_each_time(size: int, kept: bool) -> None:
    known, long = KnownRequests(), HEAD[:-4] + b"x" * (size - len(HEAD)) + b"\r\n\r\n"
    known.remember(long, understood())
    assert (known.find(long) is not None) is kept


def test_an_odd_one_is_known_to_be_odd_and_never_found() -> None:
    known = KnownRequests()
    assert not known.is_odd(HEAD)
    known.remember(HEAD, None)
    assert known.is_odd(HEAD)
    assert known.find(HEAD) is None


def test_with_the_policy_all_is_forgotten() -> None:
    known = KnownRequests()
    known.remember(HEAD, understood())
    known.remember(head(1), None)
    known.forget()
    assert known.find(HEAD) is None
    assert not known.is_odd(head(1))


bodies = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"{}", b'{"b":1,"a":[1.0]}', b'{"a":1,"a":2}', b"[" * 3000])
)


@given(bodies, st.sampled_from(["", "q=1&q=2", "%ff", "a"]), st.sampled_from(["POST", "GET"]), st.booleans())
def test_the_call_made_of_a_known_head_is_the_one_the_doors_make(
    body: bytes, query: str, method: str, schema: bool
) -> None:
    asked = object() if schema else None
    known = an_arrival(asked, query=query, method=method)
    known.call_id, known.started = "", NOON
    made = Understood(known, known.call(), a_plan(arguments=asked), NOTHING, len(body), b"").call("c2", body, later(1))
    assert made == an_arrival(asked, query=query, method=method).call(body)
    assert type(made) is type(an_arrival().call())


def test_a_plain_head_is_remembered_when_it_comes_again() -> None:
    known = KnownRequests()
    known.sight(HEAD, understood())
    assert known.find(HEAD) is None
    known.sight(HEAD, understood())
    assert known.find(HEAD) is not None


def test_heads_that_never_come_again_leave_a_number_each_and_no_more_than_so_many() -> None:
    known, one = KnownRequests(), understood()
    for number in range(3 * MOST_SIGHTED):
        known.sight(head(number), one)
    assert not known._young
    assert len(known._sighted) <= MOST_SIGHTED
