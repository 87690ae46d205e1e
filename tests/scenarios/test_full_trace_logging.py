"""The incident this project began with: full tool results logged by default, the reader of stdout stuck, memory climbing to the kill.

A process of its own logs 1 MB results at sample rate 1.0 to a real pipe on stdout that nobody reads.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CALLS = 12_000

GATEWAY = f"""
import json, resource, sys, time
from gateway.model import Decision, Event, Moment, Reason
from gateway.observers.log import Log
from gateway.policy.snapshot import Observability
from tests.unit.observers.observer_records import record

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def dropped():
    return {{kind: lines for kind, lines in log.dropped.items() if lines}}

clock = lambda: Moment(time.monotonic(), time.time())
loud = Observability(result_sample_rate=1.0, max_log_bytes_per_second=2**40)
log = Log("-", observability=loud, sample_key=b"k", clock=clock)
log.start()
results = [record(result=bytes([65 + n]) * 1_000_000) for n in range(20)]
before, most = megabytes(), 0
for n in range({CALLS}):
    log.call_ended(results[n % 20]._replace(call_id=f"c-{{n}}", at=clock()))
    most = max(most, log.queued_bytes)
for n in range(4_000):
    log.call_ended(results[0]._replace(decision=Decision.DENY, reason=Reason.KILL_SWITCH))
log.happened(Event("kill_switch", clock(), {{"scope": "all"}}))
grown = megabytes() - before
print(json.dumps({{"most": most, "grown": grown, "dropped": dropped()}}), file=sys.stderr, flush=True)
sys.stdin.readline()
before = time.monotonic()
log.close(float(sys.argv[1]))
print(json.dumps({{"closing": time.monotonic() - before, "dropped": dropped()}}), file=sys.stderr, flush=True)
"""


def gateway(close_within: float) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", GATEWAY, str(close_within)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("{"), line + process.stderr.read()
    return dict(json.loads(line))


def test_a_pipe_that_nobody_reads_delays_no_call_and_fills_no_memory() -> None:
    with gateway(close_within=60) as process:
        while_stuck = told(process)  # comes only if no call waited for the reader
        assert while_stuck["most"] <= 8 * 1024 * 1024
        assert while_stuck["grown"] < 32
        assert set(while_stuck["dropped"]) == {"payload", "ok", "denial"}
        output, errors = process.communicate("read on\n")
    lines = [json.loads(line) for line in output.splitlines()]
    assert all(len(line) <= 8192 for line in output.splitlines())
    calls = [line for line in lines if line["event"] == "tool_call"]
    dropped = json.loads(errors)["dropped"]
    reported = [line["dropped"] for line in lines if line["event"] == "log_dropped"]
    assert {kind: sum(each.get(kind, 0) for each in reported) for kind in dropped} == dropped
    assert len([line for line in calls if line["decision"] == "allow"]) == CALLS - dropped["ok"]
    assert len([line for line in calls if line["decision"] == "deny"]) == 4_000 - dropped["denial"]
    assert len([line for line in lines if line["event"] == "kill_switch"]) == 1


def test_a_pipe_that_nobody_reads_does_not_keep_the_process_from_ending() -> None:
    with gateway(close_within=1) as process:
        told(process)
        assert process.stdin is not None
        process.stdin.write("end\n")
        process.stdin.flush()
        assert told(process)["closing"] < 10
        assert process.wait(30) == 0
