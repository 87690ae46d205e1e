"""Has the run a step left? Only an agent that announces its steps can run out of them."""

from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run, is_window


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """The last step's calls pass: only a step beyond the limit is refused. No wait helps, in a window either: its number stays."""
    limit = plan.budgets.max_steps
    if call.step is None or call.step <= limit:
        return None
    if is_window(call.run):
        return Denial(
            Reason.MAX_STEPS,
            f"A task may take {limit} steps, and this call announces a later one (AGENT_MAX_STEPS, header Agent-Step)."
            " Finish the task with what you have.",
        )
    return Denial(
        Reason.MAX_STEPS,
        f"This run may take {limit} steps, and this call announces a later one (AGENT_MAX_STEPS, header Agent-Step)."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_STEPS.value,
    )


def out_of_steps(run: Run | None, budgets: Budgets, now: Moment) -> Denial | None:
    """Objects to one more step of the run. (A call within its last step may go on.)"""
    used = (run.steps or 0) if run else 0
    if used < budgets.max_steps:
        return None
    return Denial(
        Reason.MAX_STEPS,
        f"This run has used all {used} of its {budgets.max_steps} steps (AGENT_MAX_STEPS)."
        " Finish the task with what you have; further calls in this run will be refused.",
        Reason.MAX_STEPS.value,
    )
