"""What no single key of a tool's definition shows to be wrong: told at load, place by place."""

from collections.abc import Iterable, Mapping

from gateway.policy.document.problems import Findings, suggestion
from gateway.policy.plans.arguments import compile_arguments
from gateway.policy.plans.tools import BUILT_IN, FAMILY, server_of
from gateway.policy.plans.upstreams import DEFAULT
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.tools import Definition
from gateway.policy.snapshot import UpstreamPlan

_NOT_FOR_BUILT_IN = ("upstream", "path", "route", "methods", "forward_authorization", "stream", "idempotency_key")
_NOT_FOR_MCP = ("upstream", "path", "route", "methods", "forward_authorization", "idempotency_key")


def judge_definitions(policy: Policy, upstreams: Mapping[str, UpstreamPlan], findings: Findings) -> None:
    """Tells the findings. `upstreams` are those that can be dialled."""
    for name, definition in policy.tools.definitions.items():
        _judge_arguments(name, definition, findings)
        server = server_of(name, policy.mcp_servers)
        if name.startswith(FAMILY):
            _judge_built_in(name, definition, findings)
        elif server is not None:
            known_as = f"a tool of mcp_servers.{server}"
            _judge_keys(name, definition, known_as, _NOT_FOR_MCP, findings)
        else:
            _judge_upstream(name, definition, policy, upstreams, findings)


def _judge_built_in(name: str, definition: Definition, findings: Findings) -> None:
    if name not in BUILT_IN:
        here = ("tools", "definitions", name)
        findings.add(here, f"no such tool: of http.* there are {', '.join(sorted(BUILT_IN))}")
    _judge_keys(name, definition, "built in", _NOT_FOR_BUILT_IN, findings)


def _judge_keys(name: str, definition: Definition, known_as: str, refused: Iterable[str], findings: Findings) -> None:
    for key in refused:
        if getattr(definition, key):
            findings.add(("tools", "definitions", name, key), f"{name} is {known_as}: it takes limits, but no {key}")


def _judge_upstream(
    name: str, definition: Definition, policy: Policy, upstreams: Mapping[str, UpstreamPlan], findings: Findings
) -> None:
    here, wanted = ("tools", "definitions", name), definition.upstream
    if wanted in policy.mcp_servers:
        findings.add((*here, "upstream"), f"mcp_servers.{wanted} serves only the tools named {wanted}.*")
        return
    unknown = wanted is not None and wanted not in policy.upstreams and wanted not in upstreams
    if wanted is not None and unknown and not findings.doubts(("upstreams", wanted)):
        findings.add((*here, "upstream"), "no such upstream" + suggestion(wanted, policy.upstreams))
    if definition.methods == ():
        findings.add((*here, "methods"), "an empty list would refuse every call")
    if definition.route is not None:
        _judge_route(name, definition, definition.route, upstreams, findings)


def _judge_route(
    name: str, definition: Definition, route: str, upstreams: Mapping[str, UpstreamPlan], findings: Findings
) -> None:
    here = ("tools", "definitions", name)
    method = route.partition(" ")[0]
    if definition.methods and method != "ANY" and method not in definition.methods:
        findings.add((*here, "methods"), f"must name the route's method {method}")
    upstream = upstreams.get(definition.upstream or DEFAULT)
    if upstream is not None and upstream.base_path:
        text = f"the native door passes the path on unchanged: upstreams.{definition.upstream or DEFAULT}.url must have no path"
        findings.add((*here, "route"), text)


def _judge_arguments(name: str, definition: Definition, findings: Findings) -> None:
    if definition.arguments is not None:
        _, problems = compile_arguments(definition.arguments)
        for place, text in problems:
            findings.add(("tools", "definitions", name, "arguments", *place), text)
