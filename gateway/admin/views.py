"""How switches, runs, plans and upstreams look in the admin plane's JSON. Pure; no header, secret or argument is ever part of it."""

from datetime import UTC, datetime

from gateway.admin import answers
from gateway.bounds import AgentBounds, Pace
from gateway.denial import Reason
from gateway.guards.explain import Explanation, Judgement
from gateway.model import Budgets, Decision, Event, KillSwitch, Moment, Remaining, Scope
from gateway.pipeline.rollout import Rollout
from gateway.policy.snapshot import Plan, Rule, Snapshot, UpstreamPlan
from gateway.policy.targets import TUNNEL, written
from gateway.state.agents import Agents
from gateway.state.breaker import Breakers
from gateway.state.pacing import is_paced
from gateway.state.rollout import WINDOW, Figures
from gateway.state.run import Run, stop_reason_of, usd_of

View = dict[str, object]


def blast_radius(scope: Scope, *, cancel_in_flight: bool) -> str:
    """What a switch stops, in words an operator can read before it hurts."""
    open_calls = "are cut, though the tool may have run" if cancel_in_flight else "run to their end"
    return f"Stops {_reach(scope)}. Calls that wait (in a queue, or for a retry) end now; calls already at a tool {open_calls}."


def _reach(scope: Scope) -> str:
    kind, value = scope
    if kind == "all":
        return "every call of every agent"
    if kind == "writes":
        return "every call of a tool that writes, of every agent (undeclared effects count as writes); reads go on"
    if kind == "agent":
        return f"every call of the agent {value}; other agents go on"
    if kind == "run":
        agent, slash, run = value.rpartition("/")
        whose = f"the run {run} of the agent {agent}" if slash else f"runs named {run}, of any agent"
        return f"every call of {whose}; other runs go on"
    tools = (
        "every tool"
        if value == "*"
        else f"every tool below {value[:-2]}"
        if value.endswith(".*")
        else f"the tool {value}"
    )
    return f"every call of {tools}, of every agent"


def instant(unix: float) -> str:
    """RFC 3339 UTC with milliseconds, as in the log."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def switch_view(switch: KillSwitch) -> answers.Switch:
    """One kill switch."""
    return {
        "scope": str(switch.scope),
        "reason": switch.reason,
        "who": switch.who,
        "since": instant(switch.since),
        "until": None if switch.until is None else instant(switch.until),
        "cancel_in_flight": switch.cancel_in_flight,
        "source": switch.source,
    }


def switch_event(action: str, switch: KillSwitch, now: Moment) -> Event:
    """`action` is `on` or `off`. Every flip is a log event."""
    return Event("kill_switch", now, {"action": action, **switch_view(switch)})


def run_view(run: Run, budgets: Budgets, remaining: Remaining, now: Moment) -> answers.Run:
    """One run, or (`run_id` null) an agent's anonymous window."""
    usd = usd_of(run, budgets)
    limits: answers.RunLimits = {
        "tool_calls": budgets.max_tool_calls,
        "steps": budgets.max_steps,
        "seconds": budgets.max_seconds,
    }
    left: answers.RunRemaining = {
        "tool_calls": remaining.tool_calls,
        "steps": remaining.steps,
        "seconds": remaining.seconds,
    }
    if usd is not None:
        limits["usd"], left["usd"] = usd.limit, usd.remaining
    return {
        "agent_id": run.key.agent,
        "run_id": run.key.id or None,
        "started": instant(run.started.wall),
        "live": run.ended is None,
        "stop_reason": stop_reason_of(run, budgets, now),
        "used": {
            "tool_calls": run.tool_calls,
            "steps": run.steps,
            "seconds": round(run.elapsed(now), 3),
            "usd": run.spend / 1_000_000,
        },
        "limits": limits,
        "remaining": left,
    }


