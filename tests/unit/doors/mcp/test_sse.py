import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doors.mcp import sse
from gateway.doors.mcp.sse import HELD_EVENT, LONGEST_EVENT, EventTooLong, Part, Splitter, data_of, is_numbered, kind_of

ENDINGS = (b"\n", b"\r\n", b"\r")


def split(*pieces: bytes, splitter: Splitter | None = None) -> list[Part]:
    splitter = splitter or Splitter()
    return [part for piece in pieces for part in splitter.feed(piece)] + splitter.end()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_found_whatever_their_line_ends_and_pieces(ending: bytes, size: int) -> None:
    events = [
        ending.join([b"event: message", b"data: one", b"", b""]),
        ending.join([b": note", b"id: 7", b"data: two", b"data: three", b"", b""]),
        ending.join([b"data:", b"", b""]),
    ]
    stream = b"".join(events)
    parts = split(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert b"".join(part.text for part in parts) == stream
    assert [data_of(part.text) for part in parts if part.whole and data_of(part.text)] == [b"one", b"two\nthree"]


@given(
    st.lists(st.sampled_from([b"data: x", b"id: 1", b":", b"", b"a", b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf"])),
    st.lists(st.integers(1, 7)),
)
def test_parts_together_are_the_stream(bits: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(bits)
    pieces, at = [], 0
    for size in [*sizes, len(stream) or 1]:
        pieces.append(stream[at : at + size])
        at += size
    assert b"".join(part.text for part in split(*pieces)) == stream


@given(
    st.lists(st.sampled_from([b"data: x\n", b"data: y\r\n", b"id: 1\r", b": c\n", b"\n", b"\r\n", b"\r"]), max_size=30)
)
def test_where_events_end_does_not_depend_on_the_pieces(bits: list[bytes]) -> None:
    stream = b"".join(bits)
    said = [data_of(part.text) for part in split(stream) if part.whole]
    bytewise = [data_of(part.text) for part in split(*(stream[at : at + 1] for at in range(len(stream)))) if part.whole]
    assert [data for data in said if data] == [data for data in bytewise if data]


def test_a_comment_is_not_held_back() -> None:
    splitter = Splitter()
    assert splitter.feed(b": ping\n") == [Part(b": ping\n", whole=False)]
    assert splitter.feed(b"\n: ping\r\n\r\n") != []
    assert splitter.held == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_long_event_streams_through_and_the_next_one_is_found(ending: bytes) -> None:
    splitter = Splitter()
    start = b"data: " + b"x" * HELD_EVENT
    assert splitter.feed(start) == [Part(start, whole=False)]
    for _ in range(1000):
        assert splitter.feed(b"y" * 1000) == [Part(b"y" * 1000, whole=False)]
    assert splitter.held == 0
    parts = splitter.feed(ending) + splitter.feed(ending + b"data: next" + ending) + splitter.feed(ending)
    assert data_of(parts[-1].text) == b"next"
    assert parts[-1].whole


def test_an_event_that_has_to_be_whole_is_held_up_to_a_bound() -> None:
    asked: list[bytes] = []

    def must_hold(begun: bytes) -> bool:
        asked.append(begun)
        return True

    splitter = Splitter(must_hold)
    assert splitter.feed(b"data: " + b"x" * HELD_EVENT) == []
    assert splitter.feed(b"y" * 100_000) == []
    (part,) = splitter.feed(b"\n\n")
    assert part.whole
    assert len(part.text) == len(b"data: ") + HELD_EVENT + 100_000 + 2
    assert len(asked) == 1
    splitter.feed(b"data: " + b"x" * HELD_EVENT)
    with pytest.raises(EventTooLong):
        splitter.feed(b"z" * LONGEST_EVENT)


def test_the_lines_of_an_event_are_told_apart_and_its_data_replaced() -> None:
    event = b"\xef\xbb\xbfdata: {\r\nid: 5\r\n:data: no\r\nevent: message\r\nretry: 3\r\ndata:}\r\n\r\n"
    assert data_of(event) == b"{\n}"
    assert kind_of(event) == b"message"
    assert is_numbered(event)
    assert not is_numbered(b"data: id: 5\n\n")
    assert sse.with_data(event, b"[\n]") == (
        b"data: [\r\ndata: ]\r\nid: 5\r\n:data: no\r\nevent: message\r\nretry: 3\r\n\r\n"
    )
