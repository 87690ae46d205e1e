"""Which ends of an attempt speak against its upstream, and which speak for it."""

import pytest

from gateway.model import Reply, UpstreamError
from gateway.pipeline.failures import timed_out
from gateway.pipeline.health import speaks_against, speaks_for
from gateway.pipeline.limits import Timer
from tests.unit.made_up import PLAN

STREAM = (("Content-Type", "text/event-stream; charset=utf-8"),)


@pytest.mark.parametrize("kind", ["refused", "dns", "connect_timeout", "tls", "reset", "cut", "bad_response"])
def test_no_connection_and_a_broken_answer_speak_against_it(kind: str) -> None:
    assert speaks_against(UpstreamError(kind, "broke", sent=True))


@pytest.mark.parametrize(
    "kind",
    ["response_too_large", "request_too_large", "request_timeout", "request_cut", "overloaded", "egress_not_allowed"],
)
def test_what_the_call_or_the_gateway_did_does_not_speak_against_the_upstream(kind: str) -> None:
    assert not speaks_against(UpstreamError(kind, "broke", sent=True))


@pytest.mark.parametrize(
    ("status", "against"), [(200, False), (404, False), (429, False), (500, False), (501, False), (502, True), (503, True), (504, True)]
)  # fmt: skip
def test_of_the_statuses_502_503_and_504_speak_against_the_upstream(status: int, against: bool) -> None:
    assert speaks_against(Reply(status, (), b"")) is against


@pytest.mark.parametrize(("timer", "against"), [(Timer.ATTEMPT, True), (Timer.DEADLINE, False), (Timer.RUN, False)])
def test_of_the_timers_the_attempts_own_speaks_against_the_upstream(timer: Timer, against: bool) -> None:
    """The deadline's, too, where the attempt had its fair share of it: attempts.py says so then."""
    assert speaks_against(timed_out(timer, PLAN, sent=True)) is against


def test_a_whole_answer_speaks_for_it_and_an_endless_one_from_its_beginning() -> None:
    assert speaks_for(Reply(200, (), b""), endless=False)
    assert speaks_for(Reply(200, STREAM, None), endless=False)
    assert speaks_for(Reply(200, (), None), endless=True)
    assert not speaks_for(Reply(200, (), None, length=100_000), endless=False)
