"""What was written whole is read back as it was, and nothing else is believed."""

import hypothesis.strategies as st
from hypothesis import given

from gateway.model import RunKey
from gateway.state.stores.records import CHARGE, END, HEADER, REFUND, STEP, Entry, entries, record

names = st.text(st.characters(exclude_characters="\0"), max_size=40)
written = st.builds(
    Entry,
    kind=st.sampled_from([CHARGE, REFUND, STEP, END]),
    key=st.builds(RunKey, names, names),
    began=st.floats(allow_nan=False),
    at=st.floats(allow_nan=False),
    spend=st.integers(0, 2**62),
    step=st.none() | st.integers(1, 2**31 - 1),
    words=st.lists(names, min_size=1, max_size=2).map(tuple),
)


def bytes_of(entry: Entry) -> bytes:
    return record(entry.kind, entry.key, entry.began, entry.at, entry.spend, entry.step or 0, "\0".join(entry.words))


@given(st.lists(written, max_size=5))
def test_whole_records_come_back_in_their_order(many: list[Entry]) -> None:
    assert entries(HEADER + b"".join(map(bytes_of, many))) == (many, 0)


@given(st.lists(written, min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(many: list[Entry], data: st.DataObject) -> None:
    pieces = [HEADER, *map(bytes_of, many)]
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]
    survive = sum(end <= cut for end in ends[1:])
    read = ends[survive] if cut >= len(HEADER) else 0
    assert entries(whole[:cut]) == (many[:survive], cut - read)


@given(st.lists(written, min_size=1, max_size=4), st.data())
def test_a_byte_that_changed_ends_what_is_believed(many: list[Entry], data: st.DataObject) -> None:
    whole = bytearray(HEADER + b"".join(map(bytes_of, many)))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    found, rest = entries(bytes(whole))
    assert found == many[: len(found)]
    assert len(found) < len(many)
    assert rest > 0


@given(st.binary(max_size=200))
def test_what_a_loss_of_power_leaves_instead_is_no_record(noise: bytes) -> None:
    assert entries(HEADER + b"\0" * len(noise)) == ([], len(noise))
    assert entries(b"\0" * 8 + noise)[0] == []
