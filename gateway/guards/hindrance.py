"""Is there anything in the counts that could speak against a call? One question before the guards: where the answer is no, most need
not be asked. What it must be to leave one of them out, its own file says; tests/unit/guards/test_hindrance.py holds the two together.
"""

from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.run import Run


def unhindered(call: ToolCall, plan: Plan, counts: Counts, run: Run | None, now: Moment) -> bool:
    """The gateway takes calls, its tool and upstream take them at once, and its run, which has begun, has a call and time left."""
    budgets = plan.budgets
    return (
        run is not None
        and run.ended_by is None
        and run.tool_calls < budgets.max_tool_calls
        and (run.window or now.mono - run.began < budgets.max_seconds)
        and not (run.window and plan.anonymous == "deny")
        and (call.step is None or call.step <= budgets.max_steps)
        and call.destination is None
        and not counts.draining
        and not counts.switches
        and len(counts.in_flight) < counts.max_in_flight
        and counts.breakers.all_closed
        and counts.pacers.find(plan.queue) is None
    )
