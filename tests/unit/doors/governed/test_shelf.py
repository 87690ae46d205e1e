"""Records that go when their time is up: whatever is put when, the shelf is what a plain list would be, also in the next process."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doors.governed import shelf as shelves
from gateway.doors.governed.shelf import FullError, Shelf
from gateway.state.stores import StoreError

KEYS = ["a", "b", "c"]


class Notes:
    """A store that can be out of reach."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {"another": "note"}
        self.failing = False

    async def put(self, name: str, value: str | None) -> None:
        if self.failing:
            raise StoreError("out of reach")
        if value is None:
            del self.kept[name]
        else:
            self.kept[name] = value

    def shelf(self) -> Shelf:
        return Shelf("x:", self.kept, self.put)


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "fail", "pass", "again"]), st.sampled_from(KEYS), st.integers(1, 5)),
    max_size=30,
)


@given(STEPS)
def test_what_is_found_is_what_was_put_and_has_time_left(steps: list[tuple[str, str, int]]) -> None:
    asyncio.run(play(steps))


async def play(steps: list[tuple[str, str, int]]) -> None:
    notes, now = Notes(), 0.0
    shelf = notes.shelf()
    model: dict[str, tuple[float, Any]] = {}
    for number, (step, key, seconds) in enumerate(steps):
        if step == "pass":
            now += seconds
        elif step == "again":
            shelf = notes.shelf()
        else:
            notes.failing = step == "fail"
            try:
                await shelf.put(key, now + seconds, {"n": number}, now)
                model[key] = now + seconds, {"n": number}
            except StoreError:
                assert notes.failing
            notes.failing = False
        assert shelf._size == sum(len(note) for name, note in notes.kept.items() if name != "another")
        for name in KEYS:
            until, fields = model.get(name, (0.0, None))
            assert shelf.find(name, now) == (fields if until > now else None)
    await shelf.put("end", now + 100, {}, now + 10)
    assert sorted(notes.kept) == ["another", "x:end"]


async def test_there_is_room_for_so_many_and_for_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MOST_RECORDS", 5)
    monkeypatch.setattr(shelves, "MOST_BYTES", 1000)
    notes = Notes()
    shelf = notes.shelf()
    with pytest.raises(FullError):
        await shelf.put("a", 10.0, {"text": "x" * 1000}, 0.0)
    for n in range(5):
        await shelf.put(f"k{n}", 10.0, {}, 0.0)
    before = dict(notes.kept)
    for later in (shelf, notes.shelf()):
        with pytest.raises(FullError):
            await later.put("a", 10.0, {}, 0.0)
    assert notes.kept == before
    await shelf.put("k0", 20.0, {}, 0.0)  # in its own place
    await shelf.put("a", 20.0, {}, 10.0)
    assert shelf.find("a", 10.0) == {}


async def test_one_that_is_given_more_time_again_and_again_takes_no_more_room() -> None:
    shelf = Notes().shelf()
    for n in range(1000):
        await shelf.put("a", 1000.0 + n, {}, 0.0)
    assert len(shelf._due) < 200


@pytest.mark.parametrize("note", ["{", "[]", '{"until": "soon", "fields": {}}', '{"until": 1}'])
def test_a_note_that_cannot_be_read_is_told(note: str) -> None:
    with pytest.raises(StoreError, match="kept for /v1, cannot be read"):
        Shelf("x:", {"x:a": note}, Notes().put)
