"""What the policy says about each tool, whoever calls: where it is performed, how often it is tried, within which limits."""

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from gateway.bounds import Pace, Rate
from gateway.model import Budgets, Effect
from gateway.policy.plans.arguments import compile_arguments
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.routes import methods_of
from gateway.policy.plans.upstreams import DEFAULT
from gateway.policy.schema.fields import REST
from gateway.policy.schema.section import written
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.tools import Definition, ToolRetries
from gateway.policy.schema.tools import Retries as RetriesSection
from gateway.policy.snapshot import Arguments, Egress, Plan, Retries, UpstreamPlan

FETCHED = frozenset(["http.get", "http.head"])
"""The fetch door performs these, too."""
NO_BUDGETS = Budgets(0, 0, 0)
"""In a plan that is asked what its tool is, whoever calls it."""
BUILT_IN = dict.fromkeys(FETCHED, Effect.READ) | dict.fromkeys(
    ["http.post", "http.put", "http.patch", "http.delete", "http.options", "http.connect"], Effect.WRITE
)
"""Performed by the gateway itself, under the egress rules: one for each method that the egress door takes."""
FAMILY = "http."
"""Names that are never an upstream's."""
_DEFAULT_TIMEOUT_MS = 8000
_MCP_DEADLINE = 55.0
"""Seconds: common MCP clients give up after 60, and a call that outlives its caller is spent for nothing."""
_READS = frozenset(["GET", "HEAD", "POST"])

D_co = TypeVar("D_co", covariant=True)
Template = Callable[..., Plan]
"""A Plan that lacks only what depends on the agent: agent, allowed, rule, budgets, limits."""
_MOST_TEMPLATES = 1024
"""Kept, the least used go first. Another is put together within some tens of microseconds."""


class Lookup(Protocol[D_co]):
    """Values by name: a mapping, or one whose values are packed."""

    def get(self, name: str, /) -> D_co | None: ...


class ToolRules(NamedTuple):
    """What holds for tools beside their definitions."""

    names: tuple[str, ...]
    """Every tool name the policy spells out, sorted."""
    default_timeout: int
    """Milliseconds."""
    timeouts: Patterns[int]
    retries: RetriesSection
    servers: frozenset[str]
    """Names of mcp_servers."""
    egress: Egress
    report: bool
    anonymous: str
    max_identical_calls: int
    allow_without_state: bool


def tool_rules(policy: Policy, egress: Egress) -> ToolRules:
    """The policy's word on all of them."""
    timeouts = dict(policy.tools.timeouts_ms)
    return ToolRules(
        names=_spelled_out(policy),
        default_timeout=timeouts.pop("default", _DEFAULT_TIMEOUT_MS),
        timeouts=Patterns(timeouts),
        retries=policy.tools.retries,
        servers=frozenset(policy.mcp_servers),
        egress=egress,
        report=policy.mode == "report",
        anonymous=policy.runs.anonymous,
        max_identical_calls=policy.runs.max_identical_calls,
        allow_without_state=policy.state.on_unavailable == "allow",
    )


def _spelled_out(policy: Policy) -> tuple[str, ...]:
    tools = policy.tools
    names = {*tools.definitions, *tools.allowlist, *tools.denylist, *tools.timeouts_ms} - {"default"}
    for agent in policy.agents.values():
        names.update(agent.allowlist or (), agent.denylist)
    return tuple(sorted(name for name in names if not name.endswith("*")))


