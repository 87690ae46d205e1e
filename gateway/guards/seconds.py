"""Has the run time left?"""

from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Counted from the run's first call or step. An anonymous window has no end of its own: a new one follows."""
    run = counts.ledger.find(call.run, plan.budgets, now)
    return None if run is not None and run.window else out_of_time(run, plan.budgets, now)


def out_of_time(run: Run | None, budgets: Budgets, now: Moment) -> Denial | None:
    """Objects to a call or a step of a run whose time is up."""
    if (run.elapsed(now) if run else 0.0) < budgets.max_seconds:
        return None
    return Denial(
        Reason.MAX_SECONDS,
        f"This run has used all of its {budgets.max_seconds:g} seconds (AGENT_MAX_SECONDS)."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_SECONDS.value,
    )
