"""docs/log.md names every event and every key that the code writes."""

import re
from pathlib import Path

from gateway.denial import Reason
from gateway.observers.lines import META, call_fields
from tests.unit.observers.observer_records import record

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "log.md").read_text("utf-8")
EMITTED = re.compile(r'(?:\bEvent\(\s*|_tell\(\s*)"([a-z_]+)"')


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    emitted = {name for file in (ROOT / "gateway").rglob("*.py") for name in EMITTED.findall(file.read_text("utf-8"))}
    events = REFERENCE.partition("## Events")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", events, re.MULTILINE)) == emitted
    assert "policy_loaded" in emitted


def test_every_key_of_a_call_is_explained() -> None:
    calls = REFERENCE.partition("## Calls")[2].partition("## ")[0]
    explained = set(re.findall(r"`([a-z_]+)`", calls))
    written = call_fields(record(report_reason=Reason.MAX_STEPS)[:META], str)
    assert {*written, "sampled"} <= explained | {"ts", "event"}
