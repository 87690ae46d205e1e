"""What is set through the governed door is bounded in all, and what cannot be read keeps the gateway from starting."""

import json

import pytest

from gateway.doors.governed import governance
from gateway.doors.governed.governance import Governance
from gateway.doors.governed.shelf import FullError
from gateway.model import Moment
from gateway.policy.governed import ApiPolicy, Governing, read, read_tool
from gateway.state.stores import StoreError


class Notes:
    """A store that keeps all it is given."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def put(self, name: str, value: str | None) -> None:
        if value is None:
            del self.kept[name]
        else:
            self.kept[name] = value


def governing(notes: Notes) -> Governance:
    return Governance(
        notes.kept,
        put_note=notes.put,
        changed=lambda _: None,
        switched=lambda _: None,
        clock=lambda: Moment(0.0, 0.0),
    )


def a_policy(agent: str, tools: int) -> Governing:
    return Governing(read(ApiPolicy, {"agent_id": agent, "blocked_tools": [f"tool{n:05}" for n in range(tools)]}))


async def test_all_of_it_takes_so_many_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governance, "MOST_BYTES", 5000)
    notes = Notes()
    first = governing(notes)
    await first.put_policy(a_policy("a1", 300))
    later = governing(notes)  # of the next process
    with pytest.raises(FullError, match="5000 bytes"):
        await later.put_policy(a_policy("a2", 300))
    assert [*later.overlay.policies] == ["a1"]
    await later.put_policy(a_policy("a1", 5))
    await later.put_policy(a_policy("a2", 300))
    with pytest.raises(FullError):
        await later.put_tool(read_tool({"name": "x", "url": "http://example.com/" + "x" * 1500}))
    await later.disable("a1", "x" * 500, "governed.api_key")  # a stop is never refused for want of room
    assert sum(map(len, notes.kept.values())) < 5000


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("governed.disabled:a1", "[]"),
        ("governed.disabled:a1", '{"reason": "r", "who": "w"}'),
        ("governed.disabled:a1", '{"reason": "r", "who": "w", "since": "now"}'),
        ("governed.disabled:a1", "{"),
        ("governed.policy:a1", "[]"),
        ("governed.tool:global x", json.dumps({"name": "x"})),
        ("governed.tool:global x", "7"),
    ],
)
def test_a_note_that_cannot_be_read_is_told(name: str, note: str) -> None:
    notes = Notes()
    notes.kept[name] = note
    with pytest.raises(StoreError, match="set at /v1, cannot be read"):
        governing(notes)


async def test_what_another_gateway_wrote_that_cannot_be_read_changes_nothing() -> None:
    notes = Notes()
    first = governing(notes)
    await first.put_policy(a_policy("a1", 1))
    with pytest.raises(StoreError):
        first.take_up({"governed.policy:a1": "{"})
    assert [*first.overlay.policies] == ["a1"]
