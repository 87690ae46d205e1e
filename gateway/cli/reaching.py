"""`check --connect`: can what the policy names be reached from here? Resolves, connects and handshakes; sends no request."""

import asyncio
from collections.abc import Awaitable
from ipaddress import ip_address
from socket import SOCK_STREAM

from gateway.model import Target
from gateway.policy.snapshot import Snapshot
from gateway.settings import Settings
from gateway.upstreams.http import Upstreams
from gateway.upstreams.listeners import Listeners
from gateway.upstreams.outward import Outward
from gateway.upstreams.resolver import Resolver

_AT_ONCE = 20

Reached = tuple[str, str | None]
"""What was tried, and the problem with its remedy or None."""


async def reach_all(snapshot: Snapshot, settings: Settings) -> list[Reached]:
    """Every upstream, and every allowed host that is spelled out, at each allowed port."""
    listeners = await _listeners(settings)
    upstreams, outward = Upstreams(Resolver(), listeners), Outward(Resolver(), listeners)
    plan = snapshot.plan("default", "http.get")
    tries: list[tuple[str, Awaitable[str | None]]] = [
        (f"{'mcp_servers' if upstream.mcp else 'upstreams'}.{upstream.name}", upstreams.probe(upstream))
        for upstream in snapshot.upstreams.values()
    ]
    for host in sorted(plan.egress.hosts):
        for port in sorted(plan.egress.ports):
            target = Target("https" if port == 443 else "http", host, port, "/")
            tries.append((f"egress.allow_hosts {host} port {port}", outward.probe(plan, target)))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def attempt(name: str, probe: Awaitable[str | None]) -> Reached:
        async with turns:
            problem = await probe
            return name, problem and f"{problem}; start it, open the network from here, or correct {name.split()[0]}"

    try:
        return list(await asyncio.gather(*(attempt(name, probe) for name, probe in tries)))
    finally:
        await upstreams.close()


async def _listeners(settings: Settings) -> Listeners:
    """The gateway's own sockets, so that an upstream that leads back to it is told here already."""
    own = []
    for address in (settings.listen, settings.admin_listen):
        if address.path is None:
            found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=SOCK_STREAM)
            own += [(ip_address(sockaddr[0]), address.port) for *_, sockaddr in found]
    return Listeners(own)
