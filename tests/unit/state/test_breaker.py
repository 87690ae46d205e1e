"""When an upstream is left alone, when it is probed, and whose word counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounds import BreakerBounds
from gateway.state.breaker import Breakers, BreakerState, Change, Trial

BOUNDS = BreakerBounds(failures=3, open_for=10.0)
SEARCH = "search"


def begin(breakers: Breakers, now: float = 0.0, bounds: BreakerBounds = BOUNDS) -> Trial:
    trial = breakers.begin(SEARCH, bounds, now)
    assert trial is not None
    return trial


def fail(breakers: Breakers, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        begin(breakers, now).failed(now, 0.5)


def opened(now: float = 0.0) -> Breakers:
    breakers = Breakers()
    fail(breakers, 3, now)
    return breakers


def lets_pass(breakers: Breakers, now: float) -> bool:
    """Asked like a guard: nothing begins."""
    return breakers.opens_in(SEARCH, now) is None


def test_it_opens_with_the_last_of_the_failures_in_a_row() -> None:
    breakers = Breakers()
    fail(breakers, 2)
    assert lets_pass(breakers, 0.0)
    fail(breakers, 1)
    assert not lets_pass(breakers, 0.0)
    assert breakers.begin(SEARCH, BOUNDS, 0.0) is None


def test_one_success_breaks_the_row() -> None:
    breakers = Breakers()
    fail(breakers, 2)
    begin(breakers).succeeded()
    fail(breakers, 2)
    assert lets_pass(breakers, 0.0)


def test_what_says_nothing_neither_breaks_nor_lengthens_the_row() -> None:
    breakers = Breakers()
    fail(breakers, 2)
    begin(breakers).forgotten()
    begin(breakers).answered()
    assert lets_pass(breakers, 0.0)
    fail(breakers, 1)
    assert not lets_pass(breakers, 0.0)


def test_it_says_how_long_it_stays_open() -> None:
    assert opened(5.0).opens_in(SEARCH, 8.0) == pytest.approx(7.0)


@given(st.floats(0, 1, exclude_max=True))
def test_it_is_probed_after_its_time_give_or_take_a_fifth(dice: float) -> None:
    breakers = Breakers()
    for _ in range(3):
        begin(breakers).failed(0.0, dice)
    wait = breakers.opens_in(SEARCH, 0.0)
    assert wait is not None
    assert 8.0 <= wait <= 12.0
    assert not lets_pass(breakers, wait * 0.999)
    assert lets_pass(breakers, wait)


def test_the_spread_uses_all_of_the_two_fifths() -> None:
    waits = []
    for dice in (0.0, 0.5, 1.0):
        breakers = Breakers()
        for _ in range(3):
            begin(breakers).failed(0.0, dice)
        waits.append(breakers.opens_in(SEARCH, 0.0))
    assert waits == pytest.approx([8.0, 10.0, 12.0])


def test_one_probe_at_a_time() -> None:
    breakers = opened()
    begin(breakers, 10.0)
    assert breakers.begin(SEARCH, BOUNDS, 10.0) is None
    assert breakers.opens_in(SEARCH, 10.0) == 1.0


def test_a_probe_that_succeeds_closes_it_and_the_row_begins_anew() -> None:
    breakers = opened()
    begin(breakers, 10.0).succeeded()
    fail(breakers, 2, 10.0)
    assert lets_pass(breakers, 10.0)
    fail(breakers, 1, 10.0)
    assert not lets_pass(breakers, 10.0)


def test_the_head_of_a_good_answer_is_enough_for_a_probe() -> None:
    breakers = opened()
    probe = begin(breakers, 10.0)
    probe.answered()
    assert lets_pass(breakers, 10.0)
    probe.failed(11.0, 0.5)
    assert lets_pass(breakers, 11.0)


def test_a_probe_that_fails_opens_it_again() -> None:
    breakers = opened()
    begin(breakers, 10.0).failed(12.0, 0.5)
    assert breakers.opens_in(SEARCH, 12.0) == pytest.approx(10.0)


def test_a_probe_that_was_killed_leaves_its_place_to_the_next() -> None:
    breakers = opened()
    begin(breakers, 10.0).forgotten()
    assert lets_pass(breakers, 10.0)
    begin(breakers, 10.0)
    assert not lets_pass(breakers, 10.0)


def test_a_probe_that_hangs_does_not_keep_the_next_one_away_for_ever() -> None:
    breakers = opened()
    hanging = begin(breakers, 10.0)
    assert breakers.opens_in(SEARCH, 19.5) == pytest.approx(0.5)
    second = begin(breakers, 20.0)
    hanging.failed(21.0, 0.5)
    hanging.forgotten()
    assert breakers.begin(SEARCH, BOUNDS, 21.0) is None, "the second probe is still at work"
    second.succeeded()
    assert lets_pass(breakers, 21.0)


def test_an_upstream_slower_than_its_breaker_is_not_shut_out() -> None:
    breakers = opened()
    slow = begin(breakers, 10.0)
    begin(breakers, 20.0)
    slow.succeeded()
    assert lets_pass(breakers, 21.0)


def test_what_began_before_it_opened_cannot_close_it() -> None:
    breakers = Breakers()
    early = begin(breakers)
    fail(breakers, 3)
    early.succeeded()
    assert not lets_pass(breakers, 0.0)
    probe = begin(breakers, 10.0)
    early.succeeded()
    assert breakers.begin(SEARCH, BOUNDS, 10.0) is None
    probe.failed(11.0, 0.5)
    probe.succeeded()
    assert not lets_pass(breakers, 11.0), "a probe that failed has said its word"


def test_what_began_before_it_opened_cannot_open_it_again() -> None:
    breakers = Breakers()
    early = [begin(breakers) for _ in range(9)]
    fail(breakers, 3)
    wait = breakers.opens_in(SEARCH, 1.0)
    for trial in early[:4]:
        trial.failed(1.0, 0.9)
    assert breakers.opens_in(SEARCH, 1.0) == wait, "the time until the probe is not put off"
    begin(breakers, 10.0).succeeded()
    for trial in early[4:]:
        trial.failed(11.0, 0.5)
    assert lets_pass(breakers, 11.0)
    fail(breakers, 2, 11.0)
    assert lets_pass(breakers, 11.0), "nor do they count towards the next time"


def test_upstreams_fail_on_their_own() -> None:
    breakers = opened()
    assert breakers.opens_in("notes", 0.0) is None
    assert breakers.begin("notes", BOUNDS, 0.0) is not None
    assert breakers.failing() == (SEARCH,)


def test_a_reload_changes_the_bounds_and_keeps_the_row() -> None:
    breakers = Breakers()
    fail(breakers, 2)
    begin(breakers, bounds=BOUNDS._replace(failures=4)).failed(0.0, 0.5)
    assert lets_pass(breakers, 0.0)
    begin(breakers, bounds=BreakerBounds(failures=4, open_for=1.0)).failed(0.0, 0.5)
    assert breakers.opens_in(SEARCH, 0.0) == pytest.approx(1.0)


def test_a_name_that_no_policy_has_any_more_is_forgotten_with_all_its_attempts() -> None:
    breakers = opened()
    probe = begin(breakers, 10.0)
    breakers.keep([SEARCH])
    assert breakers.failing() == (SEARCH,)
    breakers.keep(["notes"])
    assert breakers.failing() == ()
    probe.failed(11.0, 0.5)
    assert breakers.failing() == ()
    attempt = begin(breakers, 11.0)
    breakers.keep([])
    for _ in range(3):
        attempt.failed(11.0, 0.5)
    assert breakers.failing() == ()


def test_its_state_at_each_moment() -> None:
    breakers = Breakers()
    assert breakers.state(SEARCH, 0.0) is BreakerState.CLOSED
    fail(breakers, 3)
    assert breakers.state(SEARCH, 9.9) is BreakerState.OPEN
    assert breakers.state(SEARCH, 10.0) is BreakerState.HALF_OPEN
    probe = begin(breakers, 10.0)
    assert breakers.state(SEARCH, 10.0) is BreakerState.HALF_OPEN
    probe.succeeded()
    assert breakers.state(SEARCH, 10.0) is BreakerState.CLOSED


def test_every_change_is_told_once() -> None:
    breakers = Breakers()
    told: list[Change] = []
    breakers.on_change = told.append
    fail(breakers, 3)
    begin(breakers, 10.0).forgotten()
    begin(breakers, 10.0).failed(11.0, 0.0)
    probe = begin(breakers, 19.0)
    probe.answered()
    probe.succeeded()
    assert told == [
        Change(SEARCH, BreakerState.OPEN, 3, 10.0),
        Change(SEARCH, BreakerState.HALF_OPEN, 3),
        Change(SEARCH, BreakerState.OPEN, 4, 8.0),
        Change(SEARCH, BreakerState.HALF_OPEN, 4),
        Change(SEARCH, BreakerState.CLOSED, 0),
    ]


def test_a_healthy_upstreams_attempts_cost_no_memory() -> None:
    breakers = Breakers()
    assert begin(breakers) is begin(breakers)
