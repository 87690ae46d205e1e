"""Which tools a caller sees in lists: those it could call now."""

from collections.abc import Callable

from gateway.doors.arrival import Arrival
from gateway.doors.mcp.annotations import Annotations
from gateway.doors.mcp.messages import is_callable
from gateway.model import Moment, RunKey
from gateway.policy.snapshot import Snapshot, UpstreamPlan
from gateway.state.counts import Counts


class Sight:
    """Constructed once, by the door. Filtering is a courtesy: calls are judged all the same."""

    def __init__(
        self,
        counts: Counts,
        annotations: Annotations,
        snapshot_of: Callable[[RunKey], Snapshot],
        clock: Callable[[], Moment],
    ) -> None:
        self._counts = counts
        self._annotations = annotations
        self._snapshot_of = snapshot_of
        self._clock = clock

    def may_see(self, arrival: Arrival, server: UpstreamPlan, tool: dict[str, object]) -> bool:
        """By allowlist and kill switches, as they are at this moment: the stream may be older."""
        name = tool.get("name")
        if not isinstance(name, str) or not is_callable(name):
            return False
        if server.mcp is not None and server.mcp.trust_annotations:
            self._annotations.learn(server, name, tool.get("annotations"))
        key = RunKey(arrival.agent, arrival.run)
        full = f"{server.name}.{name}"
        plan = self._annotations.applied(self._snapshot_of(key).plan(arrival.agent, full), name)
        if not plan.allowed and not plan.report:
            return False
        return self._counts.switches.stops(key.agent, key.id, full, plan.effect, self._clock()) is None
