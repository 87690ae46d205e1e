import re

import pytest

from gateway.doors.mcp.refusals import CODE, DENIAL, REASON, dumped, wants_events
from gateway.doors.mcp.sse import data_of, event_of
from gateway.doors.mcp.streams import EventStream, OldTransport

LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
META_KEY = re.compile(rf"{LABEL}(?:\.{LABEL})*/[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""MCP 2026-07-28, basic/index, "_meta"."""


@pytest.mark.parametrize("key", [REASON, DENIAL])
def test_keys_of_meta_are_ones_that_the_spec_leaves_to_others(key: str) -> None:
    assert META_KEY.fullmatch(key)
    assert not re.search(r"(^|\.)(mcp|modelcontextprotocol)\.?", key.partition("/")[0])


def test_the_error_code_is_in_nobodys_range() -> None:
    assert not -32768 <= CODE <= -32000


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ([], False),
        (["application/json, text/event-stream"], False),
        (["text/event-stream", "application/json;q=0.5"], False),
        (["*/*"], False),
        (["text/event-stream"], True),
        (["Text/Event-Stream;q=1"], True),
    ],
)
def test_a_refusal_is_an_event_only_for_those_who_take_nothing_else(accept: list[str], events: bool) -> None:
    assert wants_events(accept) is events


def test_an_id_is_given_back_as_it_is() -> None:
    assert dumped(123456789012345678901234567890) == b"123456789012345678901234567890"
    assert dumped('a"b') == b'"a\\"b"'
    assert dumped(None) == b"null"


def test_a_stream_tells_what_has_passed_in_it() -> None:
    stream = EventStream(7)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":8,"result":{}}'))
    assert (stream.answered, stream.asks, stream.resumable) == (False, False, False)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":"a","method":"elicitation/create"}'))
    assert (stream.answered, stream.asks) == (False, True)
    stream.feed(b": ping\n\nid: 4\n\n")
    assert (stream.asks, stream.resumable) == (True, True)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":7,"error":{}}'))
    assert (stream.answered, stream.asks) == (True, False)


def test_a_long_result_is_an_answer_too() -> None:
    stream = EventStream(7)
    begun = b'data: {"jsonrpc":"2.0","id":7,"result":{"content":"' + b"x" * 100_000
    assert stream.feed(begun) == begun
    assert stream.answered


def test_lists_are_filtered_wherever_they_pass() -> None:
    stream = EventStream(judge=lambda tool: tool["name"] == "a")
    shown = stream.feed(event_of(b'{"id":1,"result":{"tools":[{"name":"a"},{"name":"b"}]}}'))
    assert data_of(shown) == b'{"id":1,"result":{"tools":[{"name":"a"}]}}'
    assert stream.feed(event_of(b"not json")) == event_of(b"not json")


def test_the_old_transport_is_known_by_its_first_event() -> None:
    with pytest.raises(OldTransport):
        EventStream(may_be_old=True).feed(b"event: endpoint\ndata: /messages\n\n")
    assert EventStream().feed(b"event: endpoint\n\n")
