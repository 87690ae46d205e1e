"""What callers of the governed door set through it: policies of agents and registered tools, validated, and laid over the policy's plans.

They narrow what the policy file allows. Only with `governed.open: true` may they widen it, and never past a denylist. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar

import orjson

from gateway.bounds import AgentBounds
from gateway.policy.document.problems import Findings, Mark, Place
from gateway.policy.plans.agents import NO_ENTRY
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.tools import micro_usd
from gateway.policy.schema.fields import NO_ENTRIES, Count, Identifier, ToolName, ToolPattern, Usd, integer
from gateway.policy.schema.kinds import Form, section_of
from gateway.policy.schema.section import Section, filled
from gateway.policy.schema.wrongs import TooManyError, Wrongs
from gateway.policy.snapshot import Plan, RegisteredTool
from gateway.policy.targets import parse_target

GLOBAL = "global"
AGENT_SCOPE = "agent:"
LONGEST_URL = 2048
MOST_TOLD = 3
S = TypeVar("S", bound=Section)
_SCOPE = re.compile(rf"{GLOBAL}|{AGENT_SCOPE}[A-Za-z0-9._:-]{{1,128}}")


def _read_registered_url(text: str) -> str:
    if len(text) > LONGEST_URL:
        raise ValueError
    parse_target(text)
    return text


def _read_scope(text: str) -> str:
    if not is_scope(text):
        raise ValueError
    return text


def _read_secret(text: str) -> str:
    if not 8 <= len(text) <= 1024 or not text.isprintable():
        raise ValueError
    return text


def _read_description(text: str) -> str:
    if len(text) > 512 or not text.isprintable():
        raise ValueError
    return text


class PricingRule(Section):
    """What a call of a tool costs, at least."""

    tool: ToolPattern
    price_usd: Usd


class ApiPolicy(Section):
    """What POST /v1/policies/ID takes."""

    agent_id: Identifier
    allowed_tools: tuple[ToolPattern, ...] | None = None
    """None: what the policy file allows. An empty list allows nothing."""
    blocked_tools: tuple[ToolPattern, ...] = ()
    max_actions_per_hour: Count | None = None
    max_spend_usd_per_day: Usd | None = None
    max_calls_per_tool: Mapping[ToolPattern, Count] = NO_ENTRIES
    pricing_rules: tuple[PricingRule, ...] = ()


class Auth(Section):
    """How a registered tool knows that it is called by the gateway."""

    type: Literal["hmac_sha256"] = "hmac_sha256"
    secret: Annotated[str, Form("printable text of 8 to 1024 characters", _read_secret)]


class ApiTool(Section):
    """What POST /v1/tools takes."""

    name: ToolName
    url: Annotated[
        str, Form(f"an absolute http or https URL of at most {LONGEST_URL} characters", _read_registered_url)
    ]
    scope_id: Annotated[str, Form('"global" or "agent:ID"', _read_scope)] = GLOBAL
    auth: Auth | None = None
    timeout_ms: Annotated[int, integer(250, 120_000)] | None = None
    max_retries: Annotated[int, integer(0, 10)] = 2
    enabled: bool = True
    description: Annotated[str, Form("printable text of at most 512 characters", _read_description)] = ""


def is_scope(text: str) -> bool:
    """Can a tool be registered there?"""
    return _SCOPE.fullmatch(text) is not None


def read(section: type[S], document: object) -> S:
    """A JSON document as a section. `null` is as good as absent. Raises ValueError with one line that names what is wrong."""
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if value is not None}
    findings = Findings("", Mark(Place(1, 1)))
    value = None
    try:
        value = section_of(section).read(document, (), Wrongs(findings))
    except TooManyError:
        pass
    if findings.problems or not isinstance(value, section):
        told = [f"{problem.key}: {problem.text}" if problem.key else problem.text for problem in findings.problems]
        raise ValueError("; ".join(told[:MOST_TOLD]) + ("; …" if len(told) > MOST_TOLD else ""))
    return value


def read_tool(document: object) -> RegisteredTool:
    """Its secret has no id yet. Raises ValueError with one line that names what is wrong."""
    tool = read(ApiTool, document)
    secret = None if tool.auth is None else tool.auth.secret
    return RegisteredTool(
        name=tool.name,
        scope=tool.scope_id,
        url=tool.url,
        target=parse_target(tool.url),
        enabled=tool.enabled,
        timeout=(tool.timeout_ms or 15_000) / 1000,
        timeout_written=tool.timeout_ms is not None,
        max_retries=tool.max_retries,
        description=tool.description,
        secret=secret,
        secret_id=None,
    )


class Governing:
    """An ApiPolicy, ready to be laid over plans."""

    def __init__(self, policy: ApiPolicy) -> None:
        self.policy = policy
        where = f"policy of {policy.agent_id} at /v1/policies"
        self.allowed = (
            None if policy.allowed_tools is None else Patterns.of(policy.allowed_tools, f"{where}: allowed_tools")
        )
        self.blocked = Patterns.of(policy.blocked_tools, f"{where}: blocked_tools")
        self.no_entry = f"{where}: not in allowed_tools"
        self.max_calls: Patterns[int] = Patterns(policy.max_calls_per_tool)
        self.prices = Patterns(_highest(policy.pricing_rules))
        spend = policy.max_spend_usd_per_day
        self.max_spend = None if spend is None else micro_usd(spend)

    @cached_property
    def digest(self) -> bytes:
        """Of all of it."""
        return sha256(orjson.dumps(policy_document(self.policy), option=orjson.OPT_SORT_KEYS)).digest()

    def judge(self, allowed: bool, rule: str, tool: str, *, open_: bool) -> tuple[bool, str]:
        """Allowed by both, or (`open_`) by this alone where the policy file only does not name it. And what decided."""
        blocked = self.blocked.find(tool)
        if blocked is not None:
            return False, f'{blocked[1]}: "{blocked[0]}"'
        found = None if self.allowed is None else self.allowed.find(tool)
        if not allowed:
            return (True, f'{found[1]}: "{found[0]}"') if open_ and found and rule == NO_ENTRY else (False, rule)
        return (allowed, rule) if self.allowed is None or found is not None else (False, self.no_entry)

    def bounds(self, given: AgentBounds, *, open_: bool) -> AgentBounds:
        """The narrower of both; where `open_`, this one's word."""
        return given._replace(
            max_actions_per_hour=_narrower(given.max_actions_per_hour, self.policy.max_actions_per_hour, open_=open_),
            max_spend=_narrower(given.max_spend, self.max_spend, open_=open_),
        )

    def over(self, plan: Plan, *, open_: bool) -> Plan:
        """The plan of its agent, with this laid over it."""
        allowed, rule = self.judge(plan.allowed, plan.rule, plan.tool, open_=open_)
        calls, price = self.max_calls.find(plan.tool), self.prices.find(plan.tool)
        limits = self.bounds(plan.limits, open_=open_)
        if calls is not None:
            limits = limits._replace(max_calls=_narrower(limits.max_calls, calls[1], open_=open_))
        cost = plan.cost if price is None else max(plan.cost, price[1])
        return replace(plan, allowed=allowed, rule=rule, limits=limits, cost=cost)


