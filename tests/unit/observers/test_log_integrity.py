"""Whatever stands in names, headers, paths, payloads, upstream errors and event fields: every line is one JSON object of at most 8 KiB."""

import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Event, Moment, Record
from gateway.observers.lines import LONGEST_LINE
from gateway.observers.log import Log
from gateway.policy.snapshot import Observability
from tests.unit.observers.observer_records import record

NOW = Moment(5.0, 1_790_000_000.0)
LOUD = Observability(result_sample_rate=1.0, max_logged_bytes=65536, max_log_bytes_per_second=2**40)
HOSTILE = (
    "\0", "\x07", "\x1b[2J\x1b]0;title\x07", "\b\b\b", "\r", "\n", "\r\n", "\v\f", "\x7f", "\x85", "\x9b31m",
    "\u2028", "\u2029", "\u200b", "\u200d", "\u200e", "\u202e", "\u2066x\u2069", "\u061c", "\ufeff", "\ufff9",
    "\ud800", "\udfff", "\ud800\udc00", "\U000e0041", "\U0001d173", "\U0010ffff", '"', "\\", '"}\n{"event":"forged"}', "\\u0000",
    '","agent_id":"root', "\u0301" * 40, "😀",
)  # fmt: skip
"""Control characters, terminal commands, line ends, bidi marks, invisible characters, lone surrogates, forged JSON."""

texts = st.one_of(
    st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(codec=None), max_size=8), max_size=20).map("".join),
    st.builds(lambda unit, n: unit * n, st.sampled_from(HOSTILE), st.integers(0, 1500)),
)
payloads = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=3000)
documents = st.recursive(
    texts | st.integers() | st.none(), lambda inner: st.dictionaries(texts, inner, max_size=3)
).map(lambda value: json.dumps(value, ensure_ascii=True).encode())
records = st.builds(
    record,
    tool=texts,
    run_id=texts,
    trace_id=texts,
    agent_id=texts,
    target=texts,
    args=payloads | documents,
    result=payloads | documents,
    detail=texts,
)
values = st.recursive(
    texts | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
events = st.builds(
    Event,
    st.sampled_from(["upstream_unreachable", "policy_rejected", "kill_switch", "run_finished"]),
    st.just(NOW),
    st.dictionaries(texts, values, max_size=4),
)


def written(told: list[Record | Event]) -> bytes:
    """The log's file after all of it was told."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.log"
        log = Log(str(path), observability=LOUD, sample_key=b"k", clock=lambda: NOW)
        log.start()
        for each in told:
            log.happened(each) if isinstance(each, Event) else log.call_ended(each)
        log.close(60)
        assert not any(log.dropped.values())
        return path.read_bytes()


def harmless(line: bytes) -> dict[str, Any]:
    """The line as a reader gets it."""
    assert len(line) <= LONGEST_LINE
    text = line.decode()  # strict: no lone surrogate, no stray byte
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    told = json.loads(text)
    assert isinstance(told, dict)
    return told


@settings(max_examples=40)
@given(st.lists(records | events, min_size=1, max_size=8))
def test_every_line_is_one_harmless_object_and_none_is_missing_or_forged(told: list[Record | Event]) -> None:
    file = written(told)
    assert file.endswith(b"\n")
    lines = [harmless(line) for line in file[:-1].split(b"\n")]
    assert [line["event"] for line in lines] == [each.name if isinstance(each, Event) else "tool_call" for each in told]
    assert [line["call_id"] for line in lines if line["event"] == "tool_call"] == [
        each.call_id for each in told if isinstance(each, Record)
    ]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_longest_names_and_payloads_of_one_kind_fit_a_line(hostile: str) -> None:
    long = hostile * 3000
    raw = long.encode("utf-8", "surrogatepass")
    call = record(tool=long, run_id=long, trace_id=long, agent_id=long, target=long, args=raw, result=raw)
    event = Event("policy_rejected", NOW, {long: long, "problems": [long] * 5, "more": {long: {long: long}}})
    lines = [harmless(line) for line in written([call, event]).splitlines()]
    assert [line["event"] for line in lines] == ["tool_call", "policy_rejected"]
