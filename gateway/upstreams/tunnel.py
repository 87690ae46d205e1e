"""Tunnels to the targets of CONNECT: judged and dialled like any other way out, then bytes that are counted and not read."""

import asyncio

from gateway.both_ways import BothWays, End
from gateway.model import Attempt, Reply, Target
from gateway.policy.snapshot import Plan
from gateway.upstreams.addresses import Address
from gateway.upstreams.dial import dial
from gateway.upstreams.outward import CONNECT_TIMEOUT, LABEL, Outward


class Tunnels:
    """Opens them."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward

    async def open(self, attempt: Attempt, plan: Plan, target: Target) -> Reply:
        """A Reply whose `tunnel` is open to one of the addresses that were judged. Raises UpstreamError.

        `attempt.sent` is true once the connection stands: that alone may mean something to the target.
        """
        loop = asyncio.get_running_loop()

        async def open_at(address: Address) -> End:
            end = End(loop)
            await loop.create_connection(lambda: end, str(address), target.port)
            end.transport.pause_reading()  # until the caller's first bytes have been judged
            return end

        deadline = loop.time() + CONNECT_TIMEOUT
        addresses = await self._outward.addresses(plan, target, deadline)
        tunnel = BothWays(await dial(addresses, open_at, label=LABEL, deadline=deadline))
        attempt.sent = True
        return Reply(200, (), None, close=tunnel.close, tunnel=tunnel)
