"""`check --connect`: can what the policy names be reached from here? Resolves, connects and handshakes; sends no request."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address, ip_network
from socket import SOCK_STREAM
from typing import NamedTuple

from gateway.model import Target, UpstreamError
from gateway.policy.snapshot import Snapshot
from gateway.settings import Settings
from gateway.upstreams.http import Upstreams
from gateway.upstreams.listeners import Listeners
from gateway.upstreams.outward import NOT_PUBLIC, Outward
from gateway.upstreams.resolver import Resolver

_AT_ONCE = 20

Reached = tuple[str, str | None]
"""What was tried, and the problem with its remedy or None."""
Begin = Callable[[int], Callable[[int], None]]
Probe = Callable[[], Awaitable[UpstreamError | None]]


class _Try(NamedTuple):
    """One thing to reach."""

    name: str
    """The key of the policy, and what of it."""
    host: str
    probe: Probe


async def reach_all(snapshot: Snapshot, settings: Settings, begin: Begin) -> list[Reached]:
    """Every upstream, and every allowed host that is spelled out, at each allowed port. `begin` is told how many there are; what it
    gives is told of each one that is done.
    """
    listeners = await _listeners(settings)
    upstreams, outward = Upstreams(Resolver(), listeners), Outward(Resolver(), listeners)
    tries = [*_upstreams(snapshot, upstreams), *_hosts(snapshot, outward)]
    turns, tick = asyncio.Semaphore(_AT_ONCE), begin(len(tries))

    async def attempt(one: _Try) -> Reached:
        async with turns:
            error = await one.probe()
            tick(1)
            return one.name, None if error is None else f"{error.detail}; {_remedy(error, one)}"

    try:
        return list(await asyncio.gather(*map(attempt, tries)))
    finally:
        await upstreams.close()


def _upstreams(snapshot: Snapshot, upstreams: Upstreams) -> list[_Try]:
    return [
        _Try(f"{'mcp_servers' if plan.mcp else 'upstreams'}.{plan.name}", plan.host, partial(upstreams.probe, plan))
        for plan in snapshot.upstreams.values()
    ]


def _hosts(snapshot: Snapshot, outward: Outward) -> list[_Try]:
    plan = snapshot.plan("default", "http.get")
    targets = [
        Target("https" if port == 443 else "http", host, port, "/")
        for host in sorted(plan.egress.hosts)
        for port in sorted(plan.egress.ports)
    ]
    return [
        _Try(
            f"egress.allow_hosts {target.host} port {target.port}",
            target.host,
            partial(outward.probe, plan, target),
        )
        for target in targets
    ]


def _remedy(error: UpstreamError, one: _Try) -> str:
    """What to do about it, in this order: what is likelier first."""
    key = one.name.split()[0]
    match error.kind:
        case "egress_not_allowed" if error.detail.endswith(NOT_PUBLIC):
            return f"list {_block(one.host)} in egress.allow_private if agents may go there, else take it out of {key}"
        case "egress_not_allowed":
            return f"take it out of {key}"
        case "dns":
            return f"correct the name in {key}, or have it resolved from here"
        case "tls":
            return f"or correct {key}"  # behind what is to be checked of TLS
        case _:
            return f"start it, open the network from here, or correct {key}"


def _block(host: str) -> str:
    """The CIDR block to write, where the host is an address."""
    with suppress(ValueError):
        return str(ip_network(ip_address(host)))
    return "its address (a block such as 10.1.2.3/32)"


async def _listeners(settings: Settings) -> Listeners:
    """The gateway's own sockets, so that an upstream that leads back to it is told here already."""
    own = []
    for address in (settings.listen, settings.admin_listen):
        if address.path is None:
            found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=SOCK_STREAM)
            own += [(ip_address(sockaddr[0]), address.port) for *_, sockaddr in found]
    return Listeners(own)
