"""What the loop guard is told, against a plain counter; and that no run, and no invention of runs, makes it remember without end."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model import RunKey
from gateway.state import repeats as repeats_module
from gateway.state.repeats import Repeats

RUNS = [RunKey("a", "1"), RunKey("a", "2"), RunKey("b", "1")]
runs, hashes = st.sampled_from(RUNS), st.sampled_from("wxyz")


class RepeatsAndCounter(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.repeats = Repeats()
        self.counter: Counter[tuple[RunKey, str]] = Counter()

    @rule(run=runs, args_hash=hashes)
    def add(self, run: RunKey, args_hash: str) -> None:
        self.repeats.add(run, args_hash)
        self.counter[run, args_hash] += 1

    @rule(run=runs, args_hash=hashes)
    def take_back(self, run: RunKey, args_hash: str) -> None:
        self.repeats.take_back(run, args_hash)
        self.counter[run, args_hash] = max(0, self.counter[run, args_hash] - 1)

    @rule(run=runs)
    def forget(self, run: RunKey) -> None:
        self.repeats.forget(run)
        for args_hash in "wxyz":
            del self.counter[run, args_hash]

    @invariant()
    def both_say_the_same(self) -> None:
        for run in RUNS:
            for args_hash in "wxyz":
                assert self.repeats.of(run, args_hash) == self.counter[run, args_hash]
        assert len(self.repeats) == sum(count > 0 for count in self.counter.values())


TestRepeatsAndCounter = RepeatsAndCounter.TestCase
TestRepeatsAndCounter.settings = settings(stateful_step_count=30)


def test_of_a_run_the_calls_not_made_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "MOST_OF_A_RUN", 3)
    repeats = Repeats()
    for args_hash in ("loop", "a", "b", "loop", "c", "loop"):
        repeats.add(RUNS[0], args_hash)
    assert (repeats.of(RUNS[0], "loop"), repeats.of(RUNS[0], "a"), len(repeats)) == (3, 0, 3)


def test_over_all_runs_those_that_have_not_called_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "MOST_REMEMBERED", 10)
    repeats = Repeats()
    repeats.add(RUNS[0], "loop")
    for made_up in range(1000):
        repeats.add(RunKey("hostile", str(made_up)), "x")
        if made_up % 5 == 0:
            repeats.add(RUNS[0], "loop")
    assert len(repeats) == 10
    assert repeats.of(RUNS[0], "loop") == 201
    assert repeats.of(RunKey("hostile", "1"), "x") == 0
