"""What an attempt says of its upstream's health, for the breaker (SPEC 5). Pure."""

from gateway.model import Reply, UpstreamError
from gateway.pipeline.failures import TimedOut

BROKEN = frozenset({"refused", "dns", "connect_timeout", "tls", "reset", "cut", "bad_response"})
"""Kinds of UpstreamError that speak against the upstream; the rest speak of this call or of the gateway."""
UNAVAILABLE = frozenset({502, 503, 504})
"""Statuses that do; a 500 or a 4xx is the tool's own answer, and a 429 only asks for time."""


def speaks_against(came_back: Reply | UpstreamError) -> bool:
    """Did the attempt fail to connect, break, time out, or was it answered 502, 503 or 504?"""
    if isinstance(came_back, Reply):
        return came_back.status in UNAVAILABLE
    if isinstance(came_back, TimedOut):
        return came_back.upstreams_own
    return came_back.kind in BROKEN


def speaks_for(reply: Reply, *, endless: bool) -> bool:
    """Is it good beyond doubt? A body that is still arriving may yet break off; one without an end is judged by its beginning."""
    return reply.body is not None or endless or reply.event_stream
