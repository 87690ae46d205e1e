import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.denial import Reason
from gateway.model import Decision, Event, Moment
from gateway.observers import log as log_module
from gateway.observers.log import Log
from gateway.policy.snapshot import Observability, Redaction
from tests.unit.observers.observer_records import record
from tests.unit.observers.planted_secrets import CREDENTIALS, PERSONAL
from tests.unit.observers.redaction.test_redact import hidden

FULL = Observability(result_sample_rate=1.0, max_logged_bytes=2048, max_log_bytes_per_second=2**40)
NOW = Moment(5.0, 1_790_000_000.0)


def a_log(path: Path | str, observability: Observability = FULL, **options: Any) -> Log:
    return Log(str(path), observability=observability, sample_key=b"k", clock=lambda: NOW, **options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


def lost(log: Log) -> dict[str, int]:
    """As log_dropped tells it."""
    return {kind: lines for kind, lines in log.dropped.items() if lines}


def until(condition: Any) -> None:
    """Polls what another thread does; the test's own timeout bounds it."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("never came true")


def written(path: Path, *records: Any, observability: Observability = FULL) -> list[dict[str, Any]]:
    log = a_log(path, observability)
    log.start()
    for each in records:
        log.happened(each) if isinstance(each, Event) else log.call_ended(each)
    log.close(5)
    return lines_of(path)


def test_a_sampled_call_carries_its_payloads_and_others_do_not(path: Path) -> None:
    call = record(args=b'{"q":"x","password":"hunter2"}\n', target="/a?b=c", result=b"hello")
    sampled = written(path, call)[0]
    assert (sampled["sampled"], sampled["args"]) == (True, {"q": "x", "password": "[redacted]"})
    assert (sampled["target"], sampled["result"]) == ("/a?b=c", "hello")
    quiet = written(path, call, observability=Observability(result_sample_rate=0.0))[1]
    assert quiet["sampled"] is False
    assert not {"args", "result", "target"} & quiet.keys()


def test_the_file_belongs_to_its_owner_alone_and_is_appended_to(path: Path) -> None:
    written(path, record(call_id="c-1"))
    assert [line["call_id"] for line in written(path, record(call_id="c-2"))] == ["c-1", "c-2"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_a_line_that_a_killed_process_left_spoils_no_line_of_ours(path: Path) -> None:
    path.write_bytes(b'{"event":"gateway_started"}\n{"event":"tool_ca')
    log = a_log(path)
    log.start()
    log.call_ended(record())
    log.close(5)
    torn, ours = path.read_bytes().splitlines()[1:]
    assert torn == b'{"event":"tool_ca'
    assert json.loads(ours)["event"] == "tool_call"


def test_planted_secrets_reach_no_byte_of_the_log(path: Path) -> None:
    secrets = {**CREDENTIALS, **PERSONAL}
    calls = [
        record(
            args=json.dumps({"q": f"use {secret} please"}).encode(),
            result=f"it was {secret} indeed".encode(),
            target=f"?q={secret}",
            tool=secret if kind == "github" else "search.read",
        )
        for kind, secret in secrets.items()
    ]
    events = [
        Event("upstream_unreachable", NOW, {"problem": f"said {secret}", "more": [secret]})
        for secret in secrets.values()
    ]
    written(path, *calls, *events)
    text = path.read_bytes().replace(b"\\n", b"\n")
    assert len(path.read_text().splitlines()) == 2 * len(secrets)
    assert not [kind for kind, secret in secrets.items() if not hidden(secret, text)]


def test_a_long_payload_is_cut_and_the_line_stays_short(path: Path) -> None:
    big = Observability(result_sample_rate=1.0, max_logged_bytes=65536)
    call = record(args=b'{"q":[' + b'"word",' * 40_000, result="é\x01 ".encode() * 40_000, target="?" + "a=b&" * 5000)
    for observability in (FULL, big):
        line = written(path, call, observability=observability)[-1]
        raw = path.read_bytes().splitlines()[-1]
        assert len(raw) <= 8192
        assert line["args"].startswith('{"q":["word","word"')
        for key in ("args", "result"):
            assert len(json.dumps(line[key], ensure_ascii=False).encode()) <= observability.max_logged_bytes


def test_a_secret_across_the_end_of_what_is_logged_is_recognised_whole(path: Path) -> None:
    text = ("lorem ipsum " * 200)[: 2048 - 22] + " DE89 3704 0044 0532 0130 00 " + "lorem ipsum " * 200
    assert "DE89" not in written(path, record(result=text.encode()))[0]["result"]


def test_bytes_that_are_no_text_are_not_shown(path: Path) -> None:
    assert written(path, record(result=b"p\0a\0s\0s\0"))[0]["result"] == "[binary]"


def test_the_byte_rate_bounds_payloads_and_not_lines(path: Path) -> None:
    slow = Observability(result_sample_rate=1.0, max_log_bytes_per_second=1000)
    told = written(path, *[record(result=b"word " * 20) for _ in range(50)], observability=slow)
    payloads = [line["result"] for line in told if "result" in line]
    assert 1000 <= sum(len(p) + 2 for p in payloads) <= 1102
    assert len([line for line in told if line["event"] == "tool_call"]) == 50
    assert told[-1]["event"] == "log_dropped"
    assert told[-1]["dropped"] == {"payload": 50 - len(payloads)}


def test_a_reload_changes_what_is_sampled_and_hidden(path: Path) -> None:
    log = a_log(path, Observability(result_sample_rate=0.0))
    log.configure(Observability(result_sample_rate=1.0, redaction=Redaction(keys=("colour",))))
    log.start()
    log.call_ended(record(args=b'{"colour":"red"}'))
    log.close(5)
    assert lines_of(path)[0]["args"] == {"colour": "[redacted]"}


def test_events_and_calls_are_written_in_order(path: Path) -> None:
    told = written(path, record(call_id="c-1"), Event("run_finished", NOW, {"run_id": "r"}), record(call_id="c-2"))
    assert [line.get("call_id", line["event"]) for line in told] == ["c-1", "run_finished", "c-2"]
    assert told[1] == {"ts": "2026-09-21T14:13:20.000Z", "event": "run_finished", "run_id": "r"}


def test_when_the_queue_fills_payloads_go_first_then_good_calls_then_denials(path: Path) -> None:
    log = a_log(path)  # not started: nobody takes anything from the queue
    denied = record(decision=Decision.DENY, reason=Reason.MAX_TOOL_CALLS, result=b"x" * 3000)
    seen: list[str] = []
    for kind, call in (("ok", record(result=b"x" * 3000)), ("denial", denied)):
        while not log.dropped.get(kind):
            log.call_ended(call)
            seen += [kind for kind in lost(log) if kind not in seen]
            assert log.queued_bytes <= log_module.QUEUE_BYTES
    assert seen == ["payload", "ok", "denial"]
    log.happened(Event("kill_switch", NOW, {"scope": "all"}))
    log.happened(Event("upstream_unreachable", NOW))
    assert log.dropped["event"] == 1
    log.start()
    log.close(30)
    told = lines_of(path)
    other = [line for line in told if line["event"] != "tool_call"]
    assert [line["event"] for line in other] == ["log_dropped", "kill_switch"]
    assert other[0]["dropped"] == lost(log)


def test_the_queue_of_events_is_bounded_too(path: Path) -> None:
    log = a_log(path)
    for n in range(log_module._EVENTS + 7):
        log.happened(Event("policy_rejected", NOW, {"n": n}))
    assert lost(log) == {"event": 7}


def test_a_file_that_vanishes_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.observers.sink._LOOK_SECONDS", 0.0)
    log = a_log(path)
    log.start()
    log.call_ended(record(call_id="c-1"))
    until(path.read_bytes)
    path.unlink()
    log.call_ended(record(call_id="c-2"))
    log.close(5)
    assert [line["call_id"] for line in lines_of(path)] == ["c-2"]


def test_a_rotated_file_is_followed_on_reopen(path: Path) -> None:
    log = a_log(path)
    log.start()
    log.call_ended(record(call_id="c-1"))
    until(path.read_bytes)
    path.rename(path.with_suffix(".1"))
    log.reopen()
    log.call_ended(record(call_id="c-2"))
    log.close(5)
    assert [line["call_id"] for line in lines_of(path)] == ["c-2"]
    assert [line["call_id"] for line in lines_of(path.with_suffix(".1"))] == ["c-1"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_a_problem_and_not_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.observers.sink._RETRY_SECONDS", 0.01)
    path.symlink_to("/dev/full")
    log = a_log(path)
    log.start()
    log.call_ended(record(call_id="c-1"))
    until(lambda: log.problem)
    assert "No space" in str(log.problem)
    path.unlink()
    log.reopen()
    until(lambda: path.exists() and path.read_bytes())
    assert [line["call_id"] for line in lines_of(path)] == ["c-1"]
    until(lambda: log.problem is None)
    log.close(5)


def test_a_line_torn_by_a_full_disk_is_written_whole_to_the_next_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.observers.sink._RETRY_SECONDS", 0.01)
    write, room = os.write, 1000

    def on_a_small_disk(fd: int, text: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        done = write(fd, text[:room])
        room -= done
        return done

    monkeypatch.setattr("gateway.observers.sink.os.write", on_a_small_disk)
    log = a_log(path)
    for n in range(4):
        log.call_ended(record(call_id=f"c-{n}"))
    log.start()
    until(lambda: log.problem)
    path.rename(path.with_suffix(".1"))
    log.reopen()
    room = 10**6
    log.close(5)
    *whole, torn = path.with_suffix(".1").read_bytes().split(b"\n")
    assert torn
    told = [json.loads(line)["call_id"] for line in whole] + [line["call_id"] for line in lines_of(path)]
    assert told == ["c-0", "c-1", "c-2", "c-3"]


def test_a_reader_that_is_gone_does_not_keep_the_gateway_from_ending(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = a_log(path)
    log.start()
    for _ in range(500):
        log.call_ended(record())
    until(lambda: log._taken > 0)
    before = time.monotonic()
    log.close(0.5)
    assert time.monotonic() - before < 5
    assert log.dropped["ok"] > 0
    os.close(reader)


def test_a_file_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        a_log(tmp_path / "missing" / "gateway.log").start()


def test_nothing_is_written_unredacted_where_what_redacts_cannot_be_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = a_log(path)
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "gateway.observers.redaction.redact", None)
        log.start()
        log.call_ended(record(call_id="c-1", args=b"hunter2"))
        log.call_ended(record(call_id="c-2"))
        log.happened(Event("kill_switch", NOW, {"reason": "hunter2"}))
        until(lambda: log.dropped["ok"] and log.dropped["event"])
        assert str(log.problem).startswith("redaction cannot be loaded (ModuleNotFoundError)")
    log.call_ended(record(call_id="c-3", args=b"password=hunter2"))
    log.close(5)
    assert log.problem is None
    assert b"hunter2" not in path.read_bytes()
    told = lines_of(path)
    assert [line["call_id"] for line in told if line["event"] == "tool_call"] == ["c-2", "c-3"]
    dropped = [line["dropped"] for line in told if line["event"] == "log_dropped"]
    assert sum((Counter(each) for each in dropped), Counter()) == {"ok": 1, "event": 1}


def test_names_in_events_stay_the_names_that_their_calls_have(path: Path) -> None:
    run, secret = "4111111111111111", CREDENTIALS["github"]
    named = Event("run_finished", NOW, {"run_id": run, "agent_id": secret, "reason": run})
    call, event = written(path, record(run_id=run, agent_id=secret), named)
    assert call["run_id"] == event["run_id"] == run
    assert call["agent_id"] == event["agent_id"] == "[redacted:github_token]"
    assert event["reason"] == "[redacted:card]"