def agent_view(agent: str, policy: Snapshot, agents: Agents, now: Moment) -> answers.AgentUse:
    """What one agent has used over all its runs, and where it has a limit, of what."""
    limits, today = policy.limits(agent), agents.today(agent, now)
    by_tool = ((tool, used, policy.plan(agent, tool).limits.max_calls) for tool, used in today.calls.made())
    spend_limit = None if limits.max_spend is None else limits.max_spend / 1_000_000
    return {
        "agent_id": agent,
        "actions_this_hour": {"used": agents.actions(agent, now).used, "limit": limits.max_actions_per_hour},
        "runs_started_this_hour": {"used": agents.runs(agent, now).used, "limit": limits.max_runs_started_per_hour},
        "usd_today": {"used": today.spend / 1_000_000, "limit": spend_limit},
        "calls_today": {tool: {"used": used, "limit": limit} for tool, used, limit in by_tool if limit is not None},
    }


def upstream_view(upstream: UpstreamPlan) -> answers.Upstream:
    """Without its headers: they hold credentials."""
    return {
        "name": upstream.name,
        "url": f"{upstream.origin}{upstream.base_path}",
        "max_connections": upstream.max_connections,
        "connect_timeout_ms": round(upstream.connect_timeout * 1000),
        "keepalive_ms": round(upstream.keepalive * 1000),
        "circuit_breaker": {
            "failures": upstream.breaker.failures,
            "open_ms": round(upstream.breaker.open_for * 1000),
        },
        "injected_headers": [name for name, _ in upstream.headers],
    }


def breaker_view(breakers: Breakers, upstream: str, now: float) -> answers.Breaker:
    """Is the upstream being left alone, and until when?"""
    wait = breakers.opens_in(upstream, now)
    return {
        "state": breakers.state(upstream, now),
        "next_attempt_in_ms": None if wait is None else round(wait * 1000),
    }


def plan_view(plan: Plan) -> answers.Plan:
    """How a call of this tool by this agent is made."""
    return {
        "agent": plan.agent,
        "tool": plan.tool,
        "allowed": plan.allowed,
        "rule": plan.rule,
        "effect": plan.effect,
        "mode": "report" if plan.report else "enforce",
        "upstream": upstream_view(plan.upstream) if plan.upstream else None,
        "builtin": plan.builtin,
        "missing": plan.missing,
        "methods": None if plan.methods is None else sorted(plan.methods),
        "path": plan.path + ("/{rest*}" if plan.takes_rest else ""),
        "timeout_ms": round(plan.timeout * 1000),
        "deadline_ms": round(plan.deadline * 1000),
        "retries": {
            "max": plan.retries.max,
            "backoff_ms": [round(wait * 1000) for wait in plan.retries.backoff],
            "on_status": sorted(plan.retries.on_status),
            "after_it_was_sent": plan.repeatable,
            "budget_percent": plan.retries.budget_percent,
        },
        "budgets": {
            "max_steps": plan.budgets.max_steps,
            "max_tool_calls": plan.budgets.max_tool_calls,
            "max_seconds": plan.budgets.max_seconds,
            "max_usd": None if plan.budgets.max_spend is None else plan.budgets.max_spend / 1_000_000,
            "max_calls": plan.max_calls,
            "max_identical_calls": plan.max_identical_calls or None,
        },
        "agent_limits": agent_limits_view(plan.limits),
        "cost_usd": plan.cost / 1_000_000,
        "pace": pace_view(plan.pace),
        "max_request_bytes": plan.max_request_bytes,
        "max_response_bytes": plan.max_response_bytes,
        "arguments_schema": plan.arguments is not None,
    }


def agent_limits_view(limits: AgentBounds) -> answers.AgentLimits:
    """What all runs of an agent together may use."""
    return {
        "max_actions_per_hour": limits.max_actions_per_hour,
        "max_spend_usd_per_day": None if limits.max_spend is None else limits.max_spend / 1_000_000,
        "max_calls_per_tool": limits.max_calls,
        "max_started_per_hour": limits.max_runs_started_per_hour,
    }


def pace_view(pace: Pace) -> answers.Pacing:
    """How the tool's attempts line up; all null where they need not."""
    rate, paced = pace.rate, is_paced(pace)
    return {
        "per_second": None if rate is None else rate.per_second,
        "burst": None if rate is None else rate.burst,
        "max_concurrency": pace.max_concurrency,
        "max_waiting": pace.max_waiting if paced else None,
    }