class Tools:
    """Templates by tool name, put together when asked for. Those of defined tools are remembered; made-up names push none of them out."""

    def __init__(
        self,
        rules: ToolRules,
        definitions: Lookup[Definition],
        upstreams: Mapping[str, UpstreamPlan],
        live: "Tools | None" = None,
    ) -> None:
        self.names = rules.names
        self._rules = rules
        self._definitions = definitions
        self._live = live
        self._upstreams = upstreams
        self._usual_retries = self._retries_of(ToolRetries())
        self._templates: OrderedDict[str, Template] = OrderedDict()

    def template(self, tool: str) -> Template:
        known = self._templates.get(tool)
        if known is not None:
            self._templates.move_to_end(tool)
            return known
        definition = self._definitions.get(tool)
        if definition is None:
            return self._prepare(tool, _NOTHING_SAID)
        template = self._templates[tool] = self._prepare(tool, definition)
        if len(self._templates) > _MOST_TEMPLATES:
            self._templates.popitem(last=False)
        return template

    def _prepare(self, name: str, definition: Definition) -> Template:
        in_family = name.startswith(FAMILY)
        effect = Effect(definition.effect) if definition.effect else BUILT_IN.get(name, Effect.WRITE)
        rules, server = self._rules, server_of(name, self._rules.servers)
        upstream = None if in_family else self._upstreams.get(server or definition.upstream or DEFAULT)
        retries = self._retries(definition)
        timeout_ms = definition.timeout_ms or self._timeout_ms(name)
        waits = [retries.backoff[min(n, len(retries.backoff) - 1)] for n in range(retries.max)]
        deadline = definition.deadline_ms / 1000 if definition.deadline_ms else _MCP_DEADLINE if server else None
        path, takes_rest = ("", False) if server else _path(name, definition, in_family)
        pace = _pace(definition, held=not rules.report)
        return partial(
            Plan,
            tool=name,
            effect=effect,
            builtin=name in BUILT_IN,
            upstream=upstream,
            missing=None if upstream is not None or name in BUILT_IN else _missing(name, in_family),
            methods=_POST if server else _methods(name, definition, effect),
            path=path,
            takes_rest=takes_rest,
            timeout=timeout_ms / 1000,
            deadline=deadline or (1 + retries.max) * timeout_ms / 1000 + sum(waits),
            retries=retries,
            idempotent=definition.idempotent,
            stream=definition.stream,
            stream_idle=definition.stream_idle_ms / 1000,
            arguments=_arguments(definition),
            max_request_bytes=definition.max_request_bytes,
            max_response_bytes=definition.max_response_bytes,
            forward_authorization=definition.forward_authorization,
            egress=rules.egress,
            report=rules.report,
            anonymous=rules.anonymous,
            pace=pace,
            differs_from_live=self._live is not None and self._live.differs(name, pace, upstream),
            max_calls=definition.max_calls,
            max_identical_calls=self._identical(definition),
            cost=micro_usd(definition.cost_usd or 0),
            idempotency_key=definition.idempotency_key,
            allow_without_state=rules.allow_without_state,
            method=_method(definition),
            deadline_written=definition.deadline_ms is not None,
            heeds_annotations=definition.effect is None and _trusted(upstream),
        )

    def pace(self, tool: str) -> Pace:
        """How its attempts line up. (A reload asks for all that do: without putting together everything else.)"""
        return _pace(self._definitions.get(tool) or _NOTHING_SAID, held=not self._rules.report)

    def differs(self, tool: str, pace: Pace, upstream: UpstreamPlan | None) -> bool:
        """Does the tool line up, or go, otherwise here?"""
        plan = self.template(tool)(agent="", allowed=True, rule="", budgets=NO_BUDGETS)
        return (plan.pace, plan.upstream) != (pace, upstream)

    def _identical(self, definition: Definition) -> int:
        own = definition.max_identical_calls
        return self._rules.max_identical_calls if own is None else own

    def _timeout_ms(self, name: str) -> int:
        found = self._rules.timeouts.find(name)
        return found[1] if found is not None else self._rules.default_timeout

    def _retries(self, definition: Definition) -> Retries:
        return self._retries_of(definition.retries) if written(definition.retries) else self._usual_retries

    def _retries_of(self, own: ToolRetries) -> Retries:
        general = self._rules.retries
        backoff = own.backoff_ms if own.backoff_ms is not None else general.backoff_ms
        return Retries(
            max=own.max if own.max is not None else general.max,
            backoff=tuple(wait / 1000 for wait in backoff) or (0.0,),
            on_status=frozenset(own.on_status if own.on_status is not None else general.on_status),
            budget_percent=general.budget_percent,
        )


_NOTHING_SAID = Definition()
_POST = frozenset(["POST"])


def server_of(tool: str, servers: Container[str]) -> str | None:
    """The MCP server that `{server}.{tool}` belongs to."""
    first, dot, _ = tool.partition(".")
    return first if dot and first in servers else None


def _trusted(upstream: UpstreamPlan | None) -> bool:
    return upstream is not None and upstream.mcp is not None and upstream.mcp.trust_annotations


def micro_usd(usd: float) -> int:
    """Money is counted in whole millionths of a dollar, so that no sum drifts."""
    return round(usd * 1_000_000)


def _pace(definition: Definition, *, held: bool) -> Pace:
    rate = definition.rate
    return Pace(
        rate=None if rate is None else Rate(rate.per_second, rate.burst),
        max_concurrency=definition.max_concurrency,
        max_waiting=definition.max_waiting,
        held=held,
    )


def _missing(name: str, in_family: bool) -> str:
    if in_family:
        return "a tool of that name: http.* are built in, one for each method that the egress door takes"
    return f"tools.definitions.{name}.upstream"


def _methods(name: str, definition: Definition, effect: Effect) -> frozenset[str] | None:
    if name in BUILT_IN:
        return frozenset(["GET", "POST"])
    if definition.methods:
        return frozenset(definition.methods) | ({"HEAD"} if "GET" in definition.methods else frozenset())
    if definition.route is not None:
        return methods_of(definition.route.partition(" ")[0])
    return _READS if effect is Effect.READ else None


def _method(definition: Definition) -> str:
    """The first that the policy names."""
    if definition.methods:
        return definition.methods[0]
    method = "ANY" if definition.route is None else definition.route.partition(" ")[0]
    return "POST" if method == "ANY" else method


def _path(name: str, definition: Definition, in_family: bool) -> tuple[str, bool]:
    """What follows the upstream's own path at the tool path door, and whether more may follow."""
    if in_family:
        return "", False
    if definition.path is not None:
        return definition.path.removesuffix("/" + REST), definition.path.endswith(REST)
    return ("", True) if definition.upstream is not None else (f"/{name}", False)


def _arguments(definition: Definition) -> Arguments | None:
    if definition.arguments is None:
        return None
    schema, problems = compile_arguments(definition.arguments)
    if schema is None:
        raise AssertionError(f"an arguments schema that was in order at load has {len(problems)} problems now")
    return schema
