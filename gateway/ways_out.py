"""Every way a call can leave this process, under one name: `send` is all that the pipeline knows of them."""

import asyncio
from collections.abc import Awaitable
from ipaddress import ip_address

from gateway.model import Attempt, Door, Reply, ToolCall
from gateway.policy.snapshot import Plan
from gateway.upstreams.fetch import Fetch
from gateway.upstreams.http import Upstreams
from gateway.upstreams.listeners import Listeners
from gateway.upstreams.outward import Outward
from gateway.upstreams.resolver import Resolver
from gateway.upstreams.tunnel import Tunnels


class WaysOut:
    """The policy's upstreams, and the ways to hosts that are none."""

    def __init__(self) -> None:
        self._own = Listeners()
        self.upstreams = Upstreams(Resolver(), self._own)
        self.outward = Outward(Resolver(), self._own)
        self._fetch = Fetch(self.outward)
        self._tunnels = Tunnels(self.outward)

    def refuse(self, listener: asyncio.Server) -> None:
        """From now on nothing is sent there: it is a TCP listener of ours, whose port may be known only now."""
        for host, port, *_ in (listening.getsockname() for listening in listener.sockets):
            self._own.add(ip_address(host), port)

    def send(self, attempt: Attempt, plan: Plan, call: ToolCall) -> Awaitable[Reply]:
        """Raises UpstreamError, once awaited."""
        if call.destination is not None:
            if call.tool == "http.connect":
                return self._tunnels.open(attempt, plan, call.destination)
            fetched = call.door is Door.FETCH or (call.door is Door.GOVERNED and plan.registered is None)
            way = self._fetch if fetched else self.outward
            return way.send(attempt, plan, call.destination)
        if plan.upstream is None:
            raise AssertionError("the guard `configured` lets no call without an upstream pass")
        return self.upstreams.of(plan.upstream).send(attempt)

    async def close(self) -> None:
        await self.upstreams.close()
