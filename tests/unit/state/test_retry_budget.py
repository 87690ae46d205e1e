"""How many retries a budget grants: never more than its share, and nearly all of it."""

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.retry_budget import RetryBudgets

SEARCH = "search"


def ended_by(times: list[float], instant: float, span: float = 10.0) -> int:
    """How many of them lie in the span that ends with the instant, its beginning left out."""
    return bisect_right(times, instant) - bisect_right(times, instant - span)


def test_a_quiet_upstream_has_three_retries_to_spare() -> None:
    budgets = RetryBudgets()
    assert [budgets.take(SEARCH, 100.0, 100.0, 20) for _ in range(5)] == [True, True, True, False, False]
    assert budgets.refused == 2


def test_a_blip_of_a_busy_upstream_is_bridged() -> None:
    """A hundred calls in the last ten seconds pay for twenty retries at once."""
    budgets = RetryBudgets()
    for call in range(100):
        budgets.first(SEARCH, 100.0 + call * 0.09)
    assert sum(budgets.take(SEARCH, 109.1, 109.0, 20) for _ in range(50)) == 23


def test_what_was_granted_counts_for_ten_seconds() -> None:
    budgets = RetryBudgets()
    for _ in range(3):
        assert budgets.take(SEARCH, 100.0, 100.0, 20)
    assert not budgets.take(SEARCH, 109.9, 109.9, 20)
    assert budgets.take(SEARCH, 110.5, 110.5, 20)


def test_a_first_attempt_pays_for_ten_seconds_at_most() -> None:
    budgets = RetryBudgets()
    for _ in range(5):
        budgets.first(SEARCH, 100.0)
    assert sum(budgets.take(SEARCH, 109.0, 109.0, 20) for _ in range(9)) == 4
    budgets = RetryBudgets()
    for _ in range(5):
        budgets.first(SEARCH, 100.0)
    assert sum(budgets.take(SEARCH, 110.0, 110.0, 20) for _ in range(9)) == 3


def test_a_retry_that_is_still_to_come_has_its_place_already() -> None:
    budgets = RetryBudgets()
    for _ in range(3):
        assert budgets.take(SEARCH, 105.0, 100.0, 20)
    assert not budgets.take(SEARCH, 100.0, 100.0, 20), "the span that ends at 105 would hold four"


def test_a_retry_that_waits_long_takes_nothing_from_those_before_its_span() -> None:
    budgets = RetryBudgets()
    for _ in range(3):
        assert budgets.take(SEARCH, 130.0, 100.0, 20)
    assert budgets.take(SEARCH, 100.0, 100.0, 20)


def test_no_share_leaves_the_spare_ones() -> None:
    budgets = RetryBudgets()
    for _ in range(1000):
        budgets.first(SEARCH, 100.0)
    assert sum(budgets.take(SEARCH, 100.0, 100.0, 0) for _ in range(9)) == 3


def test_upstreams_have_budgets_of_their_own() -> None:
    budgets = RetryBudgets()
    while budgets.take(SEARCH, 100.0, 100.0, 20):
        pass
    assert budgets.take("notes", 100.0, 100.0, 20)


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.one_of(st.none(), st.floats(0, 15))),
        min_size=1,
        max_size=200,
    ),
    st.sampled_from([0, 20, 50, 100]),
)
def test_at_each_retry_the_last_ten_seconds_hold_at_most_the_share_and_three(
    schedule: list[tuple[float, float | None]], percent: int
) -> None:
    """A schedule is gaps in time, after each of which a call begins (None) or asks for a retry after a wait."""
    budgets, now = RetryBudgets(), 50.0
    firsts: list[float] = []
    retries: list[float] = []
    for gap, wait in schedule:
        now += gap
        if wait is None:
            budgets.first(SEARCH, now)
            firsts.append(now)
        elif budgets.take(SEARCH, now + wait, now, percent):
            retries.append(now + wait)
    retries.sort()
    for retry in retries:
        assert ended_by(retries, retry) <= percent / 100 * ended_by(firsts, retry) + 3


@given(
    per_second=st.integers(1, 60),
    seconds=st.integers(12, 30),
    waits=st.lists(st.floats(0, 0.8), min_size=1, max_size=7),
    retries_each=st.integers(1, 3),
)
def test_under_a_steady_load_every_ten_seconds_keep_to_the_bound(
    per_second: int, seconds: int, waits: list[float], retries_each: int
) -> None:
    """All calls fail and nothing but the budget holds retries back. One call more than its rate may begin in a span."""
    budgets = RetryBudgets()
    firsts, retries = [], []
    due: list[tuple[float, int]] = [(100.0 + n / per_second, 0) for n in range(per_second * seconds)]
    asked = 0
    while due:
        due.sort(reverse=True)
        now, number = due.pop()
        if number == 0:
            budgets.first(SEARCH, now)
            firsts.append(now)
        else:
            retries.append(now)
        at = now + waits[asked % len(waits)]
        asked += 1
        if number < retries_each and budgets.take(SEARCH, at, now, 20):
            due.append((at, number + 1))
    end = firsts[-1]
    for instant in [*firsts, *(retry for retry in retries if retry <= end)]:
        for span_ends in (instant, min(instant + 9.999, end)):
            offered = ended_by(firsts, span_ends) + 1
            assert offered - 1 + ended_by(retries, span_ends) <= 1.2 * offered + 3
    granted_in_full = 0.2 * ended_by(firsts, end, 10.0) * 0.9
    assert ended_by(retries, end, 10.5) >= min(granted_in_full, retries_each * per_second * 10) - 4


@pytest.mark.parametrize("per_second", [10, 2000])
def test_memory_does_not_grow_with_traffic_or_time(per_second: int) -> None:
    budgets = RetryBudgets()
    for call in range(60 * per_second):
        now = 100.0 + call / per_second
        budgets.first(SEARCH, now)
        if call % 5 == 0:
            budgets.take(SEARCH, now + 0.7, now, 20)
    budget = budgets._budgets[SEARCH]
    assert len(budget._firsts) + len(budget._retries) <= 50


def test_names_that_are_used_no_more_are_forgotten() -> None:
    budgets = RetryBudgets()
    for reload in range(100):
        budgets.first(f"upstream-{reload}", 100.0 + reload)
    assert len(budgets._budgets) <= 12
