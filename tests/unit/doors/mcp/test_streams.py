import pytest

from gateway.doors.mcp.listing import MOST_ELEMENTS, may_list
from gateway.doors.mcp.sse import LONGEST_EVENT, MustHold, always, data_of, event_of, never
from gateway.doors.mcp.streams import EventStream, OldTransport
from gateway.model import UpstreamError


def stream_of(awaited: int = 7, must_hold: MustHold = never, *, old: bool = False) -> EventStream:
    """Its caller sees the tool `a` alone."""
    return EventStream(awaited, lambda tool: tool.get("name") == "a", must_hold, may_be_old=old)


def test_a_stream_tells_what_has_passed_in_it() -> None:
    stream = stream_of()
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":8,"result":{}}'))
    assert (stream.answered, stream.asks, stream.resumable) == (False, False, False)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":"a","method":"elicitation/create"}'))
    assert (stream.answered, stream.asks) == (False, True)
    stream.feed(b": ping\n\nid: 4\n\n")
    assert (stream.asks, stream.resumable) == (True, True)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":7,"error":{}}'))
    assert (stream.answered, stream.asks) == (True, False)


def test_a_long_result_is_an_answer_too() -> None:
    stream = stream_of()
    begun = b'data: {"jsonrpc":"2.0","id":7,"result":{"content":"' + b"x" * 100_000
    assert stream.feed(begun) == begun
    assert stream.answered


def test_lists_are_filtered_wherever_they_pass() -> None:
    stream = stream_of()
    shown = stream.feed(event_of(b'{"id":1,"result":{"tools":[{"name":"a"},{"name":"b"}]}}'))
    assert data_of(shown) == b'{"id":1,"result":{"tools":[{"name":"a"}]}}'
    assert stream.feed(event_of(b"not json")) == event_of(b"not json")


def test_the_old_transport_is_known_by_its_first_event() -> None:
    with pytest.raises(OldTransport):
        stream_of(old=True).feed(b"event: endpoint\ndata: /messages\n\n")
    assert stream_of().feed(b"event: endpoint\n\n")


@pytest.mark.parametrize("identity", [2**53 + 1, 2**64 + 1, -(2**80) - 1])
def test_an_answer_is_known_by_an_id_of_any_size(identity: int) -> None:
    stream = stream_of(identity)
    stream.feed(event_of(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % identity))
    assert stream.answered


@pytest.mark.parametrize(
    "inside",
    [b'{"a":' * 3000 + b"1" + b"}" * 3000, b"1" * 5000, b"\\x", b"[" + b"0," * MOST_ELEMENTS + b"0]" + b',"', b"\x01"],
)
def test_a_list_that_its_reader_may_understand_better_than_the_gateway_does_not_pass(inside: bytes) -> None:
    for key in (b"tools", b"t\\u006fols"):
        stream = stream_of()
        shown = stream.feed(event_of(b'{"id":7,"result":{"%b":[{"name":"b","x":%b}]}}' % (key, inside)))
        assert (shown, stream.dropped, stream.answered) == (b"", True, False)


def test_a_list_of_more_tools_than_a_walk_takes_is_not_read() -> None:
    stream = stream_of()
    tools = b",".join([b"{}"] * (MOST_ELEMENTS + 1))
    assert stream.feed(event_of(b'{"result":{"tools":[%b]}}' % tools)[:60_000]) == b""
    stream = stream_of(must_hold=always)
    assert stream.feed(event_of(b'{"result":{"tools":[%b]}}' % tools)) == b""
    assert stream.dropped


@pytest.mark.parametrize(
    "data", [b"not json: tools", b'{"method":"notifications/x","params":{"a":1}', b'"tools', b"", b"{\x01}"]
)
def test_what_is_no_list_to_anybody_passes_readable_or_not(data: bytes) -> None:
    stream = stream_of()
    assert stream.feed(event_of(data)) == event_of(data)
    assert not stream.dropped


@pytest.mark.parametrize("must_hold", [may_list, always])
@pytest.mark.parametrize(
    "before", [b"id: " + b"9" * 70_000 + b"\n", b": " + b"x" * 70_000 + b"\nid: 1\n", b"data: " + b" " * 70_000 + b"\n"]
)
def test_a_list_behind_a_long_beginning_is_filtered_too(before: bytes, must_hold: MustHold) -> None:
    stream = stream_of(must_hold=must_hold)
    shown = stream.feed(before) + stream.feed(b'data: {"result":{"tools":[{"name":"b"}]}}\n\n')
    assert b'"b"' not in shown


def test_where_a_list_was_asked_for_whatever_comes_is_held_for_it() -> None:
    stream = stream_of(must_hold=always)
    begun = b'data: {"result":{"content":"' + b"x" * 70_000
    assert stream.feed(begun) == b""
    assert b'"b"' not in stream.feed(b'","tools":[{"name":"b"}]}}\n\n')
    with pytest.raises(UpstreamError, match="larger than"):
        stream.feed(begun + b"x" * LONGEST_EVENT)
