"""What the one question leaves out would not have objected, whatever stands in the way of a call; and most calls are spared the rest."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from gateway.guards import CAN_OBJECT, GUARDS, HINDRANCES, judge
from gateway.guards.hindrance import unhindered
from gateway.model import Effect, RunKey, Target, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from tests.unit.made_up import BUDGETS, NOON, UPSTREAM, a_call, a_charge, a_plan, a_switch, later

SESSION = "mcp-" + "0" * 32


class Case:
    """A call that goes on in its run, until something stands in its way."""

    def __init__(self) -> None:
        self.call: ToolCall = a_call(step=3)
        self.plan: Plan = a_plan()
        self.counts = Counts(2)
        self.seconds = 1.0
        for run in ("r1", "", SESSION):
            self.counts.ledger.reserve(a_charge(RunKey("scout", run)), BUDGETS)

    def limit(self, **budgets: int) -> None:
        self.plan = replace(self.plan, budgets=replace(self.plan.budgets, **budgets))

    def fill(self) -> None:
        for _ in range(2):
            self.counts.in_flight.enter(self.call, Effect.READ)

    def finish(self) -> None:
        self.counts.ledger.finish(RunKey("scout", "r1"), "finish", NOON)

    def break_upstream(self) -> None:
        for _ in range(UPSTREAM.breaker.failures):
            trial = self.counts.breakers.begin(UPSTREAM.name, UPSTREAM.breaker, NOON.mono)
            if trial is not None:
                trial.failed(NOON.mono, 0.5)

    def set(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)


STEPS: dict[str, Callable[[Case], None]] = {
    "a new run": lambda case: case.set(call=a_call("new")),
    "no room for it": lambda case: setattr(case.counts.ledger, "max_live", 0),
    "anonymous": lambda case: case.set(call=a_call("")),
    "in a session": lambda case: case.set(call=a_call(SESSION)),
    "only with a run": lambda case: case.set(plan=replace(case.plan, anonymous="deny")),
    "report mode": lambda case: case.set(plan=replace(case.plan, report=True)),
    "out of calls": lambda case: case.limit(max_tool_calls=1),
    "out of steps": lambda case: case.limit(max_steps=2),
    "late": lambda case: case.set(seconds=60.0),
    "finished": lambda case: case.finish(),
    "a fetch": lambda case: case.set(call=case.call._replace(destination=Target("http", "elsewhere.example", 80, "/"))),
    "killed": lambda case: case.counts.switches.put(a_switch("all")),
    "draining": lambda case: setattr(case.counts, "draining", True),
    "full": Case.fill,
    "a broken upstream": Case.break_upstream,
    "a pause": lambda case: case.counts.pacers.pause("search.read", 100.0, NOON.mono),
}


@pytest.mark.parametrize("steps", [(), *combinations(STEPS, 1), *combinations(STEPS, 2)], ids=" and ".join)
def test_no_guard_that_an_unhindered_call_leaves_out_would_object(steps: tuple[str, ...]) -> None:
    case = Case()
    for step in steps:
        STEPS[step](case)
    call, plan, counts, now = case.call, case.plan, case.counts, later(case.seconds)
    objecting = [guard.__module__ for guard in HINDRANCES if guard(call, plan, counts, now) is not None]
    free = unhindered(call, plan, counts, counts.ledger.find(call.run, plan.budgets, now), now)
    assert not (free and objecting)
    assert free or steps, "a run that goes on"


def test_every_guard_that_depends_on_more_than_the_plan_is_left_out() -> None:
    assert {*GUARDS} - {*CAN_OBJECT} == HINDRANCES


def test_whoever_has_found_the_run_may_hand_it_over() -> None:
    case = Case()
    run = case.counts.ledger.find(case.call.run, case.plan.budgets, NOON)
    assert judge(case.call, case.plan, case.counts, NOON, run) == (None, None)
