"""What was written whole is read back as it was, and nothing else is believed."""

from math import inf, nan
from zlib import crc32

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.denial import Reason
from gateway.model import RunKey
from gateway.state.stores.records import CHARGE, END, HEADER, REFUND, STEP, Entry, entries, record

KEY = RunKey("a", "1")
names = st.text(st.characters(exclude_characters="\0"), max_size=40)
times = st.floats(allow_nan=False, allow_infinity=False)
one_word = st.tuples(st.sampled_from([CHARGE, REFUND, STEP]), st.tuples(names))
an_end = st.tuples(st.just(END), st.tuples(st.sampled_from([*map(str, Reason)]), names))
written = st.builds(
    lambda kind_and_words, key, began, at, spend, step: Entry(
        kind_and_words[0], key, began, at, spend, step, kind_and_words[1]
    ),
    one_word | an_end,
    st.builds(RunKey, names, names),
    times,
    times,
    st.integers(0, 2**62),
    st.none() | st.integers(1, 2**31 - 1),
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


@pytest.mark.parametrize(
    "strange",
    [
        record(b"X", KEY, 1.0, 1.0, 0, 0, "a"),
        record(CHARGE, KEY, nan, 1.0, 0, 0, "a"),
        record(CHARGE, KEY, 1.0, inf, 0, 0, "a"),
        record(CHARGE, KEY, 1.0, 1.0, -1, 0, "a"),
        record(CHARGE, KEY, 1.0, 1.0, 0, -1, "a"),
        record(CHARGE, KEY, 1.0, 1.0, 0, 0, "a\0b"),
        record(END, KEY, 1.0, 1.0, 0, 0, "run_finished"),
        record(END, KEY, 1.0, 1.0, 0, 0, "no_reason\0finish"),
        record(CHARGE, RunKey("\xff", "1"), 1.0, 1.0, 0, 0, "a").replace(b"\xc3\xbf", b"\xff\xff"),
    ],
)
def test_what_no_gateway_writes_is_damage_however_well_it_fits(strange: bytes) -> None:
    size, checksum = len(strange) - 8, crc32(strange[8:]).to_bytes(4, "little")
    strange = size.to_bytes(4, "little") + checksum + strange[8:]
    good = record(CHARGE, KEY, 1.0, 1.0, 0, 0, "a")
    found, rest = entries(HEADER + good + strange + good)
    assert (len(found), rest) == (1, len(strange) + len(good))
