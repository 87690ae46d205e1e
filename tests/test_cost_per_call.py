"""What a call costs the event loop is held to what bench/cost.toml records, in a process of its own and by exact counts, not by a clock."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cost import KINDS, PYTHON, Cost, growth, recorded

ROOT = Path(__file__).parents[1]
MORE_FOR_EACH_CALL = """
import orjson
import bench.cost
from gateway.observers.recent import Recent

keep = Recent.call_ended

def more(self, record):
    {more}
    keep(self, record)

Recent.call_ended = more
bench.cost.main()
"""
PARSES = "[orjson.loads(b'{}') for _ in range(10)]"
LOOP = "for _ in range(400): pass"


def measured(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)


def costs(printed: str) -> dict[str, Cost]:
    lines = re.findall(r"^(.+?) +([\d.]+) bytecodes +([\d.]+) C calls$", printed, re.MULTILINE)
    return {kind: Cost(float(bytecodes), float(c_calls)) for kind, bytecodes, c_calls in lines}


@pytest.fixture(scope="module")
def today() -> "subprocess.CompletedProcess[str]":
    return measured("-m", "bench.cost")


def test_a_call_costs_no_more_than_recorded(today: "subprocess.CompletedProcess[str]") -> None:
    assert today.returncode == 0, today.stderr
    assert costs(today.stdout).keys() == KINDS.keys()


def test_documents_that_each_call_parses_beside_its_own_are_seen(today: "subprocess.CompletedProcess[str]") -> None:
    with_it = costs(measured("-c", MORE_FOR_EACH_CALL.format(more=PARSES)).stdout)
    for kind, before in costs(today.stdout).items():
        assert with_it[kind].c_calls > before.c_calls + 5
        assert with_it[kind].bytecodes > before.bytecodes


def test_a_loop_in_each_call_fails_and_says_what_to_do() -> None:
    failed = measured("-c", MORE_FOR_EACH_CALL.format(more=LOOP))
    assert failed.returncode == 1
    assert re.search(r"^allowed: [\d.]+ bytecodes a call, recorded [\d.]+: \+\d+\.\d%$", failed.stderr, re.MULTILINE)
    assert "python -m bench.cost --record" in failed.stderr


def test_a_tenth_more_is_tolerated_and_not_a_bit_beyond() -> None:
    before = {"allowed": {"bytecodes": 1000, "c_calls": 100}}
    assert growth({"allowed": Cost(1100, 110)}, before) == []
    assert growth({"allowed": Cost(1101, 100)}, before) == ["allowed: 1101 bytecodes a call, recorded 1000: +10.1%"]
    assert growth({"allowed": Cost(1000, 111)}, before) == ["allowed: 111 c_calls a call, recorded 100: +11.0%"]


def test_every_python_that_is_supported_has_its_figures() -> None:
    assert recorded().keys() == {"3.11", "3.12", "3.13"}
    assert PYTHON in recorded()
