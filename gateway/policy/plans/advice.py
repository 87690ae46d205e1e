"""What is allowed but worth a second look: the warnings of `check`, the start and /v1/policy, a sentence each."""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.model import Effect
from gateway.policy.document.problems import shown_name, suggestion
from gateway.policy.plans.given import Given
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.tools import BUILT_IN, NO_BUDGETS, Tools
from gateway.policy.schema.fields import REST
from gateway.policy.schema.section import written
from gateway.policy.schema.sections import Agent, Policy
from gateway.policy.snapshot import Plan

_CHANGING = frozenset(["PUT", "PATCH", "DELETE"])
_MOST_NAMED = 3
_MOST_COMPARED = 8  # tools of the very same reach; more would make the comparison quadratic and tell nothing new


class Reach(NamedTuple):
    """Requests a tool can make an upstream see."""

    tool: str
    origin: str
    path: str
    whole: bool
    """Everything below the path, too."""
    methods: frozenset[str] | None


def warnings(policy: Policy, given: Given, tools: Tools) -> tuple[str, ...]:
    """All of them, in a stable order."""
    plans = [tools.template(name)(agent="", allowed=True, rule="", budgets=NO_BUDGETS) for name in tools.names]
    return (
        *_performed_by_nobody(policy, plans),
        *_undeclared_effects(policy, plans),
        *_open_default_agent(policy),
        *_unknown_agent(policy, given),
        *_free_of_charge(policy),
        *_closed_door(policy),
        *_limits_of_nothing(policy),
        *_contained(policy, plans),
        *_changing_reads(plans),
        *_servers_of_nobody(policy),
        *_ways_out(policy),
        *_resting_rollout(policy, given),
        *_ignored_files(given),
    )


def _performed_by_nobody(policy: Policy, plans: list[Plan]) -> Iterator[str]:
    allowed = _allowed(policy)
    for plan in plans:
        if plan.tool in allowed and plan.missing is not None:
            remedy = "it needs" if plan.tool.startswith("http.") else "set GATEWAY_UPSTREAM or write"
            yield f"{plan.tool}: allowed, but nothing performs it (tool_not_configured): {remedy} {plan.missing}"


def _allowed(policy: Policy) -> set[str]:
    """Names and patterns of every allowlist."""
    return set(policy.tools.allowlist).union(*(agent.allowlist or () for agent in policy.agents.values()))


def _undeclared_effects(policy: Policy, plans: list[Plan]) -> Iterator[str]:
    allowed = _allowed(policy)
    for plan in plans:
        definition = policy.tools.definitions.get(plan.tool)
        undeclared = definition is None or definition.effect is None
        told = plan.tool.startswith("http.") or plan.heeds_annotations
        if undeclared and not told and (definition is not None or plan.tool in allowed):
            yield f"{plan.tool}: effect undeclared, treated as write: not repeated once sent, stopped by disable_writes"


def _open_default_agent(policy: Policy) -> Iterator[str]:
    bounded = any(agent.token or written(agent.budgets) or _limited(agent) for agent in policy.agents.values())
    if bounded and "default" not in policy.agents:
        yield (
            "agents.default is not written: a caller that drops its token is judged by tools.allowlist without agent limits; "
            "agents.default: {allowlist: []} closes that"
        )


def _unknown_agent(policy: Policy, given: Given) -> Iterator[str]:
    fixed, named = given.agent_id, policy.agents.keys() - {"default"}
    if fixed is not None and named and fixed not in policy.agents:
        hint = suggestion(fixed, sorted(named))
        yield f"GATEWAY_AGENT_ID={fixed} is no agent of this policy, so its calls are judged like those of nobody known{hint}"


def _free_of_charge(policy: Policy) -> Iterator[str]:
    limited = [f"agents.{name}.max_spend_usd_per_day" for name, a in policy.agents.items() if a.max_spend_usd_per_day]
    limited = ["runs.max_usd"] * (policy.runs.max_usd is not None) + limited
    priced = any(definition.cost_usd for definition in policy.tools.definitions.values())
    if limited and not priced and not policy.governed.enabled:
        yield f"{limited[0]}: no tool has a cost_usd, so nothing is charged and this limit refuses nothing"


def _closed_door(policy: Policy) -> Iterator[str]:
    if policy.governed.enabled and policy.governed.api_key is None:
        yield "governed: enabled without api_key, so the door under /v1 is closed"


def _limits_of_nothing(policy: Policy) -> Iterator[str]:
    """Most likely a tool's name was misspelt, and the tool that was meant has no limit."""
    for name, agent in policy.agents.items():
        if not agent.max_calls_per_tool:
            continue
        allowed = policy.tools.allowlist if agent.allowlist is None else agent.allowlist
        wider = Patterns.of(allowed, None)
        narrower = {pattern for entry in allowed for pattern in (entry, *_above(entry))}
        for limited in agent.max_calls_per_tool:
            if limited not in narrower and wider.find(limited) is None:
                here = f"agents.{name}.max_calls_per_tool.{limited}"
                yield f"{here}: this agent may call no such tool, so the limit refuses nothing"


