"""The retry loop against a model of SPEC 5 that anybody can follow: whatever an upstream does, both make the same attempts."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from gateway.bounds import BreakerBounds
from gateway.denial import Denial, Reason
from gateway.model import Attempt, Effect, Moment, Reply, ToolCall, UpstreamError
from gateway.pipeline.attempts import Attempts
from gateway.pipeline.limits import Limits
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from tests.unit.made_up import CALL, PLAN, UPSTREAM


class Meaning(NamedTuple):
    """What one attempt's end means."""

    sent: bool
    ran: bool | None
    """None: nobody knows."""
    failed: bool
    """Counts for the breaker."""


ENDS = {
    "ok": Meaning(True, True, False),
    "500": Meaning(True, True, False),
    "503": Meaning(True, None, True),
    "429": Meaning(True, False, False),
    "reset": Meaning(True, None, True),
    "refused": Meaning(False, False, True),
    "response_too_large": Meaning(True, True, False),
}
TRIED_AGAIN = {"503", "429", "reset", "refused"}


def expected(ends: list[str], plan: Plan, failures: int) -> tuple[int, str]:
    """How many attempts, and the end of the last one. A fresh retry budget has room for all of one call's retries."""
    row = 0
    for number, end in enumerate(ends, 1):
        meaning = ENDS[end]
        row = row + 1 if meaning.failed else 0 if end != "response_too_large" else row
        safe = plan.repeatable or not meaning.sent or meaning.ran is False
        if not (end in TRIED_AGAIN and safe and number <= plan.retries.max and row < failures):
            return number, end
    raise AssertionError("the last end is always final")


def performed(script: Iterator[str], plan: Plan) -> tuple[Progress, Reply | Denial]:
    async def send(attempt: Attempt, plan: Plan, call: ToolCall) -> Reply:
        end = next(script)
        attempt.sent = ENDS[end].sent
        if end in ("reset", "refused", "response_too_large"):
            raise UpstreamError(end, "upstream search failed", sent=attempt.sent)
        return Reply(200 if end == "ok" else int(end), (), end.encode())

    async def perform() -> Reply | Denial:
        loop = asyncio.get_running_loop()
        attempts = Attempts(send, counts, lambda: Moment(loop.time(), 0.0), lambda: 0.0)
        return await attempts.perform(progress, plan, counts.in_flight.enter(CALL, plan.effect))

    counts = Counts(10)
    progress = Progress(CALL, plan, "policy", Limits(1e9))
    result = asyncio.run(perform())
    progress.take(result) if isinstance(result, Reply) else progress.fail(result)
    return progress, result


@given(
    ends=st.lists(st.sampled_from(sorted(ENDS)), max_size=4),
    retries=st.integers(0, 3),
    failures=st.integers(1, 5),
    effect=st.sampled_from(Effect),
    idempotent=st.booleans(),
)
def test_the_loop_makes_exactly_the_attempts_that_are_safe_and_allowed(
    ends: list[str], retries: int, failures: int, effect: Effect, idempotent: bool
) -> None:
    plan = replace(
        PLAN,
        effect=effect,
        idempotent=idempotent,
        retries=replace(PLAN.retries, max=retries, backoff=(0.0,), budget_percent=0),
        upstream=replace(UPSTREAM, breaker=BreakerBounds(failures, 60.0)),
    )
    script = [*ends, "ok"]
    number, end = expected(script, plan, failures)
    progress, result = performed(iter(script), plan)
    assert progress.attempts == number
    assert progress.sent == any(ENDS[each].sent for each in script[:number])
    assert (progress.trial, progress.place) == (None, None)
    if isinstance(result, Reply):
        assert result.body == end.encode()
        assert len(progress.errors) == number - 1
        return
    assert len(progress.errors) == number
    unknown = ENDS[end].sent and not plan.repeatable
    assert (
        result.reason
        is {
            "reset": Reason.OUTCOME_UNKNOWN if unknown else Reason.UPSTREAM_FAILED,
            "refused": Reason.UPSTREAM_FAILED,
            "response_too_large": Reason.RESPONSE_TOO_LARGE,
        }[end]
    )


@given(st.lists(st.sampled_from(sorted(ENDS)), min_size=5, max_size=5), st.integers(1, 4))
def test_a_write_runs_once_at_most(ends: list[str], retries: int) -> None:
    """Whatever happened in an attempt that was repeated: the write did not run there."""
    plan = replace(PLAN, effect=Effect.WRITE, retries=replace(PLAN.retries, max=retries, backoff=(0.0,)))
    progress, _ = performed(iter(ends), plan)
    assert all(ENDS[end].ran is False for end in ends[: progress.attempts - 1])
