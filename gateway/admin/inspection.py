"""What operators can ask: all the admin plane knows of the rest of the gateway. What they can do is in operations.py."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, cast

from gateway.admin import answers
from gateway.admin.blast import foreseen
from gateway.admin.views import (
    View,
    agent_view,
    breaker_view,
    explanation_view,
    instant,
    rollout_view,
    run_view,
    switch_view,
    upstream_view,
)
from gateway.admin.wanted import Wanted
from gateway.guards.explain import explain
from gateway.model import Budgets, Family, Moment, Observer, RunKey
from gateway.pipeline.rollout import Rollout
from gateway.policy.snapshot import UpstreamPlan
from gateway.policy.source import PolicySource
from gateway.settings import Settings
from gateway.state.counts import Counts
from gateway.state.run import Run
from gateway.state.stores.keeper import Keeper
from gateway.version import code, product_version

MOST_AGENTS = 100
"""In one answer; metrics name as many."""
MOST_QUEUES = 100


class FollowedCalls(Protocol):
    """Calls as they end. `close` it when done."""

    def take(self, most: int) -> tuple[int | None, list[View]]:
        """How many were lost on the way (None: nobody knows), and the oldest that were not taken yet."""
        ...

    def close(self) -> None: ...


class Calls(Protocol):
    """The latest calls, as the log shows them."""

    def calls(self, limit: int, wanted: Wanted) -> list[View]: ...

    def in_trouble(self, now: Moment, max_spend: Callable[[str], int | None]) -> list[View]: ...

    def call(self, call_id: str) -> View | None: ...

    def follow(self, wanted: Wanted, wake: Callable[[], None], after: str | None) -> FollowedCalls: ...


class Lines(Protocol):
    """The log, as far as operators watch it."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines that were not written, by kind; 0 where none was: an alert sees only what rises."""
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be written just now."""
        ...


@dataclass(slots=True)
class Inspection:
    """Every method answers with what the admin plane sends as JSON, and waits for nothing."""

    settings: Settings
    policies: PolicySource
    counts: Counts
    keeper: Keeper
    rollout: Rollout
    recent: Calls
    observer: Observer
    run_finished: Callable[[Run, Moment], None]
    knows_end: Callable[[RunKey, Budgets], Awaitable[bool]]
    """Every gateway that shares the counts knows that the run has ended here."""
    connections: Callable[[], list[View]]
    """One object an upstream in use: how many connections are open, idle and waited for."""
    log: Lines
    counted: Callable[[], list[Family]]
    """The metrics of calls."""
    listening: Callable[[], tuple[str, str]]
    """Where the data plane and the admin plane really listen."""
    clock: Callable[[], Moment]
    started: Moment
    unready: str | None = "starting"
    """Why the gateway takes no calls (`starting`, `draining`); None while it does. Set by app.py."""

    def health(self) -> answers.Health:
        """The process can answer."""
        return {"ok": True, "version": product_version(), "uptime_seconds": round(self._uptime(), 1)}

    def readiness(self) -> answers.Readiness:
        """Not ready only while starting and after SIGTERM. `degraded` holds words, no names: it is read without a token."""
        ready: answers.Readiness = {
            "ready": self.unready is None,
            "degraded": self.degraded(),
            "mode": self._mode(),
        }
        if self.unready is not None:
            ready["why"] = self.unready
        return ready

    def degraded(self) -> list[str]:
        """What an operator should look at, worst first."""
        found = {
            "state_unavailable": self.keeper.problem is not None,
            "log_failing": self.log.problem is not None,
            "policy_rejected": bool(self.policies.problems),
            "breaker_open": bool(self.counts.breakers.failing()),
            "candidate_rolled_back": self.rollout.ignored is not None,
            "kill_switch": bool(self.counts.switches.active(self.clock())),
        }
        return [word for word, so in found.items() if so]

    def status(self) -> answers.Status:
        """The whole picture, small enough to read."""
        snapshot = self.policies.snapshot
        data_plane, admin_plane = self.listening()
        return {
            "version": product_version(),
            "code": code(),
            "started": instant(self.started.wall),
            "uptime_seconds": round(self._uptime(), 1),
            "ready": self.unready is None,
            "why": self.unready,
            "degraded": self.degraded(),
            "mode": self._mode(),
            "policy": {
                "version": snapshot.version,
                "path": self.settings.policy,
                "warnings": list(snapshot.warnings),
                "overrides": list(snapshot.overrides),
                "rejected": list(self.policies.problems),
            },
            "candidate": self._candidate(),
            "kill_switches": [switch_view(switch) for switch in self.counts.switches.active(self.clock())],
            "reach": self.keeper.reach,
            "breakers": self._breakers(),
            "calls_in_flight": len(self.counts.in_flight),
            "queues": self._queues(),
            "max_in_flight": self.counts.max_in_flight,
            "runs_live": self.counts.ledger.live,
            "agents": self._agents(),
            "in_trouble": self._in_trouble(),
            "log_dropped": {kind: lines for kind, lines in self.log.dropped.items() if lines},
            "problems": [text for text in (self.keeper.problem, self.log.problem) if text],
            "listen": data_plane,
            "admin_listen": admin_plane,
            "agent_id": self.settings.agent_id,
        }

    def policy(self) -> answers.Policy:
        """The policy in force, and what is wrong with the one on disk."""
        snapshot = self.policies.snapshot
        return {
            "version": snapshot.version,
            "mode": self._mode(),
            "warnings": list(snapshot.warnings),
            "overrides": list(snapshot.overrides),
            "rejected": list(self.policies.problems),
            "tools": list(snapshot.tools()),
            "agents": list(snapshot.agents()),
            "upstreams": [upstream_view(upstream) for upstream in snapshot.upstreams.values()],
        }

    def switches(self) -> answers.Switches:
        """All that are on, from every source."""
        active = self.counts.switches.active(self.clock())
        return {"kill_switches": [switch_view(switch) for switch in active], "reach": self.keeper.reach}

    def blast_radius(self, scope: str, *, cancel_in_flight: bool) -> answers.BlastRadius:
        """What a switch would stop just now. Raises ValueError where `scope` is none."""
        return foreseen(scope, self.counts, self.clock(), cancel_in_flight=cancel_in_flight)

    def trial(self) -> answers.Trial:
        """How the candidate fares."""
        return rollout_view(self.rollout, self.policies.snapshot, self.policies.candidate_problems, self.clock())

    def runs(self, agent: str | None, limit: int) -> answers.Runs:
        """The latest started first."""
        ledger, now = self.counts.ledger, self.clock()
        wanted = (run for run in ledger.runs() if agent is None or run.key.agent == agent)
        return {"runs": [self._run_view(run, now) for run in islice(wanted, limit)], "live": ledger.live}

    def run(self, key: RunKey) -> answers.Run | None:
        now = self.clock()
        run = self._find(key, now)
        return None if run is None else self._run_view(run, now)

    def calls(self, wanted: Wanted, limit: int) -> answers.Calls:
        """The latest ended first."""
        return {"calls": cast("list[answers.Call]", self.recent.calls(limit, wanted))}

    def call(self, call_id: str) -> answers.CallStory | None:
        """Its whole story."""
        return cast("answers.CallStory | None", self.recent.call(call_id))

    def follow(self, wanted: Wanted, wake: Callable[[], None], after: str | None) -> FollowedCalls:
        """Those that end from now on, or ended behind the call `after`. `wake` is called when there is one to take."""
        return self.recent.follow(wanted, wake, after)

    def upstreams(self) -> answers.Upstreams:
        """Those that are named, with their breakers, and the connections of those in use."""
        breakers, now = self.counts.breakers, self.clock().mono
        in_use = {str(view.pop("upstream")): view for view in self.connections()}
        told = [
            {**upstream_view(plan), "breaker": breaker_view(breakers, plan.name, now), **in_use.get(plan.name, {})}
            for plan in self.named_upstreams()
        ]
        return {"upstreams": cast("list[answers.UpstreamInUse]", told)}

    def named_upstreams(self) -> Iterable[UpstreamPlan]:
        """By the policy, or by a candidate on trial: what that leaves as it is has the same name, and stands once."""
        candidate = self.rollout.candidate
        snapshots = [self.policies.snapshot, *([candidate.snapshot] if candidate else [])]
        return {plan.name: plan for snapshot in snapshots for plan in snapshot.upstreams.values()}.values()

    def explain(self, agent: str, tool: str, arguments: object, run: str | None) -> answers.Explained:
        """What would become of such a call now."""
        snapshot = self.rollout.snapshot_of(RunKey(agent, run or ""))
        plan = snapshot.plan(agent, tool)
        now = self.clock()
        explanation = explain(agent, tool, arguments, run or "", plan, self.counts, now)
        of_agent = agent_view(agent, snapshot, self.counts.ledger.agents, now)
        return explanation_view(explanation, snapshot, {"run": self.run(RunKey(agent, run or "")), "agent": of_agent})

    def _agents(self) -> list[answers.AgentUse]:
        """Those that have used anything lately."""
        agents, now = self.counts.ledger.agents, self.clock()
        return [agent_view(agent, self.policies.snapshot, agents, now) for agent in agents.names()[:MOST_AGENTS]]

    def _in_trouble(self) -> list[answers.Trouble]:
        """Agents whose calls go wrong, the worst first, and whether a kill switch holds them already."""
        now, limits = self.clock(), self.policies.snapshot.limits
        held = {str(switch.scope) for switch in self.counts.switches.active(now)}
        found = self.recent.in_trouble(now, lambda agent: limits(agent).max_spend)
        told = [{**one, "stopped": f"agent:{one['agent_id']}" in held} for one in found]
        return cast("list[answers.Trouble]", told)

    def _candidate(self) -> answers.CanaryShare | None:
        """The second policy that runs live under, or are compared with."""
        candidate = self.rollout.candidate
        percent = self.policies.snapshot.rollout.canary_percent
        return None if candidate is None else {"version": candidate.snapshot.version, "canary_percent": percent}

    def _breakers(self) -> list[answers.FailingBreaker]:
        """Upstreams whose breaker is not closed."""
        breakers, now = self.counts.breakers, self.clock().mono
        return [{"upstream": name, **breaker_view(breakers, name, now)} for name in breakers.failing()]

    def _queues(self) -> list[answers.Queue]:
        """Tools whose calls wait for their turn, the longest queues first; those that are paused behind them."""
        pacers = self.counts.pacers
        waiting, paused = pacers.waiting(), pacers.paused(self.clock().mono)
        tools = sorted({*waiting, *paused}, key=lambda tool: (-waiting.get(tool, 0), tool))
        return [
            {"tool": tool, "waiting": waiting.get(tool, 0), "paused_seconds": round(paused.get(tool, 0.0), 1)}
            for tool in tools[:MOST_QUEUES]
        ]

    def _find(self, key: RunKey, now: Moment) -> Run | None:
        return self.counts.ledger.find(key, self.rollout.budgets_of(key), now)

    def _run_view(self, run: Run, now: Moment) -> answers.Run:
        budgets = self.rollout.budgets_of(run.key)
        return run_view(run, budgets, self.counts.ledger.remaining(run.key, budgets, now), now)

    def _mode(self) -> answers.Mode:
        return "report" if self.policies.snapshot.report else "enforce"

    def _uptime(self) -> float:
        return self.clock().mono - self.started.mono
