import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import Reason
from gateway.model import Event, Moment
from gateway.observers import lines
from tests.unit.observers.observer_records import record

HOSTILE = "a\r\nb\0c\x1b[31m\x7f\x85\u2028\u2029\u202e\u2066\ufeff\ud800\U000e0041z"
TEXTS = st.text(st.characters(codec=None), max_size=3000)


def same(text: str) -> str:
    return text


def is_one_harmless_line(line: bytes) -> None:
    assert len(line) <= lines.LONGEST_LINE
    text = line.decode()
    assert text.isascii() or not lines._UNSAFE.search(text)
    assert not any(ord(c) < 32 for c in text)
    assert isinstance(json.loads(text), dict)


def test_hostile_text_is_escaped_and_still_readable() -> None:
    line = lines.dumps({"text": lines.clean(HOSTILE)})
    is_one_harmless_line(line)
    assert orjson.loads(line)["text"] == HOSTILE.replace("\ud800", "\\ud800")


@given(TEXTS, TEXTS, TEXTS)
def test_a_call_line_is_one_harmless_line_whatever_its_names(tool: str, run: str, trace: str) -> None:
    meta = record(tool=tool, run_id=run, trace_id=trace)[: lines.META]
    line = lines.CallLines(same).line(meta) + b',"sampled":false}'
    is_one_harmless_line(line)
    assert json.loads(line) == json.loads(lines.dumps(lines.call_fields(meta, same) | {"sampled": False}))


def test_a_line_that_stands_half_ready_is_the_line_of_its_own_call() -> None:
    """The second of two calls that differ only in what every call has of its own."""
    calls = lines.CallLines(str.upper)
    first = record(tool="100%s", agent_id="a", errors=("reset",), report_reason=Reason.MAX_STEPS)
    second = first._replace(
        at=Moment(1.0, 1_790_000_001.5), call_id="c-2", run_id=None, trace_id="t", args_hash="", duration_ms=0.0625, waited_ms=5.0,
        bytes_in=1, bytes_out=2, cost_micro_usd=1,
    )  # fmt: skip
    for call in (first, second, second._replace(tool="other"), first):
        meta = call[: lines.META]
        told = json.loads(calls.line(meta) + b"}")
        assert told == json.loads(lines.dumps(lines.call_fields(meta, str.upper)))
        assert told["tool"] == call.tool.upper()


@given(
    st.dictionaries(
        st.sampled_from(["file", "key", "problem", "problems", "n"]),
        TEXTS | st.lists(TEXTS, max_size=30) | st.integers(),
    )
)
def test_an_event_line_is_one_harmless_line_whatever_its_fields(fields: dict[str, object]) -> None:
    is_one_harmless_line(lines.event_line(Event("policy_rejected", Moment(0, 0), fields), same, same))


@given(
    st.binary(max_size=600) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.integers(16, 700),
    st.booleans(),
)
def test_a_payload_is_json_within_its_limit(text: bytes, limit: int, goes_on: bool) -> None:
    line = lines.payload(text, limit, goes_on)
    assert len(line) <= limit
    json.loads(line)


def test_a_document_stands_in_the_line_as_it_came() -> None:
    document = b'{"n":123456789012345678901234567890,"n":1.0,"t":"\xc3\xa9"}'
    assert lines.payload(document, 200, False) == document


def test_what_is_no_single_document_is_a_string() -> None:
    for text in (b'{"a":1}{"b":2}', b"plain", b"NaN", b'"\xff"', b'["\\ud800"]', b"[" * 600 + b"]" * 600, b"9" * 400):
        assert isinstance(json.loads(lines.payload(text, 2000, False)), str)


def test_a_cut_payload_says_so() -> None:
    assert json.loads(lines.payload(b"word " * 100, 50, False)).endswith("…")
    assert json.loads(lines.payload(b'{"a":1}', 50, True)).endswith("…")


def test_the_keys_of_a_tool_call_line() -> None:
    fields = lines.call_fields(record(reason=Reason.TOOL_ERROR, errors=("reset",))[: lines.META], same)
    assert list(fields | {"sampled": True}) == [
        "ts", "event", "call_id", "run_id", "agent_id", "trace_id", "door", "tool", "effect", "args_hash", "decision", "reason",
        "stop_reason", "status", "attempts", "errors", "duration_ms", "waited_ms", "bytes_in", "bytes_out", "cost_usd", "policy",
        "candidate", "sampled",
    ]  # fmt: skip
    assert fields["ts"] == "2026-09-21T14:13:20.250Z"
    assert (fields["duration_ms"], fields["cost_usd"], fields["errors"]) == (12.346, 0.0015, ("reset",))


def test_a_reported_call_names_the_rule() -> None:
    fields = lines.call_fields(record(report_reason=Reason.TOOL_NOT_ALLOWED)[: lines.META], same)
    assert fields["report_reason"] == "tool_not_allowed"
