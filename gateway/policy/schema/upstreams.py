"""The shape of `upstreams`, `mcp_servers` and `egress` in a policy file: where calls go."""

from collections.abc import Mapping
from typing import Annotated

from gateway.policy.schema.fields import (
    NO_ENTRIES,
    Block,
    Endpoint,
    FilePath,
    HeaderName,
    HeaderValue,
    HostRule,
    McpMethod,
    Milliseconds,
    Url,
    integer,
)
from gateway.policy.schema.section import Section


class Tls(Section):
    """Files for the connection to an upstream."""

    ca_file: FilePath | None = None
    """Certificates to trust; else the system's."""
    client_cert_file: FilePath | None = None
    """The certificate to show."""
    client_key_file: FilePath | None = None
    """Its private key."""


class CircuitBreaker(Section):
    """When an upstream is left alone."""

    failures: Annotated[int, integer(1, 1000)] = 5
    """Attempts in a row that could not connect, broke off, timed out or were answered 502, 503 or 504."""
    open_ms: Milliseconds = 30_000
    """How long no attempt is made then."""


class Upstream(Section):
    """Where tools are performed."""

    url: Url | None = None
    """Its address, with a path that all of its tools are below."""
    headers: Mapping[HeaderName, HeaderValue] = NO_ENTRIES
    """Set on every attempt. ${env:NAME} and ${file:PATH} stand for secrets."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    max_connections: Annotated[int, integer(1, 10_000)] = 100
    """At once; attempts beyond them wait for one."""
    connect_timeout_ms: Milliseconds = 2000
    """For connecting, TLS included."""
    keepalive_ms: Annotated[int, integer(0, 3_600_000)] = 4000
    """How long an idle connection is kept."""
    max_connection_age_ms: Annotated[int, integer(1, 86_400_000)] = 300_000
    """How long a connection is used for new attempts."""
    tls: Tls = Tls()


class McpServer(Upstream):
    """An upstream that speaks MCP: `url` is its endpoint."""

    url: Endpoint | None = None
    """Its Streamable HTTP endpoint."""
    trust_annotations: bool = False
    """Where the policy declares no effect, the server's word counts."""
    deny_methods: tuple[McpMethod, ...] = ()
    """MCP methods that nobody may use."""


class Egress(Section):
    """Where calls may go that have no upstream."""

    allow_hosts: tuple[HostRule, ...] = ()
    """Names and addresses that http.* tools may go to."""
    ports: tuple[Annotated[int, integer(1, 65_535)], ...] = (443, 80)
    """Of those hosts."""
    allow_private: tuple[Block, ...] = ()
    """Blocks of addresses that are not public but may be gone to."""
