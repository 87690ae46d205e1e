"""The data plane's doors, wired: all that agents reach, from the sockets' protocol to the pipeline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.doors.fetch import destined
from gateway.doors.front import Front
from gateway.doors.governed.governance import Governance
from gateway.doors.http_rules import local_name
from gateway.doors.lane import Lane
from gateway.doors.learner import Learner
from gateway.doors.listener import Listener
from gateway.doors.runs import RunControl
from gateway.model import Event, Moment
from gateway.observers.book import Book
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.place import is_shared
from gateway.policy.source import PolicySource
from gateway.settings import Settings
from gateway.small_reads import SmallReads
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts
from gateway.state.stores.keeper import Keeper
from gateway.upstreams.http import Upstreams
from gateway.upstreams.outward import Outward

if TYPE_CHECKING:
    from gateway.doors.governed.door import GovernedDoor
    from gateway.doors.mcp.door import McpDoor


@dataclass(kw_only=True)
class DataPlane:
    """Constructed once, by app.py: `protocol` is what each accepted connection is given."""

    settings: Settings
    counts: Counts
    buffers: Buffers
    policies: PolicySource
    rollout: Rollout
    pipeline: Pipeline
    governance: Governance
    book: Book
    keeper: Keeper
    upstreams: Upstreams
    outward: Outward
    ready: Callable[[], bool]
    clock: Callable[[], Moment]
    emit: Callable[[Event], None]

    def __post_init__(self) -> None:
        front = self._front()
        self.listener = Listener(
            front,
            Lane(
                front,
                self.pipeline,
                policies=self.policies,
                rollout=self.rollout,
                learner=Learner(front, self.upstreams.of),
                buffers=self.buffers,
                clock=self.clock,
            ),
            buffers=self.buffers,
            max_connections=self.settings.max_connections,
            read_timeout=self.settings.read_timeout,
        )

    def protocol(self) -> asyncio.BaseProtocol:
        return SmallReads(self.listener())

    def open_doors(self) -> None:
        """Those of the policy that are loaded by need, before anybody calls. What a later policy opens is loaded by its first call."""
        snapshot = self.policies.snapshot
        if any(plan.mcp is not None for plan in snapshot.upstreams.values()):
            _ = self._mcp
        if snapshot.governed.enabled:
            _ = self._governed

    async def close(self) -> None:
        """The upstream streams of MCP sessions; `listener.shutdown` comes first."""
        if "_mcp" in vars(self):  # somebody came to that door
            await self._mcp.close()

    def _front(self) -> Front:
        return Front(
            snapshot=lambda: self.policies.snapshot,
            pipeline=self.pipeline,
            rollout=self.rollout,
            mcp=lambda arrival: self._mcp.answer(arrival),  # noqa: PLW0108  made with the first one
            governed=lambda arrival: self._governed.answer(arrival),  # noqa: PLW0108  made with the first one
            runs=self._run_control(),
            buffers=self.buffers,
            clock=self.clock,
            ready=self.ready,
            fixed_agent=self.settings.agent_id,
            on_loopback=self._on_loopback(),
            read_timeout=self.settings.read_timeout,
        )

    @cached_property
    def _mcp(self) -> "McpDoor":
        from gateway.doors.mcp.door import McpDoor  # by need: with all behind it a hundredth of the memory

        return McpDoor(
            pipeline=self.pipeline,
            counts=self.counts,
            buffers=self.buffers,
            send_apart=lambda attempt, plan: self.upstreams.of(plan).send_apart(attempt),
            snapshot_of=self.rollout.snapshot_of,
            clock=self.clock,
            read_timeout=self.settings.read_timeout,
        )

    @cached_property
    def _governed(self) -> "GovernedDoor":
        from gateway.doors.governed.door import GovernedDoor  # by need, as well

        return GovernedDoor(
            governance=self.governance,
            book=self.book,
            pipeline=self.pipeline,
            rollout=self.rollout,
            counts=self.counts,
            buffers=self.buffers,
            fetched=destined,
            objection=self.outward.objection,
            snapshot=lambda: self.policies.snapshot,
            reach=self.keeper.reach,
            alone=not is_shared(self.settings.state),
            fixed_agent=self.settings.agent_id,
            clock=self.clock,
            emit=self.emit,
            read_timeout=self.settings.read_timeout,
        )

    def _run_control(self) -> RunControl:
        return RunControl(self.counts, self.pipeline, self.rollout, self.clock, read_timeout=self.settings.read_timeout)

    def _on_loopback(self) -> bool:
        listen = self.settings.listen
        return listen.path is None and local_name(listen.host) and is_loopback(listen.host)


def is_loopback(host: str) -> bool:
    """Does a listener on this host take connections of this machine only?"""
    return host == "localhost" or (local_name(host) and ip_address(host).is_loopback)
