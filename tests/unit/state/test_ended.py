"""How a call ended, told to other gateways: they hear exactly what was said, or that they cannot read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import Denial, Reason
from gateway.model import Reply, RunKey
from gateway.state.ended import Ended, read, written

TEXTS = st.text(st.characters(), max_size=20)  # halves of surrogate pairs too: bytes of a header that are no text
DENIALS = st.builds(
    Denial,
    st.sampled_from([reason for reason in Reason if reason not in (Reason.OK, Reason.DEDUP)]),
    TEXTS,
    st.none() | TEXTS,
    st.none() | st.floats(0, 100),
    st.none() | st.integers(400, 599),
)
HEADERS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
ENDS = st.builds(
    Ended,
    TEXTS,
    TEXTS,
    st.builds(RunKey, TEXTS, TEXTS),
    st.none() | DENIALS,
    st.none() | st.tuples(st.integers(100, 599), HEADERS, st.none() | st.binary(max_size=50)),
    st.booleans(),
).map(lambda ended: ended if ended.reply is None else ended._replace(reply=Reply(*ended.reply)))  # type: ignore[misc]  # its parts so far


@given(ENDS)
def test_what_is_written_is_read_as_it_was(ended: Ended) -> None:
    text = written(ended)
    found = read(text)
    assert found is not None
    if ended.reply is not None and found.reply is not None:
        assert (found.reply.status, found.reply.headers, found.reply.body) == (
            ended.reply.status,
            ended.reply.headers,
            ended.reply.body,
        )
    assert found._replace(reply=None) == ended._replace(reply=None)
    assert (found.reply is None) == (ended.reply is None)
    assert text.isascii()
    assert "\n" not in text


GOOD = {"id": "c1", "args": "hash", "run": ["scout", "r1"], "sent": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "no JSON",
        json.dumps({**GOOD, "run": ["scout"]}),
        json.dumps({**GOOD, "denial": ["of a later version", "Why.", None, None, None]}),
        json.dumps({**GOOD, "reply": [200, [], "no base64!"]}),
        json.dumps({name: value for name, value in GOOD.items() if name != "args"}),
    ],
)
def test_what_another_version_wrote_is_read_whole_or_not_at_all(text: str) -> None:
    assert read(json.dumps(GOOD)) is not None
    assert read(text) is None
