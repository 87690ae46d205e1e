"""May run control add a step? The guards that an announced step has to pass, though it is no call."""

from gateway.guards import REPORTABLE
from gateway.guards.overloaded import no_room_for_run
from gateway.guards.run import ended
from gateway.guards.seconds import out_of_time
from gateway.guards.steps import out_of_steps
from gateway.model import Denial, Moment, RunKey
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def judge_step(key: RunKey, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """`plan`: any of the agent's. In report mode a spent budget passes, as it does for a call."""
    run, budgets = counts.ledger.find(key, plan.budgets, now), plan.budgets
    denial = (
        no_room_for_run(key, counts)
        or (ended(run, budgets, now) if run else None)
        or out_of_time(run, budgets, now)
        or out_of_steps(run, budgets, now)
    )
    return None if denial is not None and plan.report and denial.reason in REPORTABLE else denial
