"""A call whose turn would come too late is told so, word for word, and when to come back; and whoever comes back then is let pass."""

import asyncio
from math import inf

import pytest

from gateway.bounds import Pace, Rate
from gateway.denial import Denial, Reason
from gateway.guards import judge
from gateway.guards.explain import explain
from gateway.guards.rate import never_had_turn, no_turn
from gateway.model import Moment, RunKey
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.pacing import Pacer
from tests.unit.fake_time import in_fake_time, now, settled
from tests.unit.made_up import BUDGETS, NOON, a_call, a_charge, a_plan

RUN = RunKey("scout", "r1")


def moment() -> Moment:
    """The loop's time starts at NOON."""
    return Moment(now(), NOON.wall + now() - NOON.mono)


def used(pace: Pace, at_work: int, waiting: int = 0) -> tuple[Counts, Plan, Pacer]:
    """So many attempts of search.read hold a place, so many wait."""
    counts, plan = Counts(1000), a_plan(pace=pace)
    pacer = counts.pacers.of(plan.tool, pace, newest=True)
    assert pacer is not None
    for _ in range(at_work):
        assert pacer.enter(inf, now()) is not None
    queue(pacer, waiting)
    return counts, plan, pacer


def queue(pacer: Pacer, waiting: int) -> None:
    loop = asyncio.get_running_loop()
    LEFT.extend(loop.create_task(pacer.line_up(inf)) for _ in range(waiting))


LEFT: list[asyncio.Task[object]] = []
"""Tasks end with their loop; until then somebody has to know them."""


@pytest.fixture(autouse=True)
def nobody_left() -> None:
    LEFT.clear()


def refusal(counts: Counts, plan: Plan, run: str = "r1") -> Denial | None:
    return judge(a_call(run=run, started=moment()), plan, counts, moment()).denial


@in_fake_time
async def test_a_tool_that_nobody_has_called_yet_takes_the_call() -> None:
    assert refusal(Counts(1000), a_plan(pace=Pace(Rate(0.01, 1), 1, 0))) is None


@in_fake_time
async def test_a_turn_after_the_deadline_is_refused_with_the_rate_and_the_wait() -> None:
    counts, plan, pacer = used(Pace(Rate(0.5, 1)), 1, 12)
    await settled()
    assert refusal(counts, plan, run="") == Denial(
        Reason.RATE_LIMITED,
        "search.read takes 0.5 calls a second (rate) and has 12 waiting: this call's turn would come in 26 seconds,"
        " after its deadline. Repeat it in 26 seconds, or go on without this tool.",
        retry_after=26.0,
    )
    assert pacer.waiting == 12


@in_fake_time
async def test_a_turn_within_the_deadline_is_waited_for() -> None:
    counts, plan, _ = used(Pace(Rate(0.5, 1)), 1, 11)
    await settled()
    assert refusal(counts, plan) is None, "24 of 25 seconds"


@in_fake_time
async def test_a_rate_without_anybody_waiting() -> None:
    counts, plan, _ = used(Pace(Rate(0.02, 1)), 1)
    assert refusal(counts, plan) == Denial(
        Reason.RATE_LIMITED,
        "search.read takes 0.02 calls a second (rate) and has none to spare: this call's turn would come in 50 seconds,"
        " after its deadline. Repeat it in 50 seconds, or go on without this tool.",
        retry_after=50.0,
    )


@pytest.mark.parametrize("early", [0.0, 0.5])
@in_fake_time
async def test_whoever_repeats_when_told_is_let_pass_and_goes_at_once(early: float) -> None:
    counts, plan, pacer = used(Pace(Rate(0.04, 1)), 1)
    await asyncio.sleep(early)
    counts.pacers.pause(plan.tool, 10, now())
    refused = no_turn(pacer, plan, now(), 5, inf)
    assert refused is not None
    assert refused.retry_after is not None
    await asyncio.sleep(refused.retry_after)
    assert refusal(counts, plan) is None
    assert pacer.is_open(now())


@in_fake_time
async def test_a_turn_after_the_end_of_the_run_is_no_reason_to_wait() -> None:
    counts, plan = Counts(1000), a_plan()
    counts.ledger.reserve(a_charge(RUN), BUDGETS)
    await asyncio.sleep(45)
    counts.pacers.pause(plan.tool, 20, now())
    denial = refusal(counts, plan)
    assert denial == Denial(
        Reason.RATE_LIMITED,
        "The upstream of search.read has asked for a pause (Retry-After): this call's turn would come in 20 seconds,"
        " after the end of its run. Go on without this tool.",
        retry_after=20.0,
        outlasts_run=True,
    )
    assert (denial.status, denial.waiting_helps) == (403, False)
    assert refusal(counts, plan, run="") is None, "a window has no seconds: 20 seconds are within the deadline"


@in_fake_time
async def test_a_pause_is_named_and_whose_it_is() -> None:
    counts, plan = Counts(1000), a_plan()
    counts.pacers.pause(plan.tool, 30, now())
    assert refusal(counts, plan) == Denial(
        Reason.RATE_LIMITED,
        "The upstream of search.read has asked for a pause (Retry-After): this call's turn would come in 30 seconds,"
        " after its deadline. Repeat it in 30 seconds, or go on without this tool.",
        retry_after=30.0,
    )
    assert refusal(counts, a_plan(tool="notes.write")) is None


