"""Logs read back: what is understood, what is skipped, what is damaged; whatever is in them, no traceback."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.findings import findings_view
from gateway.cli.recording import Recording
from gateway.cli.simulating import findings_lines, simulated
from gateway.denial import Reason
from gateway.model import Moment, RunKey
from gateway.observers.lines import META, CallLines
from gateway.pipeline.recorded import Recorded, RunEnded, Switched
from gateway.pipeline.replay import Replay
from tests.unit.observers.observer_records import record
from tests.unit.policy.policy_texts import compiled


def a_line(**changes: object) -> bytes:
    """As the log writes it."""
    return CallLines(lambda name: name).line(record(**changes)[:META]) + b',"sampled":false}'


def nobody(_bytes: int) -> None:
    """No bar."""


def read(tmp_path: Path, content: bytes, name: str = "calls.log") -> Recording:
    (tmp_path / name).write_bytes(content)
    recording = Recording()
    recording.read(str(tmp_path / name), nobody)
    return recording


def only_call(recording: Recording) -> Recorded:
    [call] = recording.happened
    assert isinstance(call, Recorded)
    return call


def test_a_line_of_ours_is_a_call_that_began_its_duration_before(tmp_path: Path) -> None:
    call = only_call(read(tmp_path, a_line(at=Moment(7.0, 1_700_000_000.5), duration_ms=1500.0, run_id="r9") + b"\n"))
    assert (call.at, call.ended, call.run.id) == (1_699_999_999.0, 1_700_000_000.5, "r9")


def test_a_call_that_came_to_no_upstream_is_told_from_one_that_failed_there(tmp_path: Path) -> None:
    def unsent(**changes: object) -> bool:
        return only_call(read(tmp_path, a_line(reason=Reason.UPSTREAM_FAILED, **changes))).unsent

    assert unsent(attempts=2, errors=("refused", "dns"))
    assert unsent(attempts=0, errors=())
    assert not unsent(attempts=2, errors=("refused", "reset"))
    assert not unsent(attempts=2, errors=("refused",))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_compressed_logs_are_told_by_their_first_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    recording = read(tmp_path, pack(a_line() + b"\n" + a_line() + b"\n"))
    assert (recording.lines, len(recording.happened), recording.damaged) == (2, 2, 0)


def test_a_compressed_log_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(a_line(call_id=f"{n}") + b"\n" for n in range(5000)))
    recording = read(tmp_path, whole[: len(whole) // 2], "calls.log.gz")
    assert 0 < len(recording.happened) < 5000
    assert "breaks off or is damaged here" in recording.damage[-1]


def event(name: str, **fields: object) -> bytes:
    return json.dumps({"ts": "2026-11-22T10:00:00.000Z", "event": name, **fields}).encode() + b"\n"


def test_ends_that_do_not_depend_on_the_policy_are_taken_over(tmp_path: Path) -> None:
    ends = [("finish", False), ("kill_switch", True), ("max_tool_calls", None)]
    content = b"".join(event("run_finished", agent_id="a", run_id=word, stop_reason=word, steps=3) for word, _ in ends)
    recording = read(tmp_path, content)
    assert [(end.stop_reason, end.stopped) for end in recording.happened if isinstance(end, RunEnded)] == ends[:2]
    assert recording.steps[RunKey("a", "finish")] == 3


def test_switches_are_taken_over_but_the_policys_own(tmp_path: Path) -> None:
    said = {"scope": "tool:shell.*", "reason": "r", "who": "ops", "until": "2026-11-22T11:00:00.000Z", "action": "on"}
    content = event("kill_switch", source="runtime", **said) + event("kill_switch", source="policy", **said)
    [flip] = read(tmp_path, content).happened
    assert isinstance(flip, Switched)
    assert (str(flip.switch.scope), flip.on, (flip.switch.until or 0) - flip.at) == ("tool:shell.*", True, 3600.0)


def test_lines_that_the_gateway_could_not_write_are_counted(tmp_path: Path) -> None:
    recording = read(tmp_path, event("log_dropped", dropped={"ok": 3, "payload": 4}) + event("policy_loaded"))
    assert (recording.dropped, recording.others, recording.damaged) == (7, 2, 0)


GOOD = json.loads(a_line())
POLICY = compiled("tools: {allowlist: ['*']}\nupstreams: {default: {url: 'http://127.0.0.1:9'}}\n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"[1]", "no event of the gateway's log"),
        (b'{"ts": 1}', "no event of the gateway's log"),
        (json.dumps({**GOOD, "ts": "yesterday"}).encode(), "ts is no time"),
        (json.dumps({**GOOD, "ts": "0001-01-01T00:00:00Z"}).encode(), "ts is no time"),
        (json.dumps({**GOOD, "ts": "2026-11-22T10:00:00"}).encode(), "ts is no time"),
        (json.dumps({**GOOD, "duration_ms": 1e300}).encode(), "duration_ms is no duration"),
        (json.dumps({**GOOD, "reason": "because"}).encode(), "a word that this version does not know"),
        (json.dumps({**GOOD, "duration_ms": -1}).encode(), "duration_ms is no duration"),
        (json.dumps({**GOOD, "cost_usd": "free"}).encode(), "errors or cost_usd are not what they are in a tool_call"),
        (json.dumps({key: GOOD[key] for key in GOOD if key != "door"}).encode(), "lacks door"),
        (b"x" * (3 << 20), "longer than 1 MiB"),
    ],
)
def test_a_damaged_line_is_named_and_those_around_it_count(tmp_path: Path, line: bytes, why: str) -> None:
    recording = read(tmp_path, b"\n".join([a_line(), line, b"", a_line(), b""]))
    assert (len(recording.happened), recording.damaged) == (2, 1)
    assert recording.damage == [f"{tmp_path}/calls.log:2: {why}"]


@given(
    st.dictionaries(
        st.sampled_from(sorted(GOOD)), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    ),
    st.sampled_from(["tool_call", "run_finished", "kill_switch", "log_dropped"]),
)
def test_nothing_in_a_line_is_more_than_a_damaged_line(fields: dict[str, object], name: str) -> None:
    recording = Recording()
    recording._take(json.dumps({**GOOD, **fields, "event": name}).encode(), "calls.log", 1)
    assert recording.lines == 1
    assert recording.damaged + len(recording.happened) + recording.others == 1
    findings = simulated(Replay(POLICY), recording)
    assert json.dumps(findings_view("policies", POLICY, recording, findings))
    assert "".join(findings_lines("policies", POLICY, recording, findings))
