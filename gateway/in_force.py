"""What follows when a policy, a candidate or a set of kill switches comes into force: each part is told what it must know of it."""

from collections.abc import Callable

from gateway.admin.views import switch_event
from gateway.guards.interruption import interrupt_killed
from gateway.model import KillSwitch, Moment, Observer, Source
from gateway.observers.book import Book
from gateway.observers.log import Log
from gateway.observers.metrics import Metrics
from gateway.pipeline.rollout import Rollout
from gateway.policy.remembered import forget_plans
from gateway.policy.snapshot import Snapshot
from gateway.state.counts import Counts
from gateway.upstreams.http import Upstreams


class InForce:
    """Constructed once, by app.py. Whoever finds a change calls it, on the loop."""

    def __init__(
        self,
        *,
        live: Callable[[], Snapshot],
        rollout: Rollout,
        counts: Counts,
        upstreams: Upstreams,
        log: Log,
        metrics: Metrics,
        book: Book,
        observer: Observer,
        default_agent: str,
        clock: Callable[[], Moment],
    ) -> None:
        self._live = live
        self._rollout = rollout
        self._counts = counts
        self._upstreams = upstreams
        self._log = log
        self._metrics = metrics
        self._book = book
        self._observer = observer
        self._default_agent = default_agent
        self._clock = clock

    def policy(self, snapshot: Snapshot) -> None:
        """A new policy came into force."""
        self._log.configure(snapshot.observability)
        self._counts.answers.bound(*snapshot.idempotency)
        self._book.open = snapshot.governed.enabled
        self.keep_named()
        agents = (self._default_agent, *snapshot.agents())
        self._metrics.adopt(tools=snapshot.tools(), agents=agents, upstreams=sorted(snapshot.upstreams))
        self.switches(Source.POLICY, snapshot.switches)

    def keep_named(self) -> None:
        """Keeps connections, breakers and queues of what the policy or a candidate on trial names; all others end when they are idle.
        What was found out about plans is forgotten.
        """
        forget_plans()
        snapshots = [self._live()]
        if self._rollout.candidate is not None:
            snapshots.append(self._rollout.candidate.snapshot)
        self._upstreams.adopt(*snapshots)
        self._counts.breakers.keep({plan.name for snapshot in snapshots for plan in snapshot.upstreams.values()})
        self._counts.pacers.adopt(self._rollout.pace_of, self._clock().mono)

    def switches(self, source: Source, switches: tuple[KillSwitch, ...]) -> None:
        """All switches that this source holds now; those of other sources stay as they are."""
        now = self._clock()
        added, removed = self._counts.switches.replace(source, switches, now)
        for switch in removed:
            self._observer.happened(switch_event("off", switch, now))
        for switch in added:
            self._observer.happened(switch_event("on", switch, now))
        interrupt_killed(self._counts, added, now)
