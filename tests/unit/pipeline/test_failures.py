"""The rows of SPEC 4 after dispatch: a write that was sent is never called failed."""

from dataclasses import replace

import pytest

from gateway.model import Denial, Effect, Reason, UpstreamError
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
