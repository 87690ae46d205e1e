"""A breaker against a model of it that anybody can follow: whatever attempts, kills and time do, both say the same."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.bounds import BreakerBounds
from gateway.state.breaker import Breakers, BreakerState, Trial

BOUNDS = BreakerBounds(failures=2, open_for=10.0)
WORDS = st.sampled_from(["succeeded", "answered", "failed", "forgotten"])


@dataclass
class AnAttempt:
    """What the model knows of an attempt at work."""

    trial: Trial
    era: int
    """How often the breaker had changed between closed and open when it began."""
    began: float
    probe: int
    """Its number among all probes; 0: none."""


class BreakerAndModel(RuleBasedStateMachine):
    """The model numbers the times at which the breaker closed or opened; an attempt of a former one has no say."""

    def __init__(self) -> None:
        super().__init__()
        self.breakers = Breakers()
        self.now = 100.0
        self.era = 0
        self.is_open = False
        self.row = 0
        self.free_from = 0.0
        """While it is open: no attempt before this instant."""
        self.probes = 0
        self.at_work: list[AnAttempt] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 7.9, 8.0, 10.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_until_an_attempt_may_be_made(self) -> None:
        self.now = max(self.now, self.free_from)

    @rule()
    def begin(self) -> None:
        trial = self.breakers.begin("search", BOUNDS, self.now)
        assert (trial is None) == (self.is_open and self.now < self.free_from)
        if trial is None:
            return
        if self.is_open:
            self.probes += 1
            self.free_from = self.now + BOUNDS.open_for
        self.at_work.append(AnAttempt(trial, self.era, self.now, self.probes if self.is_open else 0))

    @rule(times=st.integers(1, 3))
    def fail(self, times: int) -> None:
        """So that most of the time it is not closed."""
        for _ in range(times):
            self.begin()
            if self.at_work:
                self.end(-1, "failed", 0.5)

    @precondition(lambda self: self.is_open)
    @rule()
    def probes_hang(self) -> None:
        for _ in range(2):
            self.wait_until_an_attempt_may_be_made()
            self.begin()

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 9), word=WORDS, dice=st.sampled_from([0.0, 0.5]))
    def end(self, which: int, word: str, dice: float) -> None:
        attempt = self.at_work.pop(which % len(self.at_work))
        if word == "failed":
            attempt.trial.failed(self.now, dice)
        else:
            getattr(attempt.trial, word)()
        if attempt.era == self.era:
            self.hear(attempt, word, dice)

    def hear(self, attempt: AnAttempt, word: str, dice: float) -> None:
        if self.is_open:
            latest = attempt.probe == self.probes
            if word in ("succeeded", "answered"):
                self.is_open, self.row = False, 0
                self.era += 1
            elif word == "failed" and latest:
                self.opens(dice)
            elif word == "forgotten" and latest:
                self.free_from = 0.0
        elif word == "succeeded":
            self.row = 0
        elif word == "failed":
            self.row += 1
            if self.row == BOUNDS.failures:
                self.opens(dice)

    def opens(self, dice: float) -> None:
        self.is_open = True
        self.era += 1
        self.free_from = self.now + BOUNDS.open_for * (0.8 + 0.4 * dice)

    @invariant()
    def both_say_the_same(self) -> None:
        left = self.free_from - self.now if self.is_open else 0.0
        if any(attempt.probe == self.probes and attempt.era == self.era for attempt in self.at_work if attempt.probe):
            left = min(left, 1.0)
        assert (self.breakers.opens_in("search", self.now) or 0.0) == pytest.approx(max(left, 0.0))
        closed = self.breakers.state("search", self.now) is BreakerState.CLOSED
        assert closed == (not self.is_open)

    @invariant()
    def one_probe_at_a_time_but_for_those_that_hang(self) -> None:
        probing = [attempt for attempt in self.at_work if attempt.probe and attempt.era == self.era]
        assert sum(attempt.began + BOUNDS.open_for > self.now for attempt in probing) <= 1


TestBreakerAndModel = BreakerAndModel.TestCase
TestBreakerAndModel.settings = settings(stateful_step_count=40)