@dataclass(frozen=True)
class Overlay:
    """All that was set through the governed door. Immutable: another one takes its place."""

    policies: Mapping[str, Governing] = field(default_factory=dict)
    """By agent."""
    tools: Mapping[tuple[str, str], RegisteredTool] = field(default_factory=dict)
    """By scope and name."""

    @cached_property
    def digest(self) -> bytes:
        """Of all of it but the secrets, which answers must not help to guess; b"" where there is none."""
        if not self.policies and not self.tools:
            return b""
        found = sha256(b"".join(sorted(governing.digest for governing in self.policies.values())))
        for _, tool in sorted(self.tools.items()):
            found.update(repr(tool._replace(secret=None)).encode())  # a tuple of plain values
        return found.digest()

    def tool(self, agent: str, name: str) -> RegisteredTool | None:
        """The agent's own registration, else the global one."""
        return self.tools.get((AGENT_SCOPE + agent, name)) or self.tools.get((GLOBAL, name))

    def over(self, plan: Plan, *, named: bool, open_: bool) -> Plan:
        """What becomes of a plan. `named`: the policy file names the tool, and says who performs it, if anybody does."""
        tool = self.tool(plan.agent, plan.tool) if self.tools else None
        if tool is not None and is_free(plan, named=named):
            plan = replace(plan, upstream=None, registered=tool, missing=_elsewhere(tool))
        governing = self.policies.get(plan.agent)
        return plan if governing is None else governing.over(plan, open_=open_)

    def bounds(self, agent: str, given: AgentBounds, *, open_: bool) -> AgentBounds:
        governing = self.policies.get(agent)
        return given if governing is None else governing.bounds(given, open_=open_)


