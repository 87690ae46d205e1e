"""Hours of traffic in seconds, under a clock of our own: the whole pipeline against what its upstream saw. No sockets, no sleeps.

The incidents: an agent that used up an hour's worth of actions at the stroke of the hour and again just after it; a host whose clock was
set while budgets were running; ten thousand tasks started at once.
"""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import pytest

from gateway.bounds import AgentBounds, BreakerBounds
from gateway.denial import Reason
from gateway.model import Attempt, Event, Moment, Outcome, Record, Reply, RunKey, ToolCall, UpstreamError
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.policy.snapshot import Plan, Retries
from gateway.state.agents import DAY, SavedCount
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.run import SavedRun
from tests.unit.made_up import BUDGETS, NOON, UPSTREAM, a_call, a_plan

HOUR = 3600
AHEAD = 1e7
"""Our monotonic clock is so far ahead of the event loop's that none of its timers fires by itself."""
ENDLESS = replace(UPSTREAM, breaker=BreakerBounds(failures=1_000_000))
PLAN = a_plan(
    upstream=ENDLESS,
    retries=Retries(0, (0.0,), frozenset()),
    budgets=replace(BUDGETS, max_tool_calls=1_000_000, max_seconds=600.0),
)


class Sent(NamedTuple):
    """One call as the upstream's own ledger has it."""

    agent: str
    run: RunKey
    true: float
    at: Moment
    price: int


class Unwatched:
    """An observer that looks away."""

    def call_ended(self, record: Record) -> None: ...

    def happened(self, event: Event) -> None: ...


class World:
    """A gateway's pipeline, its clocks, its upstream and what it saves."""

    def __init__(self, seed: int, wall: float) -> None:
        self.dice = random.Random(seed)
        self.true = 0.0
        """Seconds since the beginning, whatever clocks say."""
        self.now = Moment(asyncio.get_running_loop().time() + AHEAD, wall)
        self.sent: list[Sent] = []
        self.unsent: list[Sent] = []
        self.heard: Counter[str] = Counter()
        self.unreachable = 0.0
        self.rows: dict[tuple[str, str, int], int] = {}
        self.runs: dict[RunKey, SavedRun] = {}
        self.begin()

    def begin(self) -> None:
        """A new process, on what the last one saved."""
        self.counts = Counts(100_000)
        counts = (SavedCount(*names, value) for names, value in self.rows.items())
        self.counts.ledger.restore(self.runs.values(), self.now, counts)
        self.pipeline = Pipeline(
            counts=self.counts,
            buffers=Buffers(1 << 40),
            send=self.send,
            observer=Unwatched(),
            clock=lambda: self.now,
            dice=self.dice.random,
        )

    def restart(self, down: float, set_by: float) -> None:
        """Orderly; the next process's monotonic clock has nothing to do with this one's."""
        self.save()
        self.true += down
        self.now = Moment(self.now.mono + self.dice.choice([0.0, 1e5]), self.now.wall + down + set_by)
        self.begin()

    def save(self) -> None:
        changes = self.counts.ledger.changed(self.now, at_end=True)
        self.runs |= {run.key: run for run in changes.saved}
        for key in changes.forgotten:
            self.runs.pop(key, None)
        for agent, name, period, value in changes.counts:
            self.rows[agent, name, period] = value
            if not value:
                del self.rows[agent, name, period]

    def pass_time(self, seconds: float) -> None:
        self.true += seconds
        self.now = Moment(self.now.mono + seconds, self.now.wall + seconds)
        self.counts.ledger.expire(self.now, lambda _key: PLAN.budgets)

    def set_clock(self, seconds: float) -> None:
        """By so much."""
        self.now = self.now._replace(wall=self.now.wall + seconds)

    def lost(self, agent: str, true: float) -> int:
        """Calls of that instant that did not arrive: while they were under way they held their places."""
        return sum(call.agent == agent and call.true == true for call in self.unsent)

    async def send(self, attempt: Attempt, plan: Plan, call: ToolCall) -> Reply:
        """Some attempts never arrive."""
        await asyncio.sleep(0)
        agent, run, price = attempt.body.decode().split() if isinstance(attempt.body, bytes) else ("", "", "0")
        sent = Sent(agent, RunKey(agent, run), self.true, self.now, int(price))
        if self.dice.random() < self.unreachable:
            self.unsent.append(sent)
            raise UpstreamError("refused", "the upstream refused the connection", sent=False)
        attempt.sent = True
        self.sent.append(sent)
        return Reply(200, (), b"{}")

    async def call(self, agent: str, run: str, plan: Plan, price: int = 0) -> Outcome:
        """What the agent hears."""
        body = f"{agent} {run} {plan.price(price)}".encode()
        call = a_call(run=run, agent=agent, started=self.now, body=body, spend=price)

        async def answer(open_call: OpenCall) -> Outcome:
            return open_call.outcome

        outcome = await self.pipeline.handle(call, plan, "", answer)
        self.heard[outcome.reason] += 1
        return outcome


def most_in_an_hour(times: list[float]) -> int:
    """Brute force, from each call on."""
    times = sorted(times)
    return max((sum(start <= time < start + HOUR for time in times[n:]) for n, start in enumerate(times)), default=0)


LIMITED = {
    Reason.MAX_ACTIONS_PER_HOUR: AgentBounds(max_actions_per_hour=200),
    Reason.MAX_SPEND_USD_PER_DAY: AgentBounds(max_spend=400_000),
    Reason.MAX_CALLS_PER_TOOL: AgentBounds(max_calls=350),
    Reason.TOO_MANY_RUNS: AgentBounds(max_runs_started_per_hour=30),
}
"""One agent for each, named after the limit it has."""


