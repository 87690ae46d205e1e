"""Which key of the policy is behind an objection: what an operator would change. Pure; how the objection came about is the guards'."""

from typing import TYPE_CHECKING

from gateway.denial import Reason
from gateway.policy.plans.agents import BUILT_IN_BUDGETS, DEFAULT_AGENT, NO_ENTRY
from gateway.policy.schema.section import Section, written
from gateway.policy.snapshot import Plan, Rule

if TYPE_CHECKING:
    from gateway.policy.compiled import Compiled  # which asks here

_BUDGETS = {
    Reason.MAX_STEPS: "AGENT_MAX_STEPS",
    Reason.MAX_TOOL_CALLS: "AGENT_MAX_TOOL_CALLS",
    Reason.MAX_SECONDS: "AGENT_MAX_SECONDS",
}
_OF_TOOL = {
    Reason.ARGUMENTS_NOT_ALLOWED: "arguments",
    Reason.MAX_CALLS: "max_calls",
    Reason.REQUEST_TOO_LARGE: "max_request_bytes",
    Reason.RESPONSE_TOO_LARGE: "max_response_bytes",
    Reason.RATE_LIMITED: "rate",
}
_OF_AGENT = {
    Reason.MAX_ACTIONS_PER_HOUR: "max_actions_per_hour",
    Reason.MAX_SPEND_USD_PER_DAY: "max_spend_usd_per_day",
}
_OF_RUNS = {
    Reason.RUN_ID_REQUIRED: "anonymous",
    Reason.MAX_USD: "max_usd",
    Reason.TOO_MANY_RUNS: "max_started_per_hour",
}


def rule_of(reason: Reason, plan: Plan, compiled: "Compiled") -> Rule:
    """The rule that the reason stands for, for this agent and tool. "" where none of the policy's does."""
    if reason is Reason.TOOL_NOT_ALLOWED:
        return _list_entry(plan, compiled)
    if reason is Reason.TOOL_NOT_CONFIGURED:
        return Rule(f"missing: {plan.missing}")
    if reason in _BUDGETS:
        return _budget(_BUDGETS[reason], plan, compiled)
    if reason in _OF_TOOL:
        return _at("tools", "definitions", plan.tool, _OF_TOOL[reason])
    if reason in _OF_AGENT:
        return _at("agents", _entry_of(plan.agent, compiled), _OF_AGENT[reason])
    if reason in _OF_RUNS:
        return _at("runs", _OF_RUNS[reason])
    if reason is Reason.LOOP_DETECTED:
        own = _definition(plan.tool, compiled)
        of_tool = own is not None and own.get("max_identical_calls") is not None
        return _at(*(("tools", "definitions", plan.tool) if of_tool else ("runs",)), "max_identical_calls")
    if reason is Reason.MAX_CALLS_PER_TOOL:
        agent = _entry_of(plan.agent, compiled)
        return _at("agents", agent, "max_calls_per_tool")
    if reason is Reason.CIRCUIT_OPEN and plan.upstream is not None:
        section = "mcp_servers" if plan.upstream.mcp is not None else "upstreams"
        return _at(section, plan.upstream.name, "circuit_breaker")
    return _at("egress") if reason is Reason.EGRESS_NOT_ALLOWED else Rule("")


def _at(*key: str) -> Rule:
    return Rule(".".join(key), key)


def _list_entry(plan: Plan, compiled: "Compiled") -> Rule:
    """What the plan says of the lists; where no list names the tool, the one that would have to."""
    where, colon, _ = plan.rule.partition(': "')
    if colon and where.startswith(("tools.", "agents.")):
        agent, name = where.removeprefix("agents.").rpartition(".")[::2]
        key = ("agents", agent, name) if where.startswith("agents.") else tuple(where.split("."))
        return Rule(plan.rule, key)
    if plan.rule != NO_ENTRY:
        return Rule(plan.rule)  # of what was set through the governed door
    agent = _entry_of(plan.agent, compiled)
    entry = compiled.agents.get(agent)
    own = entry is not None and written(entry).get("allowlist") is not None
    key = ("agents", agent, "allowlist") if own else ("tools", "allowlist")
    return Rule(f"no entry of {'.'.join(key)}", key)


def _budget(name: str, plan: Plan, compiled: "Compiled") -> Rule:
    agent = _entry_of(plan.agent, compiled)
    entry = compiled.agents.get(agent)
    if entry is not None and written(entry.budgets).get(name) is not None:
        return _at("agents", agent, "budgets", name)
    if compiled.general.budgets[name] == BUILT_IN_BUDGETS[name]:
        return Rule(f"{name} ({BUILT_IN_BUDGETS[name]})", ("runtime", "env", name))
    return Rule(f"runtime.env.{name}, or the environment's", ("runtime", "env", name))


def _entry_of(agent: str, compiled: "Compiled") -> str:
    return agent if agent in compiled.agents else DEFAULT_AGENT


def _definition(tool: str, compiled: "Compiled") -> dict[str, object] | None:
    found: Section | None = compiled.definitions.get(tool)
    return None if found is None else dict(written(found))
