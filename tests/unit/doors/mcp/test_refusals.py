import re

import pytest

from gateway.doors.mcp.refusals import CODE, DENIAL, REASON, dumped, wants_events

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
