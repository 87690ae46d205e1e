"""Which key of the policy is behind an objection."""

import pytest

from gateway.denial import ANSWERS, Reason
from gateway.policy.plans.given import Given
from tests.unit.policy.policy_texts import compiled

POLICY = """
runtime: {env: {AGENT_MAX_STEPS: 9}}
tools:
  allowlist: ["search.*"]
  denylist: ["shell.*"]
  definitions:
    search.read: {max_calls: 3, max_identical_calls: 2}
    hub.x: {}
agents:
  own: {allowlist: [notes.write], denylist: ["search.old"], budgets: {AGENT_MAX_TOOL_CALLS: 3}}
upstreams: {default: {url: "http://127.0.0.1:9"}}
mcp_servers: {hub: {url: "http://127.0.0.1:9/mcp"}}
"""


@pytest.mark.parametrize(
    ("agent", "tool", "reason", "text"),
    [
        ("x", "search.read", "tool_not_allowed", 'tools.allowlist: "search.*"'),
        ("x", "shell.run", "tool_not_allowed", 'tools.denylist: "shell.*"'),
        ("x", "other", "tool_not_allowed", "no entry of tools.allowlist"),
        ("own", "other", "tool_not_allowed", "no entry of agents.own.allowlist"),
        ("own", "search.old", "tool_not_allowed", 'agents.own.denylist: "search.old"'),
        ("x", "http.nonsense", "tool_not_configured", ("missing: a tool of that name: http.* are built in, one for each method that"
         " the egress door takes")),
        ("x", "search.read", "max_tool_calls", "AGENT_MAX_TOOL_CALLS (12)"),
        ("own", "search.read", "max_tool_calls", "agents.own.budgets.AGENT_MAX_TOOL_CALLS"),
        ("x", "search.read", "max_steps", "runtime.env.AGENT_MAX_STEPS, or the environment's"),
        ("x", "search.read", "max_calls", "tools.definitions.search.read.max_calls"),
        ("x", "search.read", "loop_detected", "tools.definitions.search.read.max_identical_calls"),
        ("x", "search.new", "loop_detected", "runs.max_identical_calls"),
        ("own", "search.read", "max_actions_per_hour", "agents.own.max_actions_per_hour"),
        ("x", "search.read", "max_spend_usd_per_day", "agents.default.max_spend_usd_per_day"),
        ("x", "search.read", "max_calls_per_tool", "agents.default.max_calls_per_tool"),
        ("x", "search.read", "run_id_required", "runs.anonymous"),
        ("x", "search.read", "circuit_open", "upstreams.default.circuit_breaker"),
        ("x", "hub.x", "circuit_open", "mcp_servers.hub.circuit_breaker"),
        ("x", "search.read", "rate_limited", "tools.definitions.search.read.rate"),
        ("x", "search.read", "draining", ""),
    ],
)  # fmt: skip
def test_each_objection_stands_for_a_key(agent: str, tool: str, reason: str, text: str) -> None:
    policy = compiled(POLICY)
    assert policy.rule(Reason(reason), policy.plan(agent, tool)).text == text


def test_the_environments_budget_is_not_taken_for_the_built_in_one() -> None:
    policy = compiled(POLICY, Given(budgets={"AGENT_MAX_SECONDS": 5}))
    rule = policy.rule(Reason.MAX_SECONDS, policy.plan("x", "search.read"))
    assert rule.text == "runtime.env.AGENT_MAX_SECONDS, or the environment's"


@pytest.mark.parametrize("reason", ANSWERS)
def test_every_reason_can_be_asked(reason: Reason) -> None:
    policy = compiled(POLICY)
    rule = policy.rule(reason, policy.plan("nobody", "no.such"))
    assert all(isinstance(step, str) for step in rule.key)
