"""Did an operator stop this call? Asked before anything else, and softened by nothing."""

from gateway.denial import Denial, Reason
from gateway.model import Effect, KillSwitch, Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.inflight import Objection
from gateway.state.switches import Switches

_STOPPED = {
    "all": "An operator has stopped all calls (kill switch all)",
    "writes": "An operator has stopped all tools that write (kill switch writes)",
    "tool": "An operator has stopped this tool (kill switch {scope})",
    "agent": "An operator has disabled this agent (kill switch {scope})",
    "run": "An operator has stopped this run (kill switch {scope})",
}
_NEXT = {
    "all": "Stop here and report that the task was stopped.",
    "writes": "Go on with tools that only read, or finish with what you have.",
    "tool": "Go on without this tool, or finish with what you have.",
    "agent": "Stop here and report that the task was stopped.",
    "run": "Stop here and report that the task was stopped.",
}


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """A scope that stops all of a run's calls ends the run: all, run and agent carry a stop_reason."""
    switch = counts.switches.stops(call.agent, call.run.id, call.tool, plan.effect, now)
    return None if switch is None else killed(switch)


def killed(switch: KillSwitch) -> Denial:
    """What a call hears of the switch that stops it, with the operator's reason."""
    kind = switch.scope.kind
    what = _STOPPED[kind].format(scope=switch.scope)
    because = f": {switch.reason.rstrip('.')}" if switch.reason else ""
    reason = Reason.AGENT_DISABLED if kind == "agent" else Reason.KILL_SWITCH
    stop_reason = reason.value if kind in ("all", "run", "agent") else None
    return Denial(reason, f"{what}{because}. {_NEXT[kind]}", stop_reason)


def objection(switches: Switches, now: Moment) -> Objection:
    """What the kill switches say now of a call that is in flight."""

    def objects(call: ToolCall, effect: Effect) -> Denial | None:
        switch = switches.stops(call.agent, call.run.id, call.tool, effect, now)
        return None if switch is None else killed(switch)

    return objects
