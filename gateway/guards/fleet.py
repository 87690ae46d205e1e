"""What all gateways' counts together say against a call: the same objections as this process's own guards, in the same sentences."""

from gateway.denial import Denial
from gateway.guards import (
    max_actions_per_hour,
    max_calls,
    max_calls_per_tool,
    max_spend_usd_per_day,
    max_usd,
    tool_calls,
)
from gateway.guards.run import ended
from gateway.guards.seconds import out_of_time
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.run import Run
from gateway.state.shared import Answer


def objection(answer: Answer, call: ToolCall, plan: Plan, run: Run, now: Moment) -> Denial | None:
    """`run` has learned what the answer says of it."""
    budgets, limits, price = plan.budgets, plan.limits, plan.price(call.spend)
    match answer.word:
        case "ok":
            return None
        case "ended":
            return ended(run, budgets, now)
        case "seconds":
            return out_of_time(run, budgets, now)
        case "calls":
            return tool_calls.used_up(answer.run.calls, budgets.max_tool_calls)
        case "usd":
            return max_usd.out(answer.run.spend, price, budgets.max_spend or 0)
        case "tool":
            return max_calls.used_up(answer.run.tool_calls, plan.max_calls or 0, call.tool)
        case "hour":
            return max_actions_per_hour.used_up(answer.hour_used, limits.max_actions_per_hour or 0, answer.hour_wait)
        case "day_spend":
            return max_spend_usd_per_day.out(answer.day_spend, price, limits.max_spend or 0, now)
        case _:
            return max_calls_per_tool.used_up(answer.day_tool, limits.max_calls or 0, call.tool, now)


def local_objection(call: ToolCall, plan: Plan, run: Run) -> Denial | None:
    """The fleet is out of reach, and the call, which is reserved, would go on with what is known here."""
    budgets, price = plan.budgets, plan.price(call.spend)
    if run.tool_calls > budgets.max_tool_calls:
        return tool_calls.used_up(run.tool_calls - 1, budgets.max_tool_calls)
    if budgets.max_spend is not None and run.spend > budgets.max_spend:
        return max_usd.out(run.spend - price, price, budgets.max_spend)
    if plan.max_calls is not None and run.calls_of(call.tool) > plan.max_calls:
        return max_calls.used_up(run.calls_of(call.tool) - 1, plan.max_calls, call.tool)
    return None
