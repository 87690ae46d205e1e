"""What is found out about plans, once for each."""

from dataclasses import replace

from gateway.policy.remembered import forget_plans, remembered
from gateway.policy.snapshot import Plan
from tests.unit.made_up import PLAN

asked: list[Plan] = []


@remembered
def cost(plan: Plan) -> int:
    asked.append(plan)
    return plan.cost


def test_a_plan_is_looked_at_once_until_another_policy_comes_into_force() -> None:
    twin = replace(PLAN)
    assert [cost(plan) for plan in (PLAN, twin, PLAN, twin)] == [PLAN.cost] * 4
    assert asked == [PLAN, twin]
    forget_plans()
    assert cost(PLAN) == PLAN.cost
    assert asked == [PLAN, twin, PLAN]
