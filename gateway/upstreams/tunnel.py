"""Tunnels to the targets of CONNECT: judged and dialled like any other way out, then bytes that are counted and not read."""

from gateway.model import Attempt, Reply, Target, UpstreamError
from gateway.policy.snapshot import Plan
from gateway.upstreams.outward import Outward


class Tunnels:
    """Opens them."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward

    async def open(self, attempt: Attempt, plan: Plan, target: Target) -> Reply:
        """A Reply whose `tunnel` is open. Raises UpstreamError."""
        raise UpstreamError("refused", f"tunnels are not built yet: {attempt, plan, target}", sent=False)
