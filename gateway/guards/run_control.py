"""May run control add a step? The guards that an announced step has to pass, though it is no call of a tool."""

from gateway.bounds import AgentBounds
from gateway.denial import Denial
from gateway.guards import REPORTABLE
from gateway.guards.kill_switch import killed
from gateway.guards.overloaded import no_room_for_run
from gateway.guards.run import ended
from gateway.guards.seconds import out_of_time
from gateway.guards.steps import out_of_steps
from gateway.guards.too_many_runs import no_new_run
from gateway.model import Budgets, Effect, Moment, RunKey
from gateway.state.counts import Counts


def judge_step(
    key: RunKey, budgets: Budgets, limits: AgentBounds, counts: Counts, now: Moment, *, report: bool
) -> Denial | None:
    """In report mode (`report`) a spent budget lets the step pass, as it does a call; an operator's or the agent's own end does not."""
    switch = counts.switches.stops(key.agent, key.id, "", Effect.READ, now)
    run = counts.ledger.find(key, budgets, now)
    denial = (
        (killed(switch) if switch else None)
        or no_room_for_run(key, counts)
        or (ended(run, budgets, now) if run else None)
        or out_of_time(run, budgets, now)
        or out_of_steps(run, budgets, now)
        or (no_new_run(key, limits.max_runs_started_per_hour, counts, now) if run is None else None)
    )
    return None if denial is not None and report and denial.reason in REPORTABLE else denial
