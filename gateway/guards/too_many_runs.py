"""May the agent start one more run?"""

from math import ceil

from gateway.denial import Denial, Reason
from gateway.model import Moment, RunKey, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Run ids, and MCP sessions, are the agent's to make up, each with budgets of its own: this bounds how many."""
    if counts.ledger.find(call.run, plan.budgets, now) is not None or not call.run.id:
        return None
    return no_new_run(call.run, plan.limits.max_runs_started_per_hour, counts, now)


def no_new_run(key: RunKey, limit: int, counts: Counts, now: Moment) -> Denial | None:
    """Objects to a call or a step that would start one run too many."""
    started = counts.ledger.agents.runs(key.agent, now)
    if started.used < limit:
        return None
    wait = counts.ledger.agents.wait(started, limit, now)
    when = "" if wait is None else f"; the next can start in {ceil(wait)} seconds"
    return Denial(
        Reason.TOO_MANY_RUNS,
        f"This agent has started {started.used:,} of the {limit:,} runs it may start in an hour (runs.max_started_per_hour)."
        f" Go on in a run that you have{when}.",
        retry_after=wait,
    )
