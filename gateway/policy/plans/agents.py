"""What the policy says about each agent, whatever the tool: what it may call, and its budgets and limits."""

from typing import NamedTuple

from gateway.bounds import AgentBounds
from gateway.model import Budgets
from gateway.policy.plans.given import Given
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.tools import micro_usd
from gateway.policy.schema.section import written
from gateway.policy.schema.sections import Agent, Policy, RunBudgets

DEFAULT_AGENT = "default"
NO_ENTRY = "no allowlist entry"
"""The rule of a tool that no list names."""
BUILT_IN_BUDGETS = {"AGENT_MAX_STEPS": 25, "AGENT_MAX_TOOL_CALLS": 12, "AGENT_MAX_SECONDS": 60}


class GeneralRules(NamedTuple):
    """What holds for agents whose own entry says nothing else. They share it: a long allowlist is kept once."""

    allow: Patterns[str]
    """Pattern → the list it stands in."""
    deny: Patterns[str]
    """Refuses every agent, beside its own denylist."""
    budgets: dict[str, int]
    max_spend: int | None
    max_runs_started_per_hour: int


class AgentRules(NamedTuple):
    """What the policy says about one agent."""

    allow: Patterns[str]
    deny: tuple[Patterns[str], ...]
    """The general one first: it is named where both refuse by the same pattern."""
    budgets: Budgets
    limits: AgentBounds
    """All but max_calls, which depends on the tool."""
    max_calls: Patterns[int]

    def judge(self, tool: str) -> tuple[bool, str]:
        """Allowed? And the entry that decided. A denylist refuses, however specific the allow."""
        refusing = [found for patterns in self.deny if (found := patterns.find(tool)) is not None]
        if refusing:
            pattern, where = max(refusing, key=lambda found: (found[0] == tool, len(found[0])))
            return False, f'{where}: "{pattern}"'
        found = self.allow.find(tool)
        return (True, f'{found[1]}: "{found[0]}"') if found is not None else (False, NO_ENTRY)


def general_rules(policy: Policy, given: Given) -> GeneralRules:
    """The rules that hold for agents without a word of their own."""
    return GeneralRules(
        allow=Patterns.of(policy.tools.allowlist, "tools.allowlist"),
        deny=Patterns.of(policy.tools.denylist, "tools.denylist"),
        budgets=BUILT_IN_BUDGETS | written_budgets(policy.runtime.env) | dict(given.budgets),
        max_spend=None if policy.runs.max_usd is None else micro_usd(policy.runs.max_usd),
        max_runs_started_per_hour=policy.runs.max_started_per_hour,
    )


def agent_rules(general: GeneralRules, name: str, agent: Agent) -> AgentRules:
    """The general rules with the agent's own entry laid over them."""
    own_deny = (Patterns.of(agent.denylist, f"agents.{name}.denylist"),) if agent.denylist else ()
    budgets = general.budgets | written_budgets(agent.budgets)
    own_allow = agent.allowlist
    return AgentRules(
        general.allow if own_allow is None else Patterns.of(own_allow, f"agents.{name}.allowlist"),
        (general.deny, *own_deny),
        Budgets(
            max_steps=budgets["AGENT_MAX_STEPS"],
            max_tool_calls=budgets["AGENT_MAX_TOOL_CALLS"],
            max_seconds=float(budgets["AGENT_MAX_SECONDS"]),
            max_spend=general.max_spend,
        ),
        AgentBounds(
            max_actions_per_hour=agent.max_actions_per_hour,
            max_spend=None if agent.max_spend_usd_per_day is None else micro_usd(agent.max_spend_usd_per_day),
            max_runs_started_per_hour=general.max_runs_started_per_hour,
        ),
        Patterns(agent.max_calls_per_tool),
    )


def written_budgets(budgets: RunBudgets) -> dict[str, int]:
    """The budgets that this section sets."""
    return {key: value for key, value in written(budgets).items() if value is not None}
