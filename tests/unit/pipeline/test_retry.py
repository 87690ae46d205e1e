import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Effect, Reply
from gateway.pipeline.retry import FINAL_KINDS, Failure, next_wait, retry_after, worth_retrying
from tests.unit.made_up import PLAN

READ = PLAN
WRITE = replace(PLAN, effect=Effect.WRITE)
IDEMPOTENT = replace(WRITE, idempotent=True)
RESET = Failure(sent=True, kind="reset")
REFUSED = Failure(sent=False, kind="refused")


@pytest.mark.parametrize(
    ("failure", "plan", "again"),
    [
        (RESET, READ, True),
        (RESET, WRITE, False),
        (RESET, IDEMPOTENT, True),
        (REFUSED, WRITE, True),
        (Failure(sent=True, kind="timeout"), WRITE, False),
        (Failure(sent=False, kind="timeout"), WRITE, True),
        (Failure(sent=True, status=503), READ, True),
        (Failure(sent=True, status=429), WRITE, True),
    ],
)
def test_only_what_was_not_sent_or_may_run_twice_is_repeated(failure: Failure, plan: object, again: bool) -> None:
    assert (next_wait(failure, 1, plan, 25.0, 0.5) is not None) is again  # type: ignore[arg-type]  # parametrized


def test_a_write_is_not_repeated_for_a_503_that_may_have_run() -> None:
    assert not worth_retrying(503, WRITE)
    assert worth_retrying(429, WRITE)
    assert worth_retrying(503, READ)
    assert not worth_retrying(500, READ)


def test_retries_max_is_the_number_of_repeats() -> None:
    assert next_wait(RESET, 2, READ, 25.0, 0.0) is not None
    assert next_wait(RESET, 3, READ, 25.0, 0.0) is None


@given(number=st.integers(1, 2), dice=st.floats(0, 1, exclude_max=True))
def test_full_jitter_lies_between_nothing_and_the_listed_value(number: int, dice: float) -> None:
    wait = next_wait(RESET, number, READ, 25.0, dice)
    assert wait is not None
    assert 0 <= wait < READ.retries.backoff[number - 1]


@given(dice=st.floats(0, 1, exclude_max=True))
def test_a_429_without_retry_after_waits_at_least_half_the_value(dice: float) -> None:
    wait = next_wait(Failure(sent=True, status=429), 1, READ, 25.0, dice)
    assert wait is not None
    assert 0.1 <= wait <= 0.2


@given(dice=st.floats(0, 1, exclude_max=True), asked=st.floats(0, 20))
def test_retry_after_is_kept_and_spread(dice: float, asked: float) -> None:
    wait = next_wait(Failure(sent=True, status=429, retry_after=asked), 1, READ, 25.0, dice)
    assert wait is not None
    assert asked <= wait <= asked + 0.2


def test_a_wait_that_does_not_fit_is_given_up_at_once() -> None:
    assert next_wait(Failure(sent=True, status=429, retry_after=30.0), 1, READ, 25.0, 0.0) is None
    assert next_wait(RESET, 1, READ, 0.05, 0.9) is None


def test_the_last_backoff_repeats() -> None:
    plan = replace(READ, retries=replace(READ.retries, max=9))
    assert next_wait(RESET, 7, plan, 25.0, 0.5) == pytest.approx(0.4)


@pytest.mark.parametrize("kind", sorted(FINAL_KINDS))
def test_what_would_only_be_met_again_is_final(kind: str) -> None:
    assert next_wait(Failure(sent=False, kind=kind), 1, READ, 25.0, 0.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 3 ", 3.0),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 99 Oct 2015 07:28:10 GMT", None),
        ("٣", None),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(value: str, seconds: float | None) -> None:
    wall = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT
    assert retry_after(Reply(429, (("Retry-After", value),), b""), wall) == seconds


def test_a_retry_after_without_a_zone_is_in_utc_wherever_the_gateway_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "JST-9")
        time.tzset()
        seconds = retry_after(Reply(503, (("Retry-After", "Wed Oct 21 07:28:10 2015"),), b""), 1445412480.0)
    time.tzset()
    assert seconds == 10.0


def test_a_reply_without_the_header_asks_for_nothing() -> None:
    assert retry_after(Reply(429, (), b""), 0.0) is None
