"""A validated policy and what it was given → a Snapshot. Everything is merged, normalised or refused here, so that no call has to."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from pydantic import BaseModel

from gateway.bounds import AgentBounds
from gateway.model import Budgets, KillSwitch, Scope, Source
from gateway.policy.candidate import overlay
from gateway.policy.document.problems import Findings, Problem
from gateway.policy.document.yaml_loader import Document
from gateway.policy.plans import advice
from gateway.policy.plans.given import Given
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.routes import RESERVED, Routes
from gateway.policy.plans.tools import Tools, micro_usd
from gateway.policy.plans.upstreams import compile_upstreams, told_apart
from gateway.policy.schema.fields import unix_time
from gateway.policy.schema.sections import Agent, KillSwitches, Policy, RunBudgets
from gateway.policy.schema.validate import Read
from gateway.policy.snapshot import (
    Egress,
    IdempotencyPlan,
    Observability,
    Plan,
    Redaction,
    RolloutPlan,
    RouteMatch,
    UpstreamPlan,
)

DEFAULT_AGENT = "default"
BUILT_IN_BUDGETS = {"AGENT_MAX_STEPS": 25, "AGENT_MAX_TOOL_CALLS": 12, "AGENT_MAX_SECONDS": 60}
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")
_MOST_PLANS = 4096
"""Composed plans kept, the least used go first: made-up names cost some microseconds each and no memory."""


@dataclass(frozen=True, slots=True)
class AgentRules:
    """What the policy says about one agent, whatever the tool."""

    allow: Patterns[str]
    """Pattern → the list it stands in."""
    deny: Patterns[str]
    budgets: Budgets
    limits: AgentBounds
    """All but max_calls, which depends on the tool."""
    max_calls: Patterns[int]

    def judge(self, tool: str) -> tuple[bool, str]:
        """Allowed? And the entry that decided. A denylist refuses, however specific the allow."""
        found = self.deny.find(tool)
        if found is not None:
            return False, f'{found[1]}: "{found[0]}"'
        found = self.allow.find(tool)
        return (True, f'{found[1]}: "{found[0]}"') if found is not None else (False, "no allowlist entry")


def compile_policy(
    read: Read[Policy], document: Document, given: Given
) -> "tuple[CompiledPolicy | None, tuple[Problem, ...]]":
    """The Snapshot, or all problems of the file: those of reading it, then those that only the whole shows."""
    findings = Findings(document.file, document.mark, read.doubtful)
    findings.problems.extend(read.problems)
    if read.value is None:
        return None, tuple(findings.problems)
    compiled = CompiledPolicy(read.value, given, findings)
    return (None if findings.problems else compiled), tuple(findings.problems)


def compile_candidate(
    read: Read[Policy], document: Document, given: Given, live: "CompiledPolicy"
) -> "tuple[CompiledPolicy | None, tuple[Problem, ...]]":
    """The same for candidate.yaml, laid over the live policy."""
    findings = Findings(document.file, document.mark, read.doubtful)
    findings.problems.extend(read.problems)
    if read.value is None:
        return None, tuple(findings.problems)
    compiled = CompiledPolicy(overlay(live.policy, read.value, findings), given, findings, live)
    return (None if findings.problems else compiled), tuple(findings.problems)


class CompiledPolicy:
    """The one implementation of Snapshot. Immutable but for the memo of plans, which only ever repeats what compose says.

    A candidate is compiled beside the `live` policy.
    """

    report: bool
    warnings: tuple[str, ...]
    overrides: tuple[str, ...]

    def __init__(self, policy: Policy, given: Given, findings: Findings, live: "CompiledPolicy | None" = None) -> None:
        self.policy = policy
        self.report = policy.mode == "report"
        self.upstreams: Mapping[str, UpstreamPlan] = compile_upstreams(policy, given, findings)
        if live is not None:
            self.upstreams = told_apart(self.upstreams, live.upstreams)
        self.allowed_origins = frozenset(policy.allowed_origins)
        self.identify_by_trace = policy.runs.identify_by_trace
        self.observability = _observability(policy, findings)
        self.idempotency = IdempotencyPlan(policy.idempotency.ttl_hours * 3600.0, policy.idempotency.max_bytes)
        self.rollout = RolloutPlan() if policy.rollout is None else RolloutPlan(**policy.rollout.model_dump())
        self.switches = compile_switches(policy.kill_switch, "policy.yaml", Source.POLICY, given.now)
        self._tokens = _tokens(policy, given, findings)
        self.agents_with_token = frozenset(name for name, agent in policy.agents.items() if agent.token is not None)
        self._agents = {name: _rules(policy, given, name, agent) for name, agent in policy.agents.items()}
        self._default = self._agents.get(DEFAULT_AGENT) or _rules(policy, given, DEFAULT_AGENT, Agent())
        self._tools: Tools = Tools(policy, self.upstreams, _egress(policy), findings, live._tools if live else None)  # noqa: SLF001  of its own class
        self._routes = Routes()
        reserved = RESERVED | {"v1"} if policy.governed.enabled else RESERVED
        for tool, definition in policy.tools.definitions.items():
            if definition.route is not None:
                self._routes.add(tool, definition.route, findings, reserved=reserved)
        self._names = frozenset(self._tools.names)
        self._plans = lru_cache(maxsize=_MOST_PLANS)(partial(_compose, self._agents, self._default, self._tools))
        self.overrides = _overrides(policy, given)
        self.warnings = advice.warnings(policy, given, self._tools)
        self.version = "" if findings.problems else _version(policy, given)

    def plan(self, agent: str, tool: str) -> Plan:
        return self._plans(agent, tool)

    def budgets(self, agent: str) -> Budgets:
        return self._agents.get(agent, self._default).budgets

    def limits(self, agent: str) -> AgentBounds:
        return self._agents.get(agent, self._default).limits

    def knows_agent(self, agent: str) -> bool:
        return agent in self._agents

    def agent_of_token(self, token: str) -> str | None:
        return self._tokens.get(_digest(token))

    def route(self, method: str, path: str) -> RouteMatch | None:
        return self._routes.find(method, path)

    def tools(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))

    def agents(self) -> tuple[str, ...]:
        return tuple(sorted(self._agents))


def _compose(agents: Mapping[str, AgentRules], default: AgentRules, tools: Tools, agent: str, tool: str) -> Plan:
    """(Not a method: a memo that held its own policy would keep it from going when it is replaced.)"""
    rules = agents.get(agent, default)
    allowed, rule = rules.judge(tool)
    max_calls = rules.max_calls.find(tool)
    limits = rules.limits._replace(max_calls=max_calls[1]) if max_calls is not None else rules.limits
    return tools.template(tool)(agent=agent, allowed=allowed, rule=rule, budgets=rules.budgets, limits=limits)


def compile_switches(section: KillSwitches, who: str, source: Source, since: float) -> tuple[KillSwitch, ...]:
    """The stops a kill_switch section or file holds."""
    scopes = [Scope("all")] * section.disable_all + [Scope("writes")] * section.disable_writes
    scopes += [Scope("tool", pattern) for pattern in section.disable_tools]
    scopes += [Scope("agent", agent) for agent in section.disable_agents]
    scopes += [Scope("run", run) for run in section.disable_runs]
    until = unix_time(section.until) if section.until is not None else None
    return tuple(
        KillSwitch(scope, section.reason, who, since, until, section.cancel_in_flight, source)
        for scope in dict.fromkeys(scopes)
    )


def _rules(policy: Policy, given: Given, name: str, agent: Agent) -> AgentRules:
    if agent.allowlist is None:
        allow = Patterns.of(policy.tools.allowlist, "tools.allowlist")
    else:
        allow = Patterns.of(agent.allowlist, f"agents.{name}.allowlist")
    deny = dict.fromkeys(agent.denylist, f"agents.{name}.denylist")
    deny.update(dict.fromkeys(policy.tools.denylist, "tools.denylist"))
    budgets = BUILT_IN_BUDGETS | _set(policy.runtime.env) | dict(given.budgets) | _set(agent.budgets)
    return AgentRules(
        allow,
        Patterns(deny),
        Budgets(
            max_steps=budgets["AGENT_MAX_STEPS"],
            max_tool_calls=budgets["AGENT_MAX_TOOL_CALLS"],
            max_seconds=float(budgets["AGENT_MAX_SECONDS"]),
            max_spend=None if policy.runs.max_usd is None else micro_usd(policy.runs.max_usd),
        ),
        AgentBounds(
            max_actions_per_hour=agent.max_actions_per_hour,
            max_spend=None if agent.max_spend_usd_per_day is None else micro_usd(agent.max_spend_usd_per_day),
            max_runs_started_per_hour=policy.runs.max_started_per_hour,
        ),
        Patterns(agent.max_calls_per_tool),
    )


def _set(budgets: RunBudgets) -> dict[str, int]:
    return budgets.model_dump(exclude_none=True)


def _overrides(policy: Policy, given: Given) -> tuple[str, ...]:
    written = _set(policy.runtime.env)
    told = [
        f"{name}: the environment's {value} overrides runtime.env's {written[name]}"
        for name, value in sorted(given.budgets.items())
        if name in written and written[name] != value
    ]
    default = policy.upstreams.get("default")
    if given.upstream is not None and default is not None and default.url is not None:
        own = default.url.origin + default.url.path
        if given.upstream.rstrip("/") != own:
            told.append(
                f"GATEWAY_UPSTREAM: the environment's {_origin(given.upstream)} overrides upstreams.default.url's {_origin(own)}"
            )
    return tuple(told)


def _egress(policy: Policy) -> Egress:
    rules = policy.egress.allow_hosts
    return Egress(
        hosts=frozenset(rule for rule in rules if not rule.startswith("*")),
        suffixes=frozenset(rule.removeprefix("*.") for rule in rules if rule.startswith("*.")),
        any_host="*" in rules,
        ports=frozenset(policy.egress.ports),
        allow_private=tuple(sorted(set(policy.egress.allow_private))),
    )


def _observability(policy: Policy, findings: Findings) -> Observability:
    section = policy.observability
    redaction = section.redaction
    for name, pattern in redaction.patterns.items():
        # Imported here: a native library that only policies with patterns of their own pay for.
        import re2

        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(pattern, options)
        except re2.error:
            findings.add(("observability", "redaction", "patterns", name), "not an RE2 regular expression")
    return Observability(
        sampled_tool_results=section.sampled_tool_results,
        result_sample_rate=section.result_sample_rate,
        max_logged_bytes=section.max_logged_bytes,
        max_log_bytes_per_second=section.max_log_bytes_per_second,
        redaction=Redaction(redaction.enabled, redaction.keys, redaction.patterns, redaction.allow),
    )


def _origin(url: str) -> str:
    """Scheme and authority: a path may be a secret of its own (a webhook's)."""
    origin = "/".join(url.split("/", 3)[:3])
    return origin if origin == url.rstrip("/") else f"{origin}/…"


def _tokens(policy: Policy, given: Given, findings: Findings) -> dict[bytes, str]:
    """Agents by the digest of their token: a look-up compares no secret byte by byte."""
    owners: dict[bytes, str] = {}
    for name, agent in policy.agents.items():
        here = ("agents", name, "token")
        if agent.token is None:
            continue
        if name == DEFAULT_AGENT:
            findings.add(here, "the default agent is whoever shows no token, so it has none")
            continue
        token = given.expand(here, agent.token, findings)
        if token is None or given.secrets is None:
            continue
        if not _TOKEN.fullmatch(token):
            findings.add(here, "the token must be 1 to 1024 visible ASCII characters")
            continue
        owner = owners.setdefault(_digest(token), name)
        if owner != name:
            findings.add(here, f"the same token as agents.{owner}.token")
    return owners


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def _version(policy: Policy, given: Given) -> str:
    """Over the policy with its defaults filled in and secrets as written: comments, order of keys and rotated secrets do not change it."""
    # Entry by entry, for native code that chews on ten thousand at once holds up every other thread.
    digest = hashlib.sha256()
    large: tuple[Mapping[str, BaseModel], ...] = (policy.tools.definitions, policy.upstreams, policy.agents)
    for number, section in enumerate(large):
        for name, entry in sorted(section.items()):
            digest.update(_canonical([number, name, entry.model_dump(mode="json")]))
    whole = {
        "policy": policy.model_dump(mode="json", exclude={"tools": {"definitions"}, "upstreams": True, "agents": True}),
        "upstream": given.upstream,
        "budgets": dict(given.budgets),
    }
    digest.update(_canonical(whole))
    return digest.hexdigest()[:12]


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
