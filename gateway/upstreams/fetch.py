"""The fetch tool: one GET or HEAD out to the internet, under the egress rules. Every hop is judged by scheme, host, port and address."""

import asyncio
import functools
import ssl
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from gateway.model import Attempt, Reply, Target, UpstreamError
from gateway.policy.snapshot import Plan, Tls
from gateway.policy.targets import authority, follow, host_allowed
from gateway.upstreams.addresses import Address, Network, forbidden
from gateway.upstreams.connection import Connection
from gateway.upstreams.dial import connect, look_up, tls_context
from gateway.upstreams.exchange import exchange
from gateway.upstreams.heads import RequestHeads
from gateway.upstreams.listeners import NO_LISTENERS, Listeners
from gateway.upstreams.resolver import Resolver

MOST_REDIRECTS = 5
CONNECT_TIMEOUT = 5.0
"""Seconds for look-up, TCP and TLS of one hop; the attempt's own timeout may end it sooner."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LABEL = "the target"
_NEVER_SENT = ("agent-", "tool-gateway-")
"""Beginnings of header names that are between agent, gateway and the upstreams of the policy."""
_ACROSS_ORIGINS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "content-type", "range", "user-agent"}
)
"""All that follows a redirect to another origin: any other header may be a credential, whatever it is called."""


class Fetch:
    """Performs `http.get` and `http.head`. One connection a hop, dialled to the very address that was judged."""

    def __init__(self, resolver: Resolver, listeners: Listeners = NO_LISTENERS) -> None:
        self._resolver = resolver
        self._listeners = listeners
        self._tls: ssl.SSLContext | None = None

    async def send(self, attempt: Attempt, plan: Plan, target: Target) -> Reply:
        """The target's answer after at most five redirects, without cookies.

        Raises UpstreamError; `egress_not_allowed` where a host, port or address is refused. `attempt.sent` is true once any hop went out.
        """
        hop = replace(attempt, headers=_outgoing(attempt.headers))
        for _ in range(MOST_REDIRECTS + 1):
            reply = await self._hop(attempt, hop, plan, target)
            location = _location(reply)
            if location is None:
                return replace(
                    reply, headers=tuple(h for h in reply.headers if not h[0].lower().startswith("set-cookie"))
                )
            reply.close()
            try:
                onward = follow(target, location)
            except ValueError as error:
                raise UpstreamError(
                    "egress_not_allowed", f"{_LABEL} redirects to where no fetch goes: {error}", sent=True
                ) from None
            _redirect(hop, reply.status, same_origin=onward[:3] == target[:3])
            target = onward
        raise UpstreamError("bad_response", f"{_LABEL} redirects more than {MOST_REDIRECTS} times", sent=True)

    async def probe(self, plan: Plan, target: Target) -> str | None:
        """Resolves, judges, connects and handshakes without a request. The problem, or None."""
        try:
            connection = await self._open(plan, target)
        except UpstreamError as error:
            return error.detail
        connection.abort()
        return None

    async def _hop(self, attempt: Attempt, hop: Attempt, plan: Plan, target: Target) -> Reply:
        hop.target = target.path
        try:
            connection = await self._open(plan, target)
            return await exchange(connection, RequestHeads(authority(target)), hop, Connection.abort)
        except UpstreamError as error:
            error.sent = error.sent or attempt.sent
            raise
        finally:
            attempt.sent = attempt.sent or hop.sent

    async def _open(self, plan: Plan, target: Target) -> Connection:
        """Dials an address that was judged: the name is looked up once."""
        deadline = asyncio.get_running_loop().time() + CONNECT_TIMEOUT
        addresses = await self._judged(plan, target, deadline)
        return await connect(
            addresses,
            target.port,
            label=_LABEL,
            deadline=deadline,
            tls=await self._tls_context() if target.scheme == "https" else None,
            server_name=target.host,
        )

    async def _judged(self, plan: Plan, target: Target, deadline: float) -> list[Address]:
        """The addresses of an allowed host; all must pass. Report mode lets any public host pass, never a non-public address."""
        if not plan.report:
            if not host_allowed(plan.egress, target.host):
                raise _refused(target, "the host is not listed in egress.allow_hosts")
            if target.port not in plan.egress.ports:
                raise _refused(target, "the port is not listed in egress.ports")
        addresses = await look_up(self._resolver, target.host, _LABEL, deadline)
        allow_private = _networks(plan.egress.allow_private)
        for address in addresses:
            if self._listeners.own(address, target.port):
                raise _refused(target, "it is the gateway itself")
            if forbidden(address, allow_private) is not None:
                raise _refused(
                    target, "it does not lead to a public address, and egress.allow_private does not list it"
                )
        return addresses

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.get_running_loop().run_in_executor(None, tls_context, Tls(), _LABEL)
        return self._tls


def _refused(target: Target, rule: str) -> UpstreamError:
    return UpstreamError(
        "egress_not_allowed", f"{target.host} port {target.port} may not be reached: {rule}", sent=False
    )


@functools.lru_cache(maxsize=16)
def _networks(blocks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(block) for block in blocks)


def _location(reply: Reply) -> str | None:
    """Where a redirect leads; None for an answer that is not one."""
    if reply.status not in _REDIRECTS:
        return None
    return next((value for name, value in reply.headers if name.lower() == "location"), None)


def _redirect(hop: Attempt, status: int, *, same_origin: bool) -> None:
    """Makes the next hop's request out of the last one's."""
    if status in (301, 302, 303) and hop.method != "HEAD":
        hop.method, hop.body = "GET", b""
    if not same_origin:
        hop.headers = [(name, value) for name, value in hop.headers if name.lower() in _ACROSS_ORIGINS]


def _outgoing(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The caller's own headers, with a User-Agent where it gave none: many sites refuse a request without."""
    kept = [(name, value) for name, value in headers if not name.lower().startswith(_NEVER_SENT)]
    if all(name.lower() != "user-agent" for name, _ in kept):
        kept.append(("User-Agent", "tool-gateway"))
    return kept