NOTHING = Overlay()


def is_free(plan: Plan, *, named: bool) -> bool:
    """May a tool of this name be registered? The policy file wins: where it names a tool that somebody performs, or a family of tools."""
    if plan.builtin or plan.tool.startswith("http.") or (plan.upstream is not None and plan.upstream.mcp is not None):
        return False
    return not named or plan.upstream is None


def policy_document(policy: ApiPolicy) -> dict[str, Any]:
    """As it is answered, stored, and read again."""
    document = filled(policy)
    document["pricing_rules"] = [filled(rule) for rule in policy.pricing_rules]
    return document


def widened(before: Governing, after: Governing) -> str | None:
    """The first limit of an earlier policy that a later one raises or drops; None where it only narrows."""
    was, is_ = before.policy, after.policy
    for key in ("max_actions_per_hour", "max_spend_usd_per_day"):
        if _raised(getattr(was, key), getattr(is_, key)):
            return key
    for tool in {*was.max_calls_per_tool, *is_.max_calls_per_tool}:
        if _raised(_value(before.max_calls, tool), _value(after.max_calls, tool)):
            return f"max_calls_per_tool.{tool}"
    for rule in (*was.pricing_rules, *is_.pricing_rules):
        if (_value(before.prices, rule.tool) or 0) > (_value(after.prices, rule.tool) or 0):
            return "pricing_rules"
    if before.allowed is not None and not _within(is_.allowed_tools, before.allowed):
        return "allowed_tools"
    return None if _within(was.blocked_tools, after.blocked) else "blocked_tools"


def _highest(rules: Iterable[PricingRule]) -> dict[str, int]:
    """Micro-USD. Each says "at least"."""
    prices: dict[str, int] = {}
    for rule in rules:
        prices[rule.tool] = max(prices.get(rule.tool, 0), micro_usd(rule.price_usd))
    return prices


def _value(patterns: Patterns[int], pattern: str) -> int | None:
    found = patterns.find(_any_of(pattern))
    return None if found is None else found[1]


def _within(entries: Iterable[str] | None, wider: Patterns[str]) -> bool:
    """Does every entry stand below one of the wider ones? None is everything."""
    return entries is not None and all(wider.find(_any_of(entry)) is not None for entry in entries)


def _any_of(pattern: str) -> str:
    """A name that stands for all that the pattern matches: no list can hold it."""
    return pattern.removesuffix("*") + "\0" if pattern.endswith("*") else pattern


def _raised(before: float | None, after: float | None) -> bool:
    return before is not None and (after is None or after > before)


def _narrower(given: int | None, said: int | None, *, open_: bool) -> int | None:
    if said is None or given is None or open_:
        return given if said is None else said
    return min(given, said)


def _elsewhere(tool: RegisteredTool) -> str:
    """Completes the sentence of the guard `configured`."""
    if not tool.enabled:
        return f"an enabled registration of it (POST /v1/tools/{tool.name}/toggle)"
    return (
        "a definition of it; it was registered at /v1/tools, so that POST /v1/ai/run reaches it and nothing else does"
    )
