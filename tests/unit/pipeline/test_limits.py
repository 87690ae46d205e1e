from math import inf

import pytest

from gateway.denial import Denial, Reason
from gateway.pipeline.limits import Limits, Timer


def test_the_earliest_timer_fires() -> None:
    assert Limits(deadline=25, run=60).first(8) == (8, Timer.ATTEMPT)
    assert Limits(deadline=5, run=60).first(8) == (5, Timer.DEADLINE)
    assert Limits(deadline=25, run=3).first(8) == (3, Timer.RUN)


def test_a_tie_names_the_narrower_timer() -> None:
    assert Limits(deadline=8, run=8).first(8) == (8, Timer.ATTEMPT)
    assert Limits(deadline=8, run=8).first(9) == (8, Timer.DEADLINE)


def test_a_window_bounds_no_time() -> None:
    assert Limits(deadline=25).run == inf
    assert Limits(deadline=25).first() == (25, Timer.DEADLINE)
    assert Limits(deadline=inf).first() == (None, Timer.ATTEMPT)
    assert Limits(deadline=25).left(20) == 5


@pytest.mark.parametrize(
    ("wait", "run_ends", "helps"),
    [(30.0, inf, True), (30.0, 131.0, True), (30.0, 130.0, False), (29.1, 130.0, False), (0.1, 101.0, False)],
)
def test_a_wait_helps_only_where_whole_seconds_of_it_end_within_the_run(
    wait: float, run_ends: float, helps: bool
) -> None:
    """The header counts whole seconds, and so do clients."""
    denial = Denial(Reason.OVERLOADED, "All places are taken.", retry_after=wait)
    told = Limits(deadline=125, run=run_ends).within_run(denial, 100.0)
    assert (told.waiting_helps, told.retryable) == (helps, helps)
    assert told.status == (503 if helps else 403)
    assert told.retry_after == wait
    assert told.detail == denial.detail + ("" if helps else " But this run ends before that.")


def test_what_no_wait_can_fix_is_told_as_it_is() -> None:
    denial = Denial(Reason.KILL_SWITCH, "An operator has stopped all calls.", "kill_switch")
    assert Limits(deadline=125, run=101.0).within_run(denial, 100.0) is denial


@pytest.mark.parametrize(("wait", "status"), [(None, 403), (59.5, 503), (60.0, 503), (60.1, 403)])
def test_a_503_is_said_only_where_waiting_a_minute_helps(wait: float | None, status: int) -> None:
    assert Denial(Reason.CIRCUIT_OPEN, "The upstream keeps failing.", retry_after=wait).status == status
