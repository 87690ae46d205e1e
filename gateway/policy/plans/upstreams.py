"""Upstreams of the policy → UpstreamPlans: addresses checked, secrets expanded, GATEWAY_UPSTREAM merged in."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import orjson

from gateway.bounds import BreakerBounds
from gateway.policy import hosts, secrets
from gateway.policy.document.problems import Findings, Path
from gateway.policy.hosts import BaseUrl
from gateway.policy.plans.given import Given
from gateway.policy.schema.section import filled, plain, written
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.upstreams import McpServer, Upstream
from gateway.policy.snapshot import CANDIDATE_SUFFIX, McpPlan, Tls, UpstreamPlan

DEFAULT = "default"
_NOT_CONNECTIONS = {"url", "headers", "circuit_breaker", "trust_annotations", "deny_methods"}


def compile_upstreams(policy: Policy, given: Given, findings: Findings) -> dict[str, UpstreamPlan]:
    """Every upstream by name. One that cannot be dialled is told to the findings and left out."""
    plans = {}
    for here, spec in _specs(policy, given):
        name = str(here[-1])
        url = default_url(policy, given, findings) if name == DEFAULT else spec.url
        headers = _headers(here, spec, given, findings)
        _judge_tls(here, spec, url, given, findings)
        if url is None:
            findings.add((*here, "url"), "required key is missing")
        elif hosts.is_own(url.host, url.port, given.own_listeners):
            findings.add((*here, "url"), "this is the gateway's own listener: calls would go round in circles")
        elif name in plans:
            findings.add(here, f"upstreams.{name} has this name: log and metrics could not tell them apart; rename one")
        else:
            plans[name] = _plan(name, spec, url, headers, given)
    return plans


def _specs(policy: Policy, given: Given) -> Iterator[tuple[Path, Upstream]]:
    for name, spec in _with_default(policy, given).items():
        yield ("upstreams", name), spec
    for name, server in policy.mcp_servers.items():
        yield ("mcp_servers", name), server


def told_apart(upstreams: Mapping[str, UpstreamPlan], live: Mapping[str, UpstreamPlan]) -> Mapping[str, UpstreamPlan]:
    """A candidate's upstreams. One that differs from the live one has a name of its own: its failures open no breaker of live runs."""
    return {
        name: plan if plan == live.get(name) else replace(plan, name=name + CANDIDATE_SUFFIX)
        for name, plan in upstreams.items()
    }


def _with_default(policy: Policy, given: Given) -> Mapping[str, Upstream]:
    if given.upstream is None or DEFAULT in policy.upstreams:
        return policy.upstreams
    return {DEFAULT: Upstream(), **policy.upstreams}


def default_url(policy: Policy, given: Given, findings: Findings) -> BaseUrl | None:
    """GATEWAY_UPSTREAM where it is set, else the policy's own."""
    if given.upstream is not None:
        try:
            return hosts.read_url(given.upstream)
        except ValueError as error:
            findings.add((), f"GATEWAY_UPSTREAM: expected {error}")
    return policy.upstreams[DEFAULT].url if DEFAULT in policy.upstreams else None


def _headers(upstream: Path, spec: Upstream, given: Given, findings: Findings) -> tuple[tuple[str, str], ...]:
    seen: dict[str, str] = {}
    expanded = []
    for header, template in spec.headers.items():
        here: Path = (*upstream, "headers", header)
        if seen.setdefault(header.lower(), header) != header:
            findings.add(here, f"the same header as {seen[header.lower()]}")
        if secrets.is_literal_credential(header, template):
            findings.add(here, "looks like a credential written out: inject it, as ${env:NAME} or ${file:PATH}")
        value = given.expand(here, template, findings)
        if value is not None:
            expanded.append((header, value))
    return tuple(expanded)


def _judge_tls(upstream: Path, spec: Upstream, url: BaseUrl | None, given: Given, findings: Findings) -> None:
    here: Path = (*upstream, "tls")
    files = {key: path for key, path in written(spec.tls).items() if path is not None}
    if files and url is not None and url.scheme == "http":
        findings.add(here, "the URL is http: nothing here would be used")
    if (spec.tls.client_cert_file is None) != (spec.tls.client_key_file is None):
        findings.add(here, "client_cert_file and client_key_file go together")
    for key, path in files.items():
        if path in given.unread_files:
            findings.add((*here, key), given.unread_files[path])


def _plan(name: str, spec: Upstream, url: BaseUrl, headers: tuple[tuple[str, str], ...], given: Given) -> UpstreamPlan:
    tls = Tls(spec.tls.ca_file, spec.tls.client_cert_file, spec.tls.client_key_file)
    files = [given.digests.get(path, "") for path in (tls.ca_file, tls.client_cert_file, tls.client_key_file) if path]
    ours = {key: value for key, value in filled(spec).items() if key not in _NOT_CONNECTIONS}
    shape = orjson.dumps([url, headers, ours, files], default=plain, option=orjson.OPT_SORT_KEYS)
    return UpstreamPlan(
        name=name,
        key=f"{name}-{hashlib.sha256(shape).hexdigest()}",
        scheme=url.scheme,
        host=url.host,
        port=url.port,
        base_path=url.path,
        headers=headers,
        max_connections=spec.max_connections,
        connect_timeout=spec.connect_timeout_ms / 1000,
        keepalive=spec.keepalive_ms / 1000,
        max_connection_age=spec.max_connection_age_ms / 1000,
        tls=tls,
        breaker=BreakerBounds(spec.circuit_breaker.failures, spec.circuit_breaker.open_ms / 1000),
        mcp=McpPlan(spec.trust_annotations, frozenset(spec.deny_methods)) if isinstance(spec, McpServer) else None,
    )
