"""What the policy says about each tool, whoever calls: where it is performed, how often it is tried, within which limits."""

from collections.abc import Callable, Mapping
from functools import partial

from gateway.bounds import Pace, Rate
from gateway.model import Effect
from gateway.policy.document.problems import Findings, suggestion
from gateway.policy.plans.arguments import compile_arguments
from gateway.policy.plans.patterns import Patterns
from gateway.policy.plans.routes import methods_of
from gateway.policy.plans.upstreams import DEFAULT
from gateway.policy.schema.fields import REST
from gateway.policy.schema.sections import Definition, Policy, ToolRetries
from gateway.policy.snapshot import Arguments, Egress, Plan, Retries, UpstreamPlan

FETCHED = frozenset(["http.get", "http.head"])
"""The fetch door performs these, too."""
BUILT_IN = dict.fromkeys(FETCHED, Effect.READ) | dict.fromkeys(
    ["http.post", "http.put", "http.patch", "http.delete", "http.options", "http.connect"], Effect.WRITE
)
"""Performed by the gateway itself, under the egress rules: one for each method that the egress door takes."""
_FAMILY = "http."
"""Names that are never an upstream's."""
_DEFAULT_TIMEOUT_MS = 8000
_NOT_FOR_BUILT_IN = ("upstream", "path", "route", "methods", "forward_authorization", "stream", "idempotency_key")
_NOT_FOR_MCP = ("upstream", "path", "route", "methods", "forward_authorization", "idempotency_key")
_MCP_DEADLINE = 55.0
"""Seconds: common MCP clients give up after 60, and a call that outlives its caller is spent for nothing."""
_READS = frozenset(["GET", "HEAD", "POST"])

Template = Callable[..., Plan]
"""A Plan that lacks only what depends on the agent: agent, allowed, rule, budgets, limits."""


