"""Kill switches: the operator's stop. Pure: which switch, of all sources, stops this call now?

Where several do, those that end the run are named first: all > agent > run > writes > tool. Of one scope, the source that comes
first in Source is.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from gateway.model import Effect, KillSwitch, Moment, Scope, Source

FORMS = "all, writes, tool:PATTERN, agent:ID, run:ID or run:AGENT/ID"
ANYTHING = "*"

_TOOL = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?")
_AGENT = re.compile(r"[!-.0-~]{1,128}")  # printable, no space, no slash
_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

SOURCES = tuple(Source)
RunName = tuple[str | None, str]
"""Agent (None: every agent's) and run id."""


def parse_scope(text: str) -> Scope:
    """Raises ValueError with one line that names the valid forms."""
    kind, colon, value = text.partition(":")
    if kind in ("all", "writes"):
        if colon:
            raise ValueError(f"scope {kind} stands alone, nothing follows it")
        return Scope(kind)
    if kind == "tool":
        if value != ANYTHING and not _TOOL.fullmatch(value):
            raise ValueError("scope tool:PATTERN takes a tool name, a name with .* at its end, or *")
        return Scope(kind, value)
    if kind == "agent":
        if not _AGENT.fullmatch(value):
            raise ValueError("scope agent:ID takes an agent id: 1 to 128 visible characters without a slash")
        return Scope(kind, value)
    if kind == "run":
        agent, run_id = _run_name(value)
        if not _RUN_ID.fullmatch(run_id) or not (agent is None or _AGENT.fullmatch(agent)):
            raise ValueError("scope run:ID or run:AGENT/ID takes a run id: 1 to 128 of A-Z a-z 0-9 . _ : -")
        return Scope(kind, value)
    raise ValueError(f"not a scope: expected {FORMS}")


class Switches:
    """Every switch of every source. Asked once or more per call, so it is compiled into dict probes at each flip."""

    def __init__(self, switches: Iterable[KillSwitch] = ()) -> None:
        self._held: dict[tuple[Source, Scope], KillSwitch] = {(s.source, s.scope): s for s in switches}
        self._compile()

    def replace(
        self, source: Source, switches: Iterable[KillSwitch], now: Moment
    ) -> tuple[list[KillSwitch], list[KillSwitch]]:
        """All that the source holds from now on. Returns what came and what went.

        A switch that says the same as before stays the one it was, with the time it was first seen; a changed one went and came.
        At run time one may be put again by another gateway: then it has the time of that, which whoever lifts it must name.
        """
        wanted = {s.scope: s for s in switches if _is_on(s, now)}
        held = {s.scope: s for s in self._held.values() if s.source is source}
        removed = [s for scope, s in held.items() if scope not in wanted or not _same(s, wanted[scope])]
        added = [s for scope, s in wanted.items() if scope not in held or not _same(s, held[scope])]
        self._change([*wanted.values()] if source is Source.RUNTIME else added, removed)
        return added, removed

    def put(self, switch: KillSwitch) -> None:
        """Adds one, in place of its source's earlier one of the same scope."""
        self._change([switch], [])

    def lift(self, scope: Scope) -> list[KillSwitch]:
        """Removes what the runtime source holds of this very scope."""
        switch = self._held.get((Source.RUNTIME, scope))
        removed = [] if switch is None else [switch]
        self._change([], removed)
        return removed

    def holding(self, scope: Scope, now: Moment) -> list[KillSwitch]:
        """What still holds this very scope: after a lift, the other sources."""
        found = (self._held.get((source, scope)) for source in SOURCES)
        return [s for s in found if s is not None and _is_on(s, now)]

    def active(self, now: Moment) -> list[KillSwitch]:
        """All that are on, the oldest first."""
        return sorted((s for s in self._held.values() if _is_on(s, now)), key=lambda s: s.since)

    def expire(self, now: Moment) -> list[KillSwitch]:
        """Removes those whose time is up and returns them."""
        removed = [s for s in self._held.values() if not _is_on(s, now)]
        self._change([], removed)
        return removed

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self._held)

    def stops(self, agent: str, run_id: str, tool: str, effect: Effect, now: Moment) -> KillSwitch | None:
        """The one to name to a call. `run_id` is "" for an anonymous call, which no run scope reaches."""
        if not self._held:
            return None
        return (
            _first_on(self._all, now)
            or _first_on(self._agents.get(agent, ()), now)
            or (self._stops_run(agent, run_id, now) if self._runs and run_id else None)
            or (_first_on(self._writes, now) if effect is Effect.WRITE else None)
            or (self._stops_tool(tool, now) if self._tools else None)
        )

    def _stops_run(self, agent: str, run_id: str, now: Moment) -> KillSwitch | None:
        return _first_on(self._runs.get((None, run_id), ()), now) or _first_on(self._runs.get((agent, run_id), ()), now)

    def _stops_tool(self, tool: str, now: Moment) -> KillSwitch | None:
        """Patterns match at dots only, so a name has as many probes as parts: `a.b` is met by `a.b`, `a.*` and `*`."""
        switch = _first_on(self._tools.get(tool, ()), now)
        prefix = tool
        while switch is None and prefix:
            prefix = prefix.rpartition(".")[0]
            switch = _first_on(self._tools.get(f"{prefix}.*" if prefix else ANYTHING, ()), now)
        return switch

    def _change(self, added: list[KillSwitch], removed: list[KillSwitch]) -> None:
        for switch in removed:
            del self._held[switch.source, switch.scope]
        for switch in added:
            self._held[switch.source, switch.scope] = switch
        if added or removed:
            self._compile()

    def _compile(self) -> None:
        self._all: list[KillSwitch] = []
        self._writes: list[KillSwitch] = []
        self._agents: dict[str, list[KillSwitch]] = {}
        self._runs: dict[RunName, list[KillSwitch]] = {}
        self._tools: dict[str, list[KillSwitch]] = {}
        for switch in sorted(self._held.values(), key=lambda s: SOURCES.index(s.source)):
            kind, value = switch.scope
            if kind == "all":
                self._all.append(switch)
            elif kind == "writes":
                self._writes.append(switch)
            elif kind == "agent":
                self._agents.setdefault(value, []).append(switch)
            elif kind == "run":
                self._runs.setdefault(_run_name(value), []).append(switch)
            else:
                self._tools.setdefault(value, []).append(switch)


def _run_name(value: str) -> RunName:
    agent, slash, run_id = value.rpartition("/")
    return (agent if slash else None), run_id


def _is_on(switch: KillSwitch, now: Moment) -> bool:
    return switch.until is None or now.wall < switch.until


def _first_on(switches: Iterable[KillSwitch], now: Moment) -> KillSwitch | None:
    for switch in switches:
        if switch.until is None or now.wall < switch.until:
            return switch
    return None


def _same(one: KillSwitch, other: KillSwitch) -> bool:
    return replace(one, since=other.since) == other
