"""The fetch tool: one GET or HEAD out to the internet, under the egress rules. Every hop is judged by scheme, host, port and address."""

from collections.abc import Iterable

from gateway.model import Attempt, Reply, Target, UpstreamError
from gateway.policy.snapshot import Plan
from gateway.policy.targets import follow
from gateway.upstreams.outward import LABEL, Outward

MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEVER_SENT = ("agent-", "tool-gateway-")
"""Beginnings of header names that are between agent, gateway and the upstreams of the policy."""
_ACROSS_ORIGINS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "content-type", "range", "user-agent"}
)
"""All that follows a redirect to another origin: any other header may be a credential, whatever it is called."""


class Fetch:
    """Performs `http.get` and `http.head`, with one connection a hop."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward

    async def send(self, attempt: Attempt, plan: Plan, target: Target) -> Reply:
        """The target's answer after at most five redirects, without cookies.

        Raises UpstreamError; `egress_not_allowed` where a host, port or address is refused. `attempt.sent` is true once any hop went out.
        """
        hop = Attempt(attempt.number, attempt.method, attempt.target, _outgoing(attempt.headers), attempt.body)
        for _ in range(MOST_REDIRECTS + 1):
            reply = await self._hop(attempt, hop, plan, target)
            location = _location(reply)
            if location is None:
                reply.headers = tuple(h for h in reply.headers if not h[0].lower().startswith("set-cookie"))
                return reply
            reply.close()
            try:
                onward = follow(target, location)
            except ValueError as error:
                raise UpstreamError(
                    "egress_not_allowed", f"{LABEL} redirects to where no fetch goes: {error}", sent=True
                ) from None
            _redirect(hop, reply.status, same_origin=onward[:3] == target[:3])
            target = onward
        raise UpstreamError("bad_response", f"{LABEL} redirects more than {MOST_REDIRECTS} times", sent=True)

    async def _hop(self, attempt: Attempt, hop: Attempt, plan: Plan, target: Target) -> Reply:
        try:
            return await self._outward.send(hop, plan, target)
        except UpstreamError as error:
            error.sent = error.sent or attempt.sent
            raise
        finally:
            attempt.sent = attempt.sent or hop.sent


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
