"""What is told of a call's attempts: when each began, how long it took, and so what was waited before it."""

import asyncio
from dataclasses import replace

from gateway.denial import Denial, Reason
from gateway.model import Attempt, KillSwitch, Moment, Record, Reply, Source, ToolCall, Try, UpstreamError
from gateway.pipeline.attempts import Attempts
from gateway.pipeline.limits import Limits
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.switches import parse_scope
from tests.unit.fake_time import START, in_fake_time
from tests.unit.made_up import CALL, PLAN

BEGAN = Moment(START, 0.0)


async def told(
    *ends: tuple[float, int | str],
    plan: Plan = PLAN,
    counts: Counts | None = None,
    early: float = 0.0,
    dice: float = 0.5,
) -> Record:
    """The record of a call whose attempts take so many seconds and end so. `early`: by so many seconds timers fire too soon."""
    loop, coming, counts = asyncio.get_running_loop(), iter(ends), counts or Counts(10)

    async def send(attempt: Attempt, _plan: Plan, _call: ToolCall) -> Reply:
        seconds, end = next(coming)
        await asyncio.sleep(seconds)
        if isinstance(end, str):
            raise UpstreamError(end, "upstream search failed", sent=True)
        return Reply(end, (), b"")

    def clock() -> Moment:
        return Moment(loop.time() - early, 0.0)

    call = CALL._replace(started=BEGAN)
    progress = Progress(call, plan, "policy", Limits(START + 25))
    wait = counts.in_flight.enter(call, plan.effect)
    result = await Attempts(send, counts, clock, lambda: dice).perform(progress, plan, wait)
    progress.fail(result) if isinstance(result, Denial) else progress.take(result)
    return progress.record(clock())


def rounded(record: Record) -> list[Try]:
    return [Try(round(one.began_ms), round(one.took_ms)) for one in record.tries]


@in_fake_time
async def test_a_call_with_one_attempt_keeps_nothing_of_it() -> None:
    record = await told((0.03, 200))
    assert (record.attempts, record.tries, round(record.duration_ms)) == (1, (), 30)


@in_fake_time
async def test_each_attempt_has_its_beginning_and_its_length() -> None:
    record = await told((0.03, 503), (0.05, "reset"), (0.02, 200))
    assert (record.attempts, record.errors, record.reason) == (3, ("status_503", "reset"), Reason.OK)
    assert rounded(record) == [Try(0, 30), Try(130, 50), Try(580, 20)]  # half of 200 ms between, then half of 800 ms


@in_fake_time
async def test_a_call_that_is_stopped_while_it_waits_ends_behind_its_last_attempt() -> None:
    counts = Counts(10)
    switch = KillSwitch(parse_scope("all"), "look at this", "ops", 0.0, None, False, Source.RUNTIME)
    asyncio.get_running_loop().call_later(0.05, counts.switches.put, switch)
    record = await told((0.03, 503), counts=counts)
    assert (record.reason, record.attempts, rounded(record)) == (Reason.KILL_SWITCH, 1, [Try(0, 30)])


@in_fake_time
async def test_nothing_is_begun_in_what_a_timer_left_of_the_deadline() -> None:
    patient = replace(PLAN, timeout=60.0, deadline=25.0)
    record = await told((30, 200), (0, 200), plan=patient, early=0.0009, dice=0.0)
    assert (record.reason, record.attempts, record.errors) == (Reason.TOOL_TIMEOUT, 1, ("timeout",))


@in_fake_time
async def test_what_the_allowlist_says_is_told() -> None:
    record = await told((0.01, 200))
    assert record.rule == 'tools.allowlist: "search.read"'
