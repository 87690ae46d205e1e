"""The composition root: constructs the parts and starts the listeners. What happens when is in lifecycle.py."""

import asyncio
import gc
import os
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.admin.api import make_admin
from gateway.admin.operations import Operations
from gateway.admin.plane import Plane
from gateway.admin.token import AdminToken
from gateway.clock import clock
from gateway.data_plane import DataPlane
from gateway.doors.governed.governance import Governance
from gateway.doors.identity import DEFAULT_AGENT
from gateway.housekeeping import Housekeeping
from gateway.in_force import InForce
from gateway.lifecycle import Lifecycle, Phase
from gateway.listening import StartError, listen, raise_descriptor_limit, too_few_descriptors, url_of
from gateway.model import Event, Family, Observer, Source
from gateway.observers.book import Book
from gateway.observers.fanout import Observers
from gateway.observers.log import Log
from gateway.observers.metrics import Metrics, counter
from gateway.observers.recent import Recent
from gateway.observers.unreachable import Unreachable
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import NOTE, Rollout
from gateway.pipeline.traced import TracedPipeline
from gateway.place import is_shared
from gateway.policy.document.problems import PolicyError
from gateway.policy.snapshot import Observability
from gateway.policy.source import PolicySource
from gateway.settings import VARIABLES, Address, Settings, SettingsError
from gateway.state.breaker import Change
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.rollout import RolledBack
from gateway.state.stores import Saved, Store, StoreError
from gateway.state.stores.keeper import Keeper, open_store
from gateway.tracing import CLOSE_SECONDS, traces_of
from gateway.ways_out import WaysOut

if TYPE_CHECKING:
    from gateway.fleet import Member

LOG_CLOSE_SECONDS = 2.0
COLLECTOR = (10_000, 20, 20)
"""Objects and rounds between two looks of the garbage collector. Nearly all of a call's objects are freed by their reference counts, and
Python's usual 700 objects would have it look after every few calls for nothing.
"""

TURN = 0.0005
"""Seconds for which a thread that computes (the log's, one that compiles a policy) keeps the interpreter when the event loop wants
it. With Python's 5 ms a call would wait as long.
"""


def tune_interpreter() -> None:
    """For a process that serves: threads give way to the loop soon, and the garbage collector seldom looks."""
    sys.setswitchinterval(TURN)
    gc.collect()
    gc.set_threshold(*COLLECTOR)
    gc.freeze()  # what the start made lives as long as the process: the collector need not walk it again


async def serve(settings: Settings) -> int:
    """Runs the gateway until a signal ends it. The exit code."""
    gateway = None
    try:
        gateway = Gateway(settings, os.environ)
        await gateway.start()
    except (StartError, SettingsError, PolicyError, StoreError, OSError) as error:
        if gateway is not None:
            await gateway.stop()
        for line in str(error).splitlines():
            print(f"tool-gateway: {line}", file=sys.stderr)  # noqa: T201  the log may be what failed
        return 2
    await gateway.run_until_signalled()
    await gateway.stop()
    return 0


