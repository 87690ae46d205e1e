"""Has the run, or the agent's anonymous window, the money for this call?"""

from math import ceil

from gateway.bounds import dollars
from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run, is_window


def can_object(plan: Plan) -> bool:
    """Only where the policy limits the money of a run."""
    return plan.budgets.max_spend is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """To the last millionth of a dollar: money is counted in whole ones."""
    limit = plan.budgets.max_spend
    if limit is None:
        return None
    run, price = counts.ledger.find(call.run, plan.budgets, now), plan.price(call.spend)
    spent = run.spend if run else 0
    if spent + price <= limit or counts.ledger.left_to_fleet(run):
        return None
    return _window_out(run, price, limit, plan.budgets, now) if is_window(call.run) else out(spent, price, limit)


def out(spent: int, price: int, limit: int) -> Denial:
    """A run's denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    return Denial(
        Reason.MAX_USD,
        f"This run has spent {dollars(spent)} of its {dollars(limit)} (runs.max_usd), and this call costs {dollars(price)}."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_USD.value,
    )


def _window_out(window: Run | None, price: int, limit: int, budgets: Budgets, now: Moment) -> Denial:
    """The next window helps, unless not even a whole one is enough."""
    spent = window.spend if window else 0
    left = None if window is None or price > limit else max(0.0, budgets.max_seconds - window.elapsed(now))
    wait = "" if left is None else f"Wait {ceil(left)} seconds before you call again, or finish"
    return Denial(
        Reason.MAX_USD,
        f"Calls without a run id have spent {dollars(spent)} of the {dollars(limit)} that this agent has in"
        f" {budgets.max_seconds:g} seconds (runs.max_usd), and this call costs {dollars(price)}."
        f" {wait or 'Finish'} with what you have.",
        retry_after=left,
    )


def out_of_money(run: Run, budgets: Budgets, now: Moment) -> Denial | None:
    """For a run that ended so: in the budget's own words while they are true."""
    if budgets.max_spend is None or run.spend < budgets.max_spend:
        return None
    return Denial(
        Reason.MAX_USD,
        f"This run has spent {dollars(run.spend)} of its {dollars(budgets.max_spend)} (runs.max_usd)."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_USD.value,
    )
