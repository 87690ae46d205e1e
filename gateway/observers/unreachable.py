"""Tells that an upstream cannot be reached: an event of its own, so that an operator need not find it among failed calls."""

from collections.abc import Callable

from gateway.model import Event, Record

KINDS = frozenset({"refused", "dns", "connect_timeout", "tls"})
"""Kinds of UpstreamError that mean: no connection came about."""
QUIET_SECONDS = 60.0
"""An outage is told once a minute and upstream, not once a call."""


class Unreachable:
    """An Observer of calls that makes events. Knows as many upstreams as the policy names."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._told: dict[str, float] = {}

    def call_ended(self, record: Record) -> None:
        if not record.errors or record.upstream is None or KINDS.isdisjoint(record.errors):
            return
        if record.at.mono - self._told.get(record.upstream, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._told[record.upstream] = record.at.mono
        kind = next(error for error in record.errors if error in KINDS)
        self._tell(Event("upstream_unreachable", record.at, {"upstream": record.upstream, "problem": kind}))

    def happened(self, event: Event) -> None:
        """Of no concern here."""
