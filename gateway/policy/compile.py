"""A validated policy and what it was given → Compiled. Everything is merged, normalised or refused here, so that no call has to."""

import hashlib
import json
import re
from collections.abc import Mapping

from gateway.model import KillSwitch, Scope, Source
from gateway.policy.candidate import promoted
from gateway.policy.compiled import Compiled, digest_of, write
from gateway.policy.document.problems import Findings, Problem
from gateway.policy.document.yaml_loader import Document
from gateway.policy.packed import Packed
from gateway.policy.plans import advice
from gateway.policy.plans.agents import DEFAULT_AGENT, general_rules, written_budgets
from gateway.policy.plans.definitions import judge_definitions
from gateway.policy.plans.given import Given
from gateway.policy.plans.routes import RESERVED, Routes
from gateway.policy.plans.tools import Tools, tool_rules
from gateway.policy.plans.upstreams import compile_upstreams, told_apart
from gateway.policy.schema.fields import unix_time
from gateway.policy.schema.section import Section, changed, filled, plain
from gateway.policy.schema.sections import KillSwitches, Policy
from gateway.policy.schema.validate import Read
from gateway.policy.snapshot import Egress, GovernedPlan, IdempotencyPlan, Observability, Redaction, RolloutPlan

_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")
_ENCODER = json.JSONEncoder(sort_keys=True, default=plain)


def compile_policy(read: Read[Policy], document: Document, given: Given) -> tuple[Compiled | None, tuple[Problem, ...]]:
    """What it compiles to, or all problems of the file: those of reading it, then those that only the whole shows."""
    findings = Findings(document.file, document.mark, read.doubtful)
    findings.problems.extend(read.problems)
    compiled = None if read.value is None else _compile(read.value, given, findings)
    return compiled, tuple(findings.problems)


def compile_candidate(
    read: Read[Policy], document: Document, given: Given, live: Compiled
) -> tuple[Compiled | None, tuple[Problem, ...]]:
    """The same for candidate.yaml, laid over the live policy."""
    findings = Findings(document.file, document.mark, read.doubtful)
    findings.problems.extend(read.problems)
    if read.value is None:
        return None, tuple(findings.problems)
    compiled = _compile(promoted(live.policy(), read.value, findings), given, findings)
    if compiled is not None:
        compiled = compiled._replace(upstreams=told_apart(compiled.upstreams, live.upstreams))
    return compiled, tuple(findings.problems)


def _compile(policy: Policy, given: Given, findings: Findings) -> Compiled | None:
    """None where there are any findings."""
    upstreams = compile_upstreams(policy, given, findings)
    observability = _observability(policy, findings)
    tokens = _tokens(policy, given, findings)
    governed = _governed(policy, given, findings)
    judge_definitions(policy, upstreams, findings)
    routes = _routes(policy, findings)
    if findings.problems:
        return None
    rules = tool_rules(policy, _egress(policy))
    written, size = write(policy)
    return Compiled(
        version=_version(policy, given),
        report=policy.mode == "report",
        warnings=advice.warnings(policy, given, Tools(rules, policy.tools.definitions, upstreams)),
        overrides=_overrides(policy, given),
        upstreams=upstreams,
        allowed_origins=frozenset(policy.allowed_origins),
        identify_by_trace=policy.runs.identify_by_trace,
        observability=observability,
        idempotency=IdempotencyPlan(policy.idempotency.ttl_hours * 3600.0, policy.idempotency.max_bytes),
        governed=governed,
        rollout=RolloutPlan() if policy.rollout is None else RolloutPlan(**filled(policy.rollout)),
        switches=compile_switches(policy.kill_switch, "policy.yaml", Source.POLICY, given.now),
        tokens=tokens,
        agents_with_token=frozenset(name for name, agent in policy.agents.items() if agent.token is not None),
        general=general_rules(policy, given),
        agents=Packed(dict(sorted(policy.agents.items()))),
        tool_rules=rules,
        definitions=Packed(policy.tools.definitions),
        routes=routes,
        written=written,
        size=size,
    )


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


def _routes(policy: Policy, findings: Findings) -> Routes:
    routes = Routes()
    reserved = RESERVED | {"v1"} if policy.governed.enabled else RESERVED
    for tool, definition in policy.tools.definitions.items():
        if definition.route is not None:
            routes.add(tool, definition.route, findings, reserved=reserved)
    return routes


def _overrides(policy: Policy, given: Given) -> tuple[str, ...]:
    written = written_budgets(policy.runtime.env)
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
        digest = _digest(here, agent.token, given, findings)
        if digest is not None and (owner := owners.setdefault(digest, name)) != name:
            findings.add(here, f"the same token as agents.{owner}.token")
    return owners


def _governed(policy: Policy, given: Given, findings: Findings) -> GovernedPlan:
    section, here = policy.governed, ("governed",)
    api_key = _digest((*here, "api_key"), section.api_key, given, findings)
    admin_key = _digest((*here, "admin_key"), section.admin_key, given, findings)
    if api_key is not None and api_key == admin_key:
        findings.add((*here, "admin_key"), "the same as governed.api_key: whoever calls could administrate")
    return GovernedPlan(section.enabled, api_key, admin_key, section.open)


def _digest(here: tuple[str, ...], template: str | None, given: Given, findings: Findings) -> bytes | None:
    """Of a token; None, and told, where it is none. None also where secrets are not read."""
    token = None if template is None else given.expand(here, template, findings)
    if token is None or given.secrets is None:
        return None
    if not _TOKEN.fullmatch(token):
        findings.add(here, "the token must be 1 to 1024 visible ASCII characters")
        return None
    return digest_of(token)


def _version(policy: Policy, given: Given) -> str:
    """Over the policy with its defaults filled in and secrets as written: comments, order of keys and rotated secrets do not change it."""
    # Entry by entry, for native code that chews on ten thousand at once holds up every other thread.
    digest = hashlib.sha256()
    large: tuple[Mapping[str, Section], ...] = (policy.tools.definitions, policy.upstreams, policy.agents)
    for number, section in enumerate(large):
        for name, entry in sorted(section.items()):
            digest.update(_canonical([number, name, entry]))
    rest = changed(policy, tools=changed(policy.tools, definitions={}), upstreams={}, agents={})
    digest.update(_canonical({"policy": rest, "upstream": given.upstream, "budgets": dict(given.budgets)}))
    return digest.hexdigest()[:12]


def _canonical(value: object) -> bytes:
    return _ENCODER.encode(value).encode()
