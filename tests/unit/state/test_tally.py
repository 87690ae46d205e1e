"""Calls by tool: exact for as many tools as are remembered, tighter and never looser beyond."""

import pytest

from gateway.state import tally as tally_module
from gateway.state.tally import Tally


def test_each_tool_is_counted_on_its_own() -> None:
    tally = Tally([("notes.write", 2)])
    for _ in range(3):
        tally.add("search.read")
    tally.take_back("search.read")
    assert (tally.of("search.read"), tally.of("notes.write"), tally.of("mail.send")) == (2, 2, 0)
    assert dict(tally.made()) == {"notes.write": 2, "search.read": 2}


def test_what_was_never_counted_cannot_be_taken_back() -> None:
    tally = Tally()
    tally.take_back("search.read")
    tally.add("search.read")
    tally.take_back("search.read")
    tally.take_back("search.read")
    assert tally.of("search.read") == 0
    assert tally.made() == ()


def test_names_without_end_share_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MOST_TOOLS", 3)
    tally = Tally()
    for tool in ("a", "b", "c", "made.up.1", "made.up.2"):
        tally.add(tool)
    assert [tally.of(tool) for tool in ("a", "b", "c")] == [1, 1, 1]
    assert tally.of("made.up.3") == 2, "an agent that invents names gets no fresh limit with each"
    tally.take_back("made.up.1")
    assert tally.of("made.up.2") == 1
    assert len(tally.made()) == 4