class Tools:
    """Templates by tool name. Tools with a definition are prepared at load, all others are put together when asked for."""

    names: tuple[str, ...]
    """Every tool name the policy spells out, sorted."""

    def __init__(
        self,
        policy: Policy,
        upstreams: Mapping[str, UpstreamPlan],
        egress: Egress,
        findings: Findings,
        live: "Tools | None" = None,
    ) -> None:
        self._policy = policy
        self._live = live
        self._upstreams = upstreams
        self._egress = egress
        timeouts = dict(policy.tools.timeouts_ms)
        self._default_timeout = timeouts.pop("default", _DEFAULT_TIMEOUT_MS)
        self._timeouts = Patterns(timeouts)
        self._usual_retries = self._retries_of(ToolRetries())
        self._templates: dict[str, Template] = {}
        for name, definition in policy.tools.definitions.items():
            self._judge(name, definition, findings)
            self._templates[name] = self._prepare(name, definition, findings)
        self.names = self._spelled_out()

    def template(self, tool: str) -> Template:
        return self._templates.get(tool) or self._prepare(tool, _NOTHING_SAID, None)

    def _spelled_out(self) -> tuple[str, ...]:
        tools = self._policy.tools
        names = {*tools.definitions, *tools.allowlist, *tools.denylist, *tools.timeouts_ms} - {"default"}
        for agent in self._policy.agents.values():
            names.update(agent.allowlist or (), agent.denylist)
        return tuple(sorted(name for name in names if not name.endswith("*")))

    def _prepare(self, name: str, definition: Definition, findings: Findings | None) -> Template:
        in_family = name.startswith(_FAMILY)
        effect = Effect(definition.effect) if definition.effect else BUILT_IN.get(name, Effect.WRITE)
        server = self._server(name)
        upstream = None if in_family else self._upstreams.get(server or definition.upstream or DEFAULT)
        retries = self._retries(definition)
        timeout_ms = definition.timeout_ms or self._timeout_ms(name)
        waits = [retries.backoff[min(n, len(retries.backoff) - 1)] for n in range(retries.max)]
        deadline = definition.deadline_ms / 1000 if definition.deadline_ms else _MCP_DEADLINE if server else None
        path, takes_rest = ("", False) if server else _path(name, definition, in_family)
        pace = _pace(definition, held=self._policy.mode != "report")
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
            arguments=_arguments(name, definition, findings),
            max_request_bytes=definition.max_request_bytes,
            max_response_bytes=definition.max_response_bytes,
            forward_authorization=definition.forward_authorization,
            egress=self._egress,
            report=self._policy.mode == "report",
            anonymous=self._policy.runs.anonymous,
            pace=pace,
            apart=self._live is not None and self._live.differs(name, pace, upstream),
            max_calls=definition.max_calls,
            max_identical_calls=self._identical(definition),
            cost=micro_usd(definition.cost_usd or 0),
            idempotency_key=definition.idempotency_key,
            allow_without_state=self._policy.state.on_unavailable == "allow",
            heeds_annotations=definition.effect is None and _trusted(upstream),
        )

    def _server(self, tool: str) -> str | None:
        """The MCP server that `{server}.{tool}` belongs to."""
        first, dot, _ = tool.partition(".")
        return first if dot and first in self._policy.mcp_servers else None

    def differs(self, tool: str, pace: Pace, upstream: UpstreamPlan | None) -> bool:
        """Does the tool line up, or go, otherwise here?"""
        plan = self.template(tool)(agent="", allowed=True, rule="", budgets=None)
        return (plan.pace, plan.upstream) != (pace, upstream)

    def _identical(self, definition: Definition) -> int:
        own = definition.max_identical_calls
        return self._policy.runs.max_identical_calls if own is None else own

    def _timeout_ms(self, name: str) -> int:
        found = self._timeouts.find(name)
        return found[1] if found is not None else self._default_timeout

    def _retries(self, definition: Definition) -> Retries:
        return self._retries_of(definition.retries) if definition.retries.model_fields_set else self._usual_retries

    def _retries_of(self, own: ToolRetries) -> Retries:
        general = self._policy.tools.retries
        backoff = own.backoff_ms if own.backoff_ms is not None else general.backoff_ms
        return Retries(
            max=own.max if own.max is not None else general.max,
            backoff=tuple(wait / 1000 for wait in backoff) or (0.0,),
            on_status=frozenset(own.on_status if own.on_status is not None else general.on_status),
            budget_percent=general.budget_percent,
        )

    def _judge(self, name: str, definition: Definition, findings: Findings) -> None:
        """Tells what no single key shows to be wrong."""
        here = ("tools", "definitions", name)
        if name.startswith(_FAMILY):
            if name not in BUILT_IN:
                findings.add(here, f"no such tool: of http.* there are {', '.join(sorted(BUILT_IN))}")
            for key in _NOT_FOR_BUILT_IN:
                if getattr(definition, key):
                    findings.add((*here, key), f"{name} is built in: it takes limits, but no {key}")
            return
        server = self._server(name)
        if server is not None:
            for key in _NOT_FOR_MCP:
                if getattr(definition, key):
                    findings.add(
                        (*here, key), f"{name} is a tool of mcp_servers.{server}: it takes limits, but no {key}"
                    )
            return
        wanted = definition.upstream
        if wanted in self._policy.mcp_servers:
            findings.add((*here, "upstream"), f"mcp_servers.{wanted} serves only the tools named {wanted}.*")
            return
        unknown = wanted is not None and wanted not in self._policy.upstreams and wanted not in self._upstreams
        if wanted is not None and unknown and not findings.doubts(("upstreams", wanted)):
            findings.add((*here, "upstream"), "no such upstream" + suggestion(wanted, self._policy.upstreams))
        self._judge_methods(name, definition, findings)

    def _judge_methods(self, name: str, definition: Definition, findings: Findings) -> None:
        here = ("tools", "definitions", name)
        if definition.methods == ():
            findings.add((*here, "methods"), "an empty list would refuse every call")
        if definition.route is None:
            return
        method = definition.route.partition(" ")[0]
        if definition.methods and method != "ANY" and method not in definition.methods:
            findings.add((*here, "methods"), f"must name the route's method {method}")
        upstream = self._upstreams.get(definition.upstream or DEFAULT)
        if upstream is not None and upstream.base_path:
            text = f"the native door passes the path on unchanged: upstreams.{definition.upstream or DEFAULT}.url must have no path"
            findings.add((*here, "route"), text)


_NOTHING_SAID = Definition()
_POST = frozenset(["POST"])


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


def _path(name: str, definition: Definition, in_family: bool) -> tuple[str, bool]:
    """What follows the upstream's own path at the tool path door, and whether more may follow."""
    if in_family:
        return "", False
    if definition.path is not None:
        return definition.path.removesuffix("/" + REST), definition.path.endswith(REST)
    return ("", True) if definition.upstream is not None else (f"/{name}", False)


def _arguments(name: str, definition: Definition, findings: Findings | None) -> Arguments | None:
    if definition.arguments is None or findings is None:
        return None
    here = ("tools", "definitions", name, "arguments")
    schema, problems = compile_arguments(definition.arguments)
    for place, text in problems:
        findings.add((*here, *place), text)
    return schema
