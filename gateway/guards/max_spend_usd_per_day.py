"""Has the agent, over all its runs, the money for this call today?"""

from math import ceil

from gateway.bounds import dollars
from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.agents import seconds_of_day_left
from gateway.state.counts import Counts


def can_object(plan: Plan) -> bool:
    """Only where the policy limits the agent's money."""
    return plan.limits.max_spend is not None


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Today is the UTC day. A call that costs more than a whole day's money will never pass."""
    limit = plan.limits.max_spend
    if limit is None:
        return None
    spent, price = counts.ledger.agents.today(call.agent, now).spend, plan.price(call.spend)
    return None if spent + price <= limit else out(spent, price, limit, now)


def out(spent: int, price: int, limit: int, now: Moment) -> Denial:
    """The denial, in the same words for a limit that this gateway holds and for one that a fleet shares."""
    wait = seconds_of_day_left(now) if price <= limit else None
    when = "" if wait is None else f", or wait: the day ends in {ceil(wait)} seconds"
    return Denial(
        Reason.MAX_SPEND_USD_PER_DAY,
        f"This agent has spent {dollars(spent)} of its {dollars(limit)} for this UTC day (max_spend_usd_per_day),"
        f" and this call costs {dollars(price)}. Finish with what you have{when}.",
        retry_after=wait,
    )
