"""What a policy compiles to, in two forms: plain data, which passes between processes, and the Snapshot that calls look things up in."""

import hashlib
import pickle
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

from gateway.bounds import AgentBounds, Pace
from gateway.denial import Reason
from gateway.model import Budgets, KillSwitch
from gateway.policy import governed
from gateway.policy.governed import Overlay
from gateway.policy.packed import Packed, pack
from gateway.policy.plans.agents import DEFAULT_AGENT, AgentRules, GeneralRules, agent_rules
from gateway.policy.plans.routes import Routes
from gateway.policy.plans.tools import ToolRules, Tools
from gateway.policy.rules import rule_of
from gateway.policy.schema.sections import Agent, Policy
from gateway.policy.schema.tools import Definition
from gateway.policy.snapshot import (
    GovernedPlan,
    IdempotencyPlan,
    Observability,
    Plan,
    RolloutPlan,
    RouteMatch,
    Rule,
    UpstreamPlan,
)

_MOST_PLANS = 16_384
"""Composed plans kept, the least used go first: another costs some ten microseconds, and made-up names cost a bounded memory."""
_MOST_RULES = 4096


class Compiled(NamedTuple):
    """Plain data: the same policy in another process. Of what can be large, nothing but texts and bytes."""

    version: str
    report: bool
    warnings: tuple[str, ...]
    overrides: tuple[str, ...]
    upstreams: Mapping[str, UpstreamPlan]
    allowed_origins: frozenset[str]
    identify_by_trace: bool
    observability: Observability
    idempotency: IdempotencyPlan
    governed: GovernedPlan
    rollout: RolloutPlan
    switches: tuple[KillSwitch, ...]
    tokens: Mapping[bytes, str]
    """Agents by the digest of their token: a look-up compares no secret byte by byte."""
    agents_with_token: frozenset[str]
    general: GeneralRules
    agents: Packed[Agent]
    """In the order of their names."""
    tool_rules: ToolRules
    definitions: Packed[Definition]
    routes: Routes
    written: bytes
    """The policy it was made from, for candidates that are laid over it."""
    size: int
    """Of what was compiled, in bytes: how long that takes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every tool name the policy spells out."""
        return self.tool_rules.names

    def policy(self) -> Policy:
        """The policy it was made from."""
        policy: Policy = pickle.loads(zlib.decompress(self.written))  # noqa: S301  made by `write`
        return policy

    def __repr__(self) -> str:
        return f"Compiled({self.version})"


def write(policy: Policy) -> tuple[bytes, int]:
    """A policy as `Compiled` keeps it, and its size."""
    packed = pack(policy)
    return zlib.compress(packed, 1), len(packed)


def digest_of(token: str) -> bytes:
    """The SHA-256 of a token: what is kept of it and compared."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


class CompiledPolicy:
    """The one implementation of Snapshot. Immutable but for the memos of what was asked for, which only ever repeat what `compiled` and
    `overlay` say.

    A candidate has the `live` policy beside it.
    """

    def __init__(
        self, compiled: Compiled, live: "CompiledPolicy | None" = None, overlay: Overlay = governed.NOTHING
    ) -> None:
        self.compiled = compiled
        self.overlay = overlay
        self.version = _version(compiled, overlay)
        self.report = compiled.report
        self.warnings = compiled.warnings
        self.overrides = compiled.overrides
        self.upstreams = compiled.upstreams
        self.allowed_origins = compiled.allowed_origins
        self.identify_by_trace = compiled.identify_by_trace
        self.observability = compiled.observability
        self.idempotency = compiled.idempotency
        self.governed = compiled.governed
        self.rollout = compiled.rollout
        self.switches = compiled.switches
        self.agents_with_token = compiled.agents_with_token
        self._tokens = compiled.tokens
        self._agents = compiled.agents
        self._default = _rules(compiled, DEFAULT_AGENT)
        self._tools: Tools = _tools(compiled, live._tools if live is not None else None)  # noqa: SLF001  of its own class
        # (Of functions, not methods: a memo that held its own policy would keep it from going when it is replaced.)
        self._rules = lru_cache(maxsize=_MOST_RULES)(partial(_rules, compiled))
        self._plans = lru_cache(maxsize=_MOST_PLANS)(
            partial(_compose, compiled, overlay, self._rules, self._default, self._tools)
        )

    def plan(self, agent: str, tool: str) -> Plan:
        return self._plans(agent, tool)

    def pace(self, tool: str) -> Pace:
        return self._tools.pace(tool)

    def budgets(self, agent: str) -> Budgets:
        return self._rules_of(agent).budgets

    def limits(self, agent: str) -> AgentBounds:
        return self.overlay.bounds(agent, self._rules_of(agent).limits, open_=self.governed.open)

    def rule(self, reason: Reason, plan: Plan) -> Rule:
        return rule_of(reason, plan, self.compiled)

    def arguments_schema(self, tool: str) -> object:
        definition = self.compiled.definitions.get(tool)
        return None if definition is None else definition.arguments

    def knows_agent(self, agent: str) -> bool:
        return agent in self._agents or agent in self.overlay.policies

    def agent_of_token(self, token: str) -> str | None:
        return self._tokens.get(digest_of(token))

    def route(self, method: str, path: str) -> RouteMatch | None:
        return self.compiled.routes.find(method, path)

    def tools(self) -> tuple[str, ...]:
        return self._tools.names

    def agents(self) -> tuple[str, ...]:
        return tuple(sorted({*self._agents, *self.overlay.policies})) if self.overlay.policies else tuple(self._agents)

    def _rules_of(self, agent: str) -> AgentRules:
        return self._rules(agent) if agent in self._agents else self._default


def _tools(compiled: Compiled, live: Tools | None) -> Tools:
    return Tools(compiled.tool_rules, compiled.definitions, compiled.upstreams, live)


def _rules(compiled: Compiled, agent: str) -> AgentRules:
    return agent_rules(compiled.general, agent, compiled.agents.get(agent) or Agent())


def _version(compiled: Compiled, overlay: Overlay) -> str:
    """Of all that calls are judged by. What was set through the governed door is part of it."""
    if not overlay.digest:
        return compiled.version
    return hashlib.sha256(compiled.version.encode() + overlay.digest).hexdigest()[:12]


def _compose(
    compiled: Compiled,
    overlay: Overlay,
    rules_of: Callable[[str], AgentRules],
    default: AgentRules,
    tools: Tools,
    agent: str,
    tool: str,
) -> Plan:
    rules = rules_of(agent) if agent in compiled.agents else default
    allowed, rule = rules.judge(tool)
    max_calls = rules.max_calls.find(tool)
    limits = rules.limits._replace(max_calls=max_calls[1]) if max_calls is not None else rules.limits
    plan = tools.template(tool)(agent=agent, allowed=allowed, rule=rule, budgets=rules.budgets, limits=limits)
    if overlay is governed.NOTHING:
        return plan
    return overlay.over(plan, named=tool in compiled.names, open_=compiled.governed.open)