class Gateway:
    """One process's parts, wired. `start` and `stop` once each; in between the data plane serves.

    The constructor raises StartError, SettingsError, PolicyError, StoreError or OSError, each with the lines to print.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *watching: Observer) -> None:
        self.settings = settings
        self.token = AdminToken.of(settings)
        self.traces = traces_of(environ, self._happened)
        store = open_store(settings.state)
        self.keeper = Keeper(store, self._state_changed)
        saved = self.keeper.load()
        self.counts = Counts(settings.max_in_flight)
        self.counts.breakers.on_change = self._breaker_changed
        self.keeper.begin(self.counts.ledger, saved, clock(), self.counts.answers)
        self.governance = self._governance(saved)
        for switch in (*saved.switches, *self.governance.switches):
            self.counts.switches.put(switch)
        self.log = Log(settings.log, observability=Observability(), sample_key=saved.log_key, clock=clock)
        self.recent = Recent()
        self.metrics = Metrics()
        self.rollout = self._rollout(saved)
        self.book = self.keeper.historian = Book(saved.history)
        unreachable = Unreachable(self.log.happened)
        traces = () if self.traces is None else (self.traces,)
        self.observers = Observers(
            self.log, self.recent, self.metrics, unreachable, self.rollout, self.book, *traces, *watching
        )
        self.ways_out = WaysOut()
        self.in_force = self._in_force()
        self.policies = self._policy_source(environ)
        self.buffers = Buffers(settings.max_buffered_bytes)
        pipeline = Pipeline if self.traces is None else partial(TracedPipeline, self.traces)
        self.pipeline = pipeline(
            counts=self.counts,
            buffers=self.buffers,
            send=self.ways_out.send,
            observer=self.observers,
            clock=clock,
            dice=random.random,
        )
        self.member = self._membership(store)
        self.operations = self._operations()
        self.housekeeping = Housekeeping(self.counts, self.keeper, self.pipeline, self.rollout, self.operations, clock)
        self.data_plane = self._data_plane()
        self._servers: list[asyncio.Server] = []
        self._admin: Plane | None = None
        self._chores: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Opens everything, the data plane last: whoever can connect is served."""
        self._open_log()
        self._find_policy()
        self.policies.load()
        self.data_plane.open_doors()
        if self.member is not None:
            await self.member.join()
        asked = self.settings.max_connections
        self.data_plane.listener.max_connections = granted = raise_descriptor_limit(asked)
        await self._start_admin()
        await self._listen(self.settings.listen, "GATEWAY_LISTEN", self.data_plane.protocol)
        self._chores = [
            asyncio.create_task(self.policies.watch()),
            asyncio.create_task(self.housekeeping.run()),
        ]
        tune_interpreter()
        self.operations.unready = None
        self._tell(
            "gateway_started",
            listen=self.data_url,
            admin_listen=self.admin_url,
            max_connections=granted,
            warnings=self.keeper.warnings + ([] if granted == asked else [too_few_descriptors(asked, granted)]),
            policy=self.policies.snapshot.version,
            kill_switches=[str(switch.scope) for switch in self.counts.switches.active(clock())],
        )

    @property
    def data_url(self) -> str:
        """Where the data plane really listens (port 0 in the settings: the system chose one)."""
        return url_of(self._servers[1])

    @property
    def admin_url(self) -> str:
        """Where the admin plane really listens."""
        return url_of(self._servers[0])

    async def run_until_signalled(self) -> None:
        """Returns when the calls in flight are done or their time is up."""
        lifecycle = Lifecycle(
            self.counts,
            drain=self.settings.drain_seconds,
            idle=self.settings.drain_idle_seconds,
            on_hangup=self._hang_up,
            on_phase=self._enter,
        )
        await lifecycle.run()

    async def stop(self) -> None:
        """Closes what `start` opened, also where it failed half-way, and saves what must outlive the process.

        The log's thread goes last but surely: one that runs into the interpreter's end aborts the process.
        """
        for server in self._servers:
            server.close()
        await self.data_plane.listener.shutdown(0.5)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._admin is not None:
            await self._admin.close()
        await self.data_plane.close()
        await self.ways_out.close()
        if self.member is not None:
            await self.member.leave()
        await self.keeper.close(self.counts.ledger, clock())
        if self.operations.unready != Phase.STARTING:
            self._tell("gateway_stopped")
        if self.traces is not None:
            await self.traces.close(CLOSE_SECONDS)
        self.log.close(LOG_CLOSE_SECONDS)

    def _membership(self, store: Store) -> "Member | None":
        """Of a fleet, where several gateways share the store."""
        if not is_shared(self.settings.state):
            return None
        from gateway.fleet import Member

        adopt = partial(self.in_force.switches, Source.RUNTIME)
        shared, emit = self.governance, self._happened
        return Member(store, self.keeper, self.counts, self.pipeline, clock, adopt, shared.lock, shared.take_up, emit)

    def _in_force(self) -> InForce:
        return InForce(
            live=lambda: self.policies.snapshot,
            rollout=self.rollout,
            counts=self.counts,
            upstreams=self.ways_out.upstreams,
            log=self.log,
            metrics=self.metrics,
            book=self.book,
            observer=self.observers,
            default_agent=self.settings.agent_id or DEFAULT_AGENT,
            clock=clock,
        )

    def _data_plane(self) -> DataPlane:
        return DataPlane(
            settings=self.settings,
            counts=self.counts,
            buffers=self.buffers,
            policies=self.policies,
            rollout=self.rollout,
            pipeline=self.pipeline,
            governance=self.governance,
            book=self.book,
            keeper=self.keeper,
            upstreams=self.ways_out.upstreams,
            outward=self.ways_out.outward,
            ready=lambda: self.operations.unready is None,
            clock=clock,
            emit=self._happened,
        )

    def _policy_source(self, environ: Mapping[str, str]) -> PolicySource:
        return PolicySource(
            self.settings.policy,
            environ=environ,
            upstream=self.settings.upstream,
            own_listeners=frozenset(
                (a.host, a.port) for a in (self.settings.listen, self.settings.admin_listen) if a.path is None
            ),
            budgets=self.settings.budgets,
            agent_id=self.settings.agent_id,
            overlay=self.governance.overlay,
            emit=self.observers.happened,
            clock=clock,
            on_snapshot=self.in_force.policy,
            on_candidate=lambda candidate: self.rollout.offer(candidate, clock()),
            on_file_switches=partial(self.in_force.switches, Source.FILE),
        )

    def _rollout(self, saved: Saved) -> Rollout:
        return Rollout(
            live=lambda: self.policies.snapshot,
            emit=self._happened,
            changed=lambda: self.in_force.keep_named(),  # noqa: PLW0108  which is made later
            rolled_back=RolledBack.of(saved.notes.get(NOTE)),
        )

    def _governance(self, saved: Saved) -> Governance:
        return Governance(
            saved.notes,
            put_note=self.keeper.put_note,
            changed=lambda overlay: self.policies.govern(overlay),  # noqa: PLW0108  which are made later
            switched=lambda switches: self.in_force.switches(Source.GOVERNED, switches),
            clock=clock,
        )

    def _operations(self) -> Operations:
        return Operations(
            settings=self.settings,
            policies=self.policies,
            counts=self.counts,
            keeper=self.keeper,
            rollout=self.rollout,
            recent=self.recent,
            observer=self.observers,
            run_finished=self.pipeline.run_finished,
            knows_end=self.pipeline.knows_end,
            connections=self.ways_out.upstreams.status,
            log=self.log,
            counted=self._counted,
            listening=lambda: (self.data_url, self.admin_url),
            clock=clock,
            started=clock(),
        )

    def _counted(self) -> list[Family]:
        dropped = {} if self.traces is None else self.traces.dropped
        return [*self.metrics.families(), counter("spans_dropped", "Spans that were not sent.", ("why",), dropped)]

    def _open_log(self) -> None:
        try:
            self.log.start()
        except OSError as error:
            problem = os.strerror(error.errno or 0).lower()
            raise StartError(f"GATEWAY_LOG: cannot write to {self.settings.log}: {problem}") from None

    def _find_policy(self) -> None:
        if not Path(self.settings.policy).exists():
            form = VARIABLES["GATEWAY_POLICY"].form
            raise StartError(f"GATEWAY_POLICY: {self.settings.policy} does not exist; expected {form}")

    async def _start_admin(self) -> None:
        self._admin = make_admin(self.operations, self.token, self.settings.admin_hosts)
        await self._listen(self.settings.admin_listen, "GATEWAY_ADMIN_LISTEN", self._admin)

    async def _listen(self, address: Address, variable: str, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """From now on nothing is sent there: the port is known, also where the system chose it."""
        server = await listen(address, variable, protocol)
        self._servers.append(server)
        if address.path is None:
            self.ways_out.refuse(server)

    def _state_changed(self, problem: str | None) -> None:
        if problem is None:
            self._tell("state_available")
        else:
            self._tell("state_unavailable", problem=problem)

    def _hang_up(self) -> None:
        """SIGHUP: look at the policy now, and write the log to whatever is at its path."""
        self.log.reopen()
        task = asyncio.create_task(self._reload())
        self._chores.append(task)
        task.add_done_callback(self._chores.remove)

    async def _reload(self) -> None:
        await self.policies.reload()

    def _enter(self, phase: Phase) -> None:
        self.operations.unready = None if phase is Phase.SERVING else phase.value
        if phase is not Phase.SERVING:
            self._tell("gateway_stopping", phase=phase.value, in_flight=len(self.counts.in_flight))

    def _breaker_changed(self, change: Change) -> None:
        seconds = change.open_for
        self._tell(
            "breaker",
            upstream=change.upstream,
            state=change.state.value,
            failures=change.failures,
            open_for_ms=None if seconds is None else round(seconds * 1000),
        )

    def _tell(self, name: str, **fields: object) -> None:
        self._happened(Event(name, clock(), fields))

    def _happened(self, event: Event) -> None:
        self.observers.happened(event)
