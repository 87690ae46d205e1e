"""The rows of SPEC 4 after dispatch: a write that was sent is never called failed."""

from dataclasses import replace

import pytest

from gateway.denial import Denial, Reason
from gateway.model import Effect, UpstreamError
from gateway.pipeline.failures import explain, stopped_after_dispatch, timed_out
from gateway.pipeline.limits import Timer
from tests.unit.made_up import PLAN

READ = PLAN
WRITE = replace(PLAN, effect=Effect.WRITE)


def failed(kind: str, *, sent: bool) -> UpstreamError:
    return UpstreamError(kind, "upstream search broke off its answer", sent=sent)


@pytest.mark.parametrize(
    ("error", "plan", "reason"),
    [
        (failed("reset", sent=True), READ, Reason.UPSTREAM_FAILED),
        (failed("reset", sent=True), WRITE, Reason.OUTCOME_UNKNOWN),
        (failed("refused", sent=False), WRITE, Reason.UPSTREAM_FAILED),
        (timed_out(Timer.ATTEMPT, READ, sent=True), READ, Reason.TOOL_TIMEOUT),
        (timed_out(Timer.ATTEMPT, WRITE, sent=True), WRITE, Reason.OUTCOME_UNKNOWN),
        (timed_out(Timer.DEADLINE, WRITE, sent=False), WRITE, Reason.TOOL_TIMEOUT),
        (failed("response_too_large", sent=True), WRITE, Reason.RESPONSE_TOO_LARGE),
        (failed("request_too_large", sent=True), READ, Reason.REQUEST_TOO_LARGE),
        (failed("request_too_large", sent=True), WRITE, Reason.OUTCOME_UNKNOWN),
        (failed("egress_not_allowed", sent=False), READ, Reason.EGRESS_NOT_ALLOWED),
    ],
)
def test_what_the_caller_hears(error: UpstreamError, plan: object, reason: Reason) -> None:
    assert explain(error, plan).reason is reason  # type: ignore[arg-type]  # parametrized


def test_a_way_that_is_closed_says_what_to_do_instead() -> None:
    told = explain(UpstreamError("egress_not_allowed", "x port 80 may not be reached: it is inner", sent=False), READ)
    assert (
        told.detail
        == "x port 80 may not be reached: it is inner. Use another source; repeating the call will not help."
    )


def test_the_timer_that_fired_is_named() -> None:
    assert "timeout of 8000 ms" in explain(timed_out(Timer.ATTEMPT, READ, sent=True), READ).detail
    assert "deadline of 25000 ms" in explain(timed_out(Timer.DEADLINE, READ, sent=True), READ).detail
    assert "60 s (AGENT_MAX_SECONDS)" in explain(timed_out(Timer.RUN, READ, sent=True), READ).detail


def test_only_the_runs_end_stops_the_run() -> None:
    assert explain(timed_out(Timer.RUN, READ, sent=True), READ).stop_reason == "max_seconds"
    assert explain(timed_out(Timer.RUN, WRITE, sent=True), WRITE).stop_reason == "max_seconds"
    assert explain(timed_out(Timer.DEADLINE, READ, sent=True), READ).stop_reason is None


def test_a_write_cut_by_a_kill_says_that_it_may_have_run() -> None:
    kill = Denial(Reason.KILL_SWITCH, "An operator has stopped all calls.", "kill_switch")
    assert stopped_after_dispatch(kill, READ) is kill
    told = stopped_after_dispatch(kill, WRITE)
    assert told.reason is Reason.KILL_SWITCH
    assert told.stop_reason == "kill_switch"
    assert "may have run" in told.detail


def test_a_write_cut_by_the_shutdown_is_not_offered_for_repeating() -> None:
    cut = Denial(Reason.DRAINING, "The gateway was shut down.", retry_after=5.0)
    assert stopped_after_dispatch(cut, READ).status == 503
    told = stopped_after_dispatch(cut, WRITE)
    assert (told.reason, told.status, told.retryable, told.retry_after) == (Reason.DRAINING, 424, False, None)


def test_silence_names_the_silence_that_was_allowed() -> None:
    error = timed_out(Timer.ATTEMPT, READ, sent=True, silence=300.0)
    assert "went silent for 300000 ms" in explain(error, READ).detail


@pytest.mark.parametrize("kind", ["request_timeout", "request_cut"])
def test_a_body_that_failed_on_its_way_closes_the_callers_connection(kind: str) -> None:
    assert explain(failed(kind, sent=True), READ).closes_connection