def explanation_view(
    explanation: Explanation, snapshot: Snapshot, used: answers.UsedSoFar | None = None
) -> answers.Explained:
    """What `explain` answers, online and (without what was `used`) off."""
    denial = explanation.denial
    reason = denial.reason if denial else explanation.report_reason
    rule = _rule_of(reason, explanation, snapshot)
    first = next((j.guard for j in explanation.judgements if j.denial is not None), None)
    decided = next((j.guard for j in explanation.judgements if j.denial is not None and j.denial == denial), None)
    return {
        "decision": Decision.DENY if denial else Decision.REPORT if explanation.report_reason else Decision.ALLOW,
        "reason": reason,
        "detail": denial.detail if denial else None,
        "status": denial.status if denial else None,
        "stop_reason": denial.stop_reason if denial else None,
        "decided_by": decided or first,
        "rule": rule.text or None,
        "key": list(rule.key),
        "guards": [_judged_view(judgement, explanation, snapshot) for judgement in explanation.judgements],
        "used": used,
        "plan": plan_view(explanation.plan),
        "destination": None
        if explanation.destination is None
        else written(explanation.destination._replace(scheme=TUNNEL)),
        "policy": snapshot.version,
        "counts_known": used is not None,
    }


def _judged_view(judgement: Judgement, explanation: Explanation, snapshot: Snapshot) -> answers.Judged:
    denial = judgement.denial
    return {
        "guard": judgement.guard,
        "objects": denial is not None,
        "detail": denial.detail if denial else None,
        "reason": denial.reason if denial else None,
        "rule": (_rule_of(denial.reason, explanation, snapshot).text or None) if denial else None,
        "unasked": None if denial else judgement.unasked,
    }


def _rule_of(reason: Reason | None, explanation: Explanation, snapshot: Snapshot) -> Rule:
    """Of an allowed call the list entry that allows it."""
    switch = explanation.switch
    if reason in (Reason.KILL_SWITCH, Reason.AGENT_DISABLED):
        return Rule("" if switch is None else f"kill switch {switch.scope} ({switch.source.value}, by {switch.who})")
    return snapshot.rule(reason or Reason.TOOL_NOT_ALLOWED, explanation.plan)


def rollout_view(rollout: Rollout, live: Snapshot, problems: tuple[str, ...], now: Moment) -> answers.Trial:
    """The trial of candidate.yaml: `state` is none, refused, shadow (no run lives under it), canary or rolled_back."""
    plan, candidate, back, sides = live.rollout, rollout.candidate, rollout.ignored, rollout.sides(now)
    on_trial: answers.TrialState = "canary" if plan.canary_percent else "shadow"
    return {
        "state": on_trial if candidate else "rolled_back" if back else "refused" if problems else "none",
        "canary_percent": plan.canary_percent,
        "rollback_on_error_rate": plan.rollback_on_error_rate,
        "min_calls": plan.min_calls,
        "count_denials": plan.count_denials,
        "window_seconds": WINDOW,
        "live": {"version": live.version, **figures_view(sides.live)},
        "candidate": None
        if candidate is None
        else {
            "version": candidate.snapshot.version,
            "since": None if rollout.since is None else instant(rollout.since.wall),
            **figures_view(sides.candidate),
            "changes": list(candidate.changes),
            "warnings": list(candidate.warnings),
        },
        "differences": dict(rollout.differences.most_common()) if candidate else {},
        "rolled_back": None
        if back is None
        else {
            "version": back.version,
            "at": instant(back.at),
            "reason": back.reason,
            "who": back.who,
            "candidate": figures_view(back.candidate),
            "live": figures_view(back.live),
        },
        "problems": list(problems),
    }


def figures_view(figures: Figures) -> answers.SideFigures:
    """One side within the window."""
    return {"calls": figures.calls, "errors": figures.errors, "error_share": round(figures.error_share, 4)}