def _above(entry: str) -> Iterator[str]:
    """The patterns that match all that this one does: of `a.b.c` `a.b.*`, `a.*`, `*`."""
    above = entry.removesuffix(".*").rpartition(".")[0]
    while above:
        yield above + ".*"
        above = above.rpartition(".")[0]
    yield "*"


def _limited(agent: Agent) -> bool:
    given = agent.max_actions_per_hour is not None or agent.max_spend_usd_per_day is not None
    return given or bool(agent.max_calls_per_tool)


def _changing_reads(plans: list[Plan]) -> Iterator[str]:
    for plan in plans:
        changing = sorted((plan.methods or frozenset()) & _CHANGING)
        if plan.effect is Effect.READ and (changing or (plan.methods is None and not plan.builtin)):
            yield f"{plan.tool}: a read that takes {', '.join(changing) or 'any method'} may be repeated and passes disable_writes"


def _servers_of_nobody(policy: Policy) -> Iterator[str]:
    allowed = _allowed(policy)
    for server in policy.mcp_servers:
        if "*" not in allowed and not any(entry.startswith(f"{server}.") for entry in allowed):
            yield f"mcp_servers.{server}: no allowlist names a tool of it ({server}.*), so every call is refused"


def _ways_out(policy: Policy) -> Iterator[str]:
    """Tools of the egress rules without a host, hosts without a tool, and the rule that is none."""
    allowed, hosts = _allowed(policy), policy.egress.allow_hosts
    going_out = sorted(entry for entry in allowed if entry == "http.*" or entry in BUILT_IN)
    if going_out and "allow_hosts" not in written(policy.egress):
        yield f"{', '.join(going_out)}: allowed, but egress.allow_hosts is not written, so each call is refused"
    if hosts and not going_out and "*" not in allowed:
        yield "egress.allow_hosts: no allowlist names a tool that goes there (http.get, http.connect, …), so nobody does"
    if "*" in hosts:
        yield 'egress.allow_hosts: "*" lets whatever an agent knows go to any public host'


def _resting_rollout(policy: Policy, given: Given) -> Iterator[str]:
    if policy.rollout is not None and not given.candidate:
        yield "rollout rests: there is no candidate.yaml"


def _ignored_files(given: Given) -> Iterator[str]:
    for name in given.ignored_files:
        if name == "kill_switch.yaml":
            yield f"{name} is ignored: it stops calls in a policy folder, and the policy here is a single file"
            continue
        yield f"{shown_name(name)} is ignored: a policy folder holds policy.yaml, candidate.yaml and kill_switch.yaml"


def _contained(policy: Policy, plans: list[Plan]) -> Iterator[str]:
    """Whoever may call the wider tool needs no leave for the narrower one."""
    reaches = [reach for plan in plans for reach in _reaches(policy, plan)]
    wide: dict[tuple[str, str], list[Reach]] = {}
    exact: dict[tuple[str, str], list[Reach]] = {}
    for reach in reaches:
        same = (wide if reach.whole else exact).setdefault((reach.origin, reach.path), [])
        if len(same) < _MOST_COMPARED:
            same.append(reach)
    inside: dict[str, list[str]] = {}
    for reach in reaches:
        candidates = [] if reach.whole else list(exact[(reach.origin, reach.path)])
        for prefix in _prefixes(reach.path):
            candidates += wide.get((reach.origin, prefix), [])
        for other in candidates:
            if other.tool != reach.tool and _overlap(other.methods, reach.methods):
                inside.setdefault(other.tool, []).append(reach.tool)
    for tool, found in sorted(inside.items()):
        names = sorted(set(found))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{tool} also reaches what {', '.join(names[:_MOST_NAMED])}{more} can do: allowing the one allows the other"


def _reaches(policy: Policy, plan: Plan) -> Iterator[Reach]:
    if plan.upstream is None or plan.upstream.mcp is not None:  # every tool of an MCP server has one address
        return
    upstream = plan.upstream
    yield Reach(plan.tool, upstream.origin, upstream.base_path + plan.path, plan.takes_rest, plan.methods)
    definition = policy.tools.definitions.get(plan.tool)
    if definition is not None and definition.route is not None:
        path = definition.route.partition(" ")[2]
        yield Reach(plan.tool, upstream.origin, path.removesuffix(REST), path.endswith(REST), plan.methods)


def _prefixes(path: str) -> Iterator[str]:
    """The path and everything it is below: `/a/b`, `/a/`, `/a`, `/`, ``. (A route's `/a/{rest*}` has no `/a`, a path's has.)"""
    yield path
    while path:
        above = path.rpartition("/")[0]
        if path != above + "/":
            yield above + "/"
        yield above
        path = above


def _overlap(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or other is None or not one.isdisjoint(other)
