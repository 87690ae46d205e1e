"""What a call hears of an upstream that is left alone."""

from gateway.bounds import BreakerBounds
from gateway.denial import Denial, Reason
from gateway.guards import judge
from gateway.model import Effect, Target
from gateway.state.counts import Counts
from tests.unit.made_up import NOON, a_call, a_plan, later

ONE = BreakerBounds(failures=1, open_for=30.0)
ELSEWHERE = Target("http", "elsewhere.example", 80, "/")


def failing() -> Counts:
    counts = Counts(10)
    trial = counts.breakers.begin("search", ONE, NOON.mono)
    assert trial is not None
    trial.failed(NOON.mono, 0.5)
    return counts


def test_it_is_told_to_go_on_without_or_to_come_back_when_it_is_probed() -> None:
    told = judge(a_call(), a_plan(), failing(), later(5.5)).denial
    assert told == Denial(
        Reason.CIRCUIT_OPEN,
        "The upstream of search.read keeps failing and is left alone for now (circuit_breaker)."
        " Go on without this tool, or try again in 25 seconds.",
        retry_after=25.0,
    )


def test_while_the_probe_is_at_work_a_second_is_enough() -> None:
    counts = failing()
    assert judge(a_call(), a_plan(), counts, later(30)).denial is None, "it may be the probe"
    counts.breakers.begin("search", ONE, later(30).mono)
    told = judge(a_call(), a_plan(), counts, later(30)).denial
    assert told is not None
    assert told.detail.endswith("or try again in 1 second.")
    assert told.retry_after == 1.0


def test_asking_is_no_probe() -> None:
    counts = failing()
    for _ in range(3):
        assert judge(a_call(), a_plan(), counts, later(30)).denial is None


def test_report_mode_does_not_soften_it() -> None:
    told = judge(a_call(), a_plan(report=True), failing(), NOON).denial
    assert told is not None
    assert told.reason is Reason.CIRCUIT_OPEN


def test_a_fetch_has_no_upstream_that_could_be_left_alone() -> None:
    counts = failing()
    plan = a_plan(tool="http.get", builtin=True, upstream=None, effect=Effect.READ)
    told = judge(a_call(tool="http.get", destination=ELSEWHERE), plan, counts, NOON).denial
    assert told is None or told.reason is Reason.EGRESS_NOT_ALLOWED
