"""The way out for what policy allows by host: a name is looked up once, every answer judged, and one of those addresses dialled."""

import asyncio
import functools
import ssl
from ipaddress import ip_address, ip_network

from gateway.model import Attempt, Reply, Target, UpstreamError
from gateway.policy.snapshot import Plan, Tls
from gateway.policy.targets import authority, host_allowed
from gateway.upstreams.addresses import Address, Network, forbidden
from gateway.upstreams.connection import Connection
from gateway.upstreams.dial import connect, look_up, tls_context
from gateway.upstreams.exchange import exchange
from gateway.upstreams.heads import RequestHeads
from gateway.upstreams.listeners import NO_LISTENERS, Listeners
from gateway.upstreams.resolver import Resolver

CONNECT_TIMEOUT = 5.0
"""Seconds for look-up, TCP and TLS; the attempt's own timeout may end it sooner."""
LABEL = "the target"
NOT_PUBLIC = "it does not lead to a public address, and egress.allow_private does not list it"
"""How a refusal for the address ends."""


class Outward:
    """Opens connections to the targets of fetches and of the egress door. No target is reached in any other way."""

    def __init__(self, resolver: Resolver, listeners: Listeners = NO_LISTENERS) -> None:
        self._resolver = resolver
        self._listeners = listeners
        self._tls: ssl.SSLContext | None = None

    async def open(self, plan: Plan, target: Target) -> Connection:
        """For one exchange in HTTP, with TLS where the scheme is https. Raises UpstreamError; `egress_not_allowed` where it is refused."""
        deadline = asyncio.get_running_loop().time() + CONNECT_TIMEOUT
        addresses = await self.addresses(plan, target, deadline)
        return await connect(
            addresses,
            target.port,
            label=LABEL,
            deadline=deadline,
            tls=await self._tls_context() if target.scheme == "https" else None,
            server_name=target.host,
        )

    async def send(self, attempt: Attempt, plan: Plan, target: Target) -> Reply:
        """One exchange with one target, on a connection of its own; a redirect is an answer like any other. Raises UpstreamError."""
        attempt.target = target.path
        connection = await self.open(plan, target)
        return await exchange(connection, RequestHeads(authority(target)), attempt, Connection.abort)

    async def probe(self, plan: Plan, target: Target) -> UpstreamError | None:
        """Resolves, judges, connects and handshakes without a request. The problem, or None."""
        try:
            connection = await self.open(plan, target)
        except UpstreamError as error:
            return error
        connection.abort()
        return None

    async def addresses(self, plan: Plan, target: Target, deadline: float) -> list[Address]:
        """The addresses of an allowed host, before `deadline` (loop time); all must pass.

        Report mode lets any public host pass, never a non-public address. Raises UpstreamError.
        """
        if not plan.report:
            if not host_allowed(plan.egress, target.host):
                raise _refused(target, "the host is not listed in egress.allow_hosts")
            if target.port not in plan.egress.ports:
                raise _refused(target, "the port is not listed in egress.ports")
        addresses = await look_up(self._resolver, target.host, LABEL, deadline)
        for address in addresses:
            objection = self._objection(plan, address, target.port)
            if objection is not None:
                raise _refused(target, objection)
        return addresses

    def objection(self, plan: Plan, target: Target) -> str | None:
        """Why a host that is an address will be refused; None where it will not, and for names, of which a look-up has to tell."""
        try:
            return self._objection(plan, ip_address(target.host), target.port)
        except ValueError:
            return None

    def _objection(self, plan: Plan, address: Address, port: int) -> str | None:
        if self._listeners.own(address, port):
            return "it is the gateway itself, which is called directly, without a proxy (NO_PROXY)"
        return None if forbidden(address, _networks(plan.egress.allow_private)) is None else NOT_PUBLIC

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.get_running_loop().run_in_executor(None, tls_context, Tls(), LABEL)
        return self._tls


def _refused(target: Target, rule: str) -> UpstreamError:
    """The rule alone. What a caller does next, failures.py adds; an operator reads this in `check --connect`."""
    return UpstreamError(
        "egress_not_allowed", f"{target.host} port {target.port} may not be reached: {rule}", sent=False
    )


@functools.lru_cache(maxsize=16)
def _networks(blocks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(block) for block in blocks)
