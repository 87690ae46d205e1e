"""Does the call belong to a run that may still call?"""

from gateway.denial import Denial, Reason
from gateway.guards.max_usd import out_of_money
from gateway.guards.seconds import out_of_time
from gateway.guards.steps import out_of_steps
from gateway.guards.tool_calls import out_of_calls
from gateway.model import Budgets, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.ledger import ENDS_RUN
from gateway.state.run import Run, is_window

_SPENT = {
    Reason.MAX_SECONDS: (out_of_time, "time (AGENT_MAX_SECONDS)"),
    Reason.MAX_STEPS: (out_of_steps, "steps (AGENT_MAX_STEPS)"),
    Reason.MAX_TOOL_CALLS: (out_of_calls, "tool calls (AGENT_MAX_TOOL_CALLS)"),
    Reason.MAX_USD: (out_of_money, "money (runs.max_usd)"),
}
"""How a run that ended by a budget is told so: in the budget's own words while they are true, else by its name."""


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Refuses a call without a run id where the policy wants one, and every call of a run that has ended."""
    if plan.anonymous == "deny" and is_window(call.run):
        return _run_id_required()
    known = counts.ledger.find(call.run, plan.budgets, now)
    return None if known is None else ended(known, plan.budgets, now)


def replay_guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """For a repeat of an earlier call, which is charged nothing: what the run has spent since is not its concern."""
    if is_window(call.run):
        return guard(call, plan, counts, now)
    return live_guard(call, plan, counts, now)


def live_guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """For a call already admitted: a budget spent by others is not its concern, an end by the agent or an operator is."""
    known = counts.ledger.find(call.run, plan.budgets, now)
    return None if known is None or known.ended_by in ENDS_RUN else ended(known, plan.budgets, now)


def ended(known: Run, budgets: Budgets, now: Moment) -> Denial | None:
    """Objects to a call of a run that has ended."""
    if known.ended_by is None:
        return None
    if known.ended_by in _SPENT:
        still_spent, what = _SPENT[known.ended_by]
        return still_spent(known, budgets, now) or Denial(
            known.ended_by,
            f"This run ended when it was out of {what}, and an ended run stays ended."
            " Finish the task with what you have; further calls in this run will be refused.",
            known.ended_by.value,
        )
    if known.ended_by is Reason.LOOP_DETECTED:
        return Denial(
            Reason.LOOP_DETECTED,
            "This run ended when it made the same call too often (max_identical_calls), and an ended run stays ended."
            " Stop here and report what you have; further calls in this run will be refused.",
            Reason.LOOP_DETECTED.value,
        )
    if known.ended_by is Reason.KILL_SWITCH:
        return stopped_by_operator()
    return Denial(
        Reason.RUN_FINISHED,
        "This run was finished, and a finished run takes no more calls. Start a new run for a new task.",
        Reason.RUN_FINISHED.value,
    )


def stopped_by_operator() -> Denial:
    """Also for calls of the run that are in flight."""
    return Denial(
        Reason.KILL_SWITCH,
        "An operator has stopped this run. Stop here and report that the task was stopped.",
        Reason.KILL_SWITCH.value,
    )


def _run_id_required() -> Denial:
    return Denial(
        Reason.RUN_ID_REQUIRED,
        "This call names no run, and the policy counts every call to one (runs.anonymous: deny)."
        " Send a run id in the header Agent-Run-Id, call below /runs/{run_id}/, or name it as the user of the proxy URL.",
    )
