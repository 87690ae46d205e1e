"""The ToolCall made of what was understood of a head is the one that the doors make of the request."""

from typing import Any

from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.doors.arrival import Arrival
from gateway.doors.learner import head_of
from gateway.doors.understood import Understood
from gateway.model import Door
from tests.unit.made_up import NOON, a_plan, later

NOTHING: Any = None


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
