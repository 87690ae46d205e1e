from math import inf

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
