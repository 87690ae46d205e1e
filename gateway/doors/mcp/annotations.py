"""What trusted servers have said of their tools (mcp_servers.X.trust_annotations): the first word holds. Pure, bounded."""

from dataclasses import replace
from typing import NamedTuple

from gateway.model import Effect
from gateway.policy.remembered import remembered
from gateway.policy.snapshot import Plan, UpstreamPlan

MOST_TOOLS = 10_000
"""Tools remembered, of all servers. Those beyond are as if nothing had been said of them: they write."""


class Hints(NamedTuple):
    """A tool's annotations, as far as they matter here."""

    read: bool
    idempotent: bool


NO_HINTS = Hints(read=False, idempotent=False)


class Annotations:
    """One per process. A tool that was said to write stays a write; one that was said to read can still become one."""

    def __init__(self) -> None:
        self._hints: dict[tuple[str, str, str, str], Hints] = {}

    def learn(self, server: UpstreamPlan, tool: str, said: object) -> None:
        """What a list of the server's says of a tool: `annotations`, or whatever stands in their place."""
        key, hints = _key(server, tool), _hints(said)
        known = self._hints.get(key)
        if known is not None:
            hints = Hints(known.read and hints.read, known.idempotent and hints.idempotent)
        elif len(self._hints) >= MOST_TOOLS:
            return
        self._hints[key] = hints

    def applied(self, plan: Plan, tool: str) -> Plan:
        """The plan of a tool (`tool`: as its server calls it), with the server's word where the policy leaves the effect to it."""
        if not plan.heeds_annotations or plan.upstream is None:
            return plan
        hints = self._hints.get(_key(plan.upstream, tool), NO_HINTS)
        return plan if hints == NO_HINTS else _heeding(plan, hints)


@remembered  # a call need not make its own
def _heeding(plan: Plan, hints: Hints) -> Plan:
    """The plan with a server's word."""
    return replace(plan, effect=Effect.READ) if hints.read else replace(plan, idempotent=True)


def _key(server: UpstreamPlan, tool: str) -> tuple[str, str, str, str]:
    """At another address it starts anew."""
    return server.name, server.origin, server.base_path, tool


def _hints(said: object) -> Hints:
    """Where two hints contradict each other, the more dangerous one holds."""
    if not isinstance(said, dict):
        return NO_HINTS
    read = said.get("readOnlyHint") is True and said.get("destructiveHint") is not True
    return Hints(read=read, idempotent=said.get("idempotentHint") is True)