@pytest.mark.parametrize(("pause", "status"), [(59, 429), (60, 429), (61, 403), (3600, 403)])
@in_fake_time
async def test_only_a_short_wait_is_answered_with_429(pause: float, status: int) -> None:
    counts, plan = Counts(1000), a_plan()
    counts.pacers.pause(plan.tool, pause, now())
    denial = refusal(counts, plan, run="")
    assert denial is not None
    assert (denial.status, denial.waiting_helps, denial.retry_after) == (status, status == 429, pause)


@in_fake_time
async def test_a_full_queue_takes_nobody_and_says_when_it_moves() -> None:
    counts, plan, _ = used(Pace(Rate(0.2, 1), max_waiting=3), 1, 2)
    await settled()
    assert refusal(counts, plan) is None, "the call does not count itself"
    counts, plan, pacer = used(Pace(Rate(0.2, 1), max_waiting=3), 1, 3)
    await settled()
    assert refusal(counts, plan) == Denial(
        Reason.OVERLOADED,
        "The queue of search.read is full: 3 of 3 calls wait for their turn (max_waiting)."
        " Repeat the call in 5 seconds, or go on without this tool.",
        retry_after=5.0,
    )
    await asyncio.sleep(5)
    assert pacer.waiting == 2
    assert refusal(counts, plan) is None


@in_fake_time
async def test_with_no_queue_at_all_a_call_goes_at_once_or_not() -> None:
    counts, plan, _ = used(Pace(max_concurrency=2, max_waiting=0), 1)
    assert refusal(counts, plan) is None
    counts, plan, _ = used(Pace(max_concurrency=2, max_waiting=0), 2)
    assert refusal(counts, plan) == Denial(
        Reason.OVERLOADED,
        "The queue of search.read is full: 0 of 0 calls wait for their turn (max_waiting)."
        " Repeat the call in 1 second, or go on without this tool.",
        retry_after=1.0,
    )


@in_fake_time
async def test_time_that_ran_out_in_the_queue_says_for_what_it_was_waited() -> None:
    _, plan, pacer = used(Pace(max_concurrency=8), 8, 1)
    await settled()
    assert never_had_turn(pacer, plan, now(), inf, sent=False) == Denial(
        Reason.OVERLOADED,
        "No place of search.read was free before this call's deadline (max_concurrency: 8). It was not sent."
        " Wait a second, then repeat the call.",
        retry_after=1.0,
    )
    assert "not sent" not in never_had_turn(pacer, plan, now(), inf, sent=True).detail
    assert never_had_turn(pacer, plan, now(), 0, sent=False) == Denial(
        Reason.TOOL_TIMEOUT,
        "The run's time of 60 s (AGENT_MAX_SECONDS) ended while this call waited for its turn at search.read. It was not sent."
        " Finish the task with what you have.",
        "max_seconds",
    )
    pacer.adopt(Pace(Rate(0.1, 1)))
    pacer.pause(now() + 30)
    assert never_had_turn(pacer, plan, now(), inf, sent=False).reason is Reason.RATE_LIMITED


@in_fake_time
async def test_after_a_pause_the_first_one_may_keep_the_others_waiting_until_their_deadline() -> None:
    counts, plan = Counts(1000), a_plan()
    counts.pacers.pause(plan.tool, 1, now())
    await asyncio.sleep(1)
    pacer = counts.pacers.of(plan.tool, plan.pace, newest=True)
    assert pacer is not None
    assert pacer.enter(inf, now()) is not None
    queue(pacer, 1)
    await settled()
    assert refusal(counts, plan) is None
    assert never_had_turn(pacer, plan, now(), inf, sent=False) == Denial(
        Reason.OVERLOADED,
        "No place of search.read was free before this call's deadline. It was not sent. Wait a second, then repeat the call.",
        retry_after=1.0,
    )


@in_fake_time
async def test_report_mode_tells_what_the_rate_would_refuse_and_lets_it_pass() -> None:
    counts, plan, pacer = used(Pace(Rate(0.02, 1), held=False), 1)
    plan = a_plan(pace=plan.pace, report=True)
    verdict = judge(a_call(started=moment()), plan, counts, moment())
    assert verdict == (None, Reason.RATE_LIMITED)
    assert pacer.is_open(now())


@in_fake_time
async def test_explaining_a_call_leaves_no_trace_at_its_tool() -> None:
    counts, plan, pacer = used(Pace(Rate(0.02, 1)), 1, 1)
    await settled()
    before = (pacer.turn(now()), pacer.waiting, pacer.pace)
    other = a_plan(pace=Pace(Rate(0.01, 1)))
    for _ in range(10):
        found = explain("scout", plan.tool, None, "", other, counts, moment())
        assert found.denial is not None
        assert found.denial.reason is Reason.RATE_LIMITED
        assert [j.guard for j in found.judgements if j.denial] == ["rate"]
    assert (pacer.turn(now()), pacer.waiting, pacer.pace) == before
    explain("scout", "notes.write", None, "", a_plan(tool="notes.write", pace=plan.pace), counts, moment())
    assert counts.pacers.find("notes.write") is None


@in_fake_time
async def test_no_sentence_is_longer_than_a_model_wants_to_read() -> None:
    _, plan, pacer = used(Pace(Rate(0.001, 1), 8), 1, 99)
    await settled()
    pacer.pause(now() + 3600)
    for denial in (
        no_turn(pacer, plan, now(), 25, inf),
        no_turn(pacer, plan, now(), 25, 60),
        never_had_turn(pacer, plan, now(), 0, sent=False),
    ):
        assert denial is not None
        assert len(denial.detail) < 250
        assert denial.detail.endswith(".")
        assert "\n" not in denial.detail