async def test_three_hours_of_traffic_over_midnight_keep_to_every_limit_and_waste_none() -> None:
    world = World(seed=4, wall=NOON.wall // DAY * DAY + 22.5 * HOUR)
    world.unreachable = 0.1
    refused: list[tuple[Reason, float, Moment]] = []
    while world.true < 3 * HOUR:
        world.pass_time(world.dice.expovariate(1 / 4))
        limit = world.dice.choice([*LIMITED])
        plan, run = replace(PLAN, limits=LIMITED[limit]), f"r{world.true // 60:.0f}"
        prices = [world.dice.choice([0, 1000, 2500]) for _ in range(world.dice.choice([1, 1, 1, 8]))]
        ends = await asyncio.gather(*(world.call(limit, run, plan, price) for price in prices))
        for end in ends:
            if end.denial is not None and end.reason is not Reason.UPSTREAM_FAILED:
                assert end.reason is limit
                refused.append((limit, world.true, world.now))
    assert {limit for limit, *_ in refused} == {*LIMITED}
    for limit in LIMITED:
        sent = [call for call in world.sent if call.agent == limit]
        days = [[call for call in sent if call.at.wall // DAY == day] for day in {c.at.wall // DAY for c in sent}]
        if limit is Reason.MAX_ACTIONS_PER_HOUR:
            assert most_in_an_hour([call.true for call in sent]) == 200
        elif limit is Reason.MAX_SPEND_USD_PER_DAY:
            assert [400_000 - 2500 < sum(call.price for call in day) <= 400_000 for day in days] == [True, True]
        elif limit is Reason.MAX_CALLS_PER_TOOL:
            assert [len(day) for day in days] == [350, 350]
        else:
            assert len({call.run for call in sent}) <= 4 * 30
    for limit, true, at in refused:
        assert_there_was_no_room(world, limit, true, at)


def assert_there_was_no_room(world: World, limit: Reason, true: float, at: Moment) -> None:
    """An hour may last a second longer. Calls of the same instant may have come after it."""
    sent = [call for call in world.sent if call.agent == limit and call.true <= true]
    today = [call for call in sent if call.at.wall // DAY == at.wall // DAY]
    within = [call for call in sent if call.true >= true - HOUR - 1]
    if limit is Reason.MAX_ACTIONS_PER_HOUR:
        assert len(within) + world.lost(limit, true) >= 200
    elif limit is Reason.MAX_SPEND_USD_PER_DAY:
        assert sum(call.price for call in today) + 2500 * world.lost(limit, true) > 400_000 - 2500
    elif limit is Reason.MAX_CALLS_PER_TOOL:
        assert len(today) + world.lost(limit, true) >= 350


@pytest.mark.parametrize("seed", range(8))
async def test_a_clock_that_jumps_both_ways_gives_no_hour_back_and_locks_nobody_out(seed: int) -> None:
    """With restarts in between, and the clock set back meanwhile. (One set forward while the gateway is down looks like time that passed:
    that is what a wall clock is asked for.)
    """
    limits = AgentBounds(max_actions_per_hour=50, max_spend=150_000)
    plan = replace(PLAN, limits=limits)
    world = World(seed, NOON.wall)
    for task in range(400):
        world.pass_time(world.dice.choice([0.0, 1.0, 60.0, 700.0]))
        what = world.dice.choice(["calls", "calls", "calls", "jump", "restart"])
        if what == "jump":
            world.set_clock(world.dice.choice([-1.0, 1.0]) * world.dice.choice([1.0, 5000.0, DAY, 400 * DAY]))
        elif what == "restart":
            world.restart(down=5.0, set_by=world.dice.choice([0.0, 0.0, -3.0, -5000.0, -DAY]))
        for _ in range(world.dice.randrange(12)):
            await world.call("billing", f"task-{task}", plan, 1000)
    assert {*world.heard} <= {Reason.OK, Reason.MAX_ACTIONS_PER_HOUR, Reason.MAX_SPEND_USD_PER_DAY}
    assert world.heard[Reason.MAX_ACTIONS_PER_HOUR] > 0
    assert most_in_an_hour([call.true for call in world.sent]) == 50
    by_day = Counter[int]()
    for call in world.sent:
        by_day[int(call.at.wall // DAY)] += call.price
    assert max(by_day.values()) <= 150_000
    world.set_clock(1000 * DAY)
    world.pass_time(HOUR + 1.0)
    ends = [await world.call("billing", "last", plan, 1000) for _ in range(51)]
    assert [end.reason for end in ends] == [Reason.OK] * 50 + [Reason.MAX_ACTIONS_PER_HOUR]


async def test_ten_thousand_runs_at_once_have_their_own_budgets_each() -> None:
    limits = AgentBounds(max_runs_started_per_hour=10_000)
    plan = replace(PLAN, budgets=replace(BUDGETS, max_tool_calls=2), limits=limits)
    world = World(seed=1, wall=NOON.wall)
    calls = [f"r{number}" for number in range(10_000)] * 3
    world.dice.shuffle(calls)
    await asyncio.gather(*(world.call("billing", run, plan) for run in calls))
    assert world.heard == {Reason.OK: 20_000, Reason.MAX_TOOL_CALLS: 10_000}
    assert set(Counter(sent.run for sent in world.sent).values()) == {2}
    assert (await world.call("billing", "r10000", plan)).reason is Reason.TOO_MANY_RUNS
    assert world.counts.ledger.live == 0, "each ended with its third call"
