"""Which rule decides a call, and why: every guard asked in order, nothing charged. For operators, before or after the fact."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import GUARDS, Guard, arguments, judge, loop_detected
from gateway.model import Door, KillSwitch, Moment, RunKey, Target, ToolCall
from gateway.policy.plans.tools import FETCHED
from gateway.policy.snapshot import Plan
from gateway.policy.targets import parse_target, parse_tunnel
from gateway.state.counts import Counts
from gateway.state.run import is_window


class Judgement(NamedTuple):
    """One guard's word."""

    guard: str
    denial: Denial | None
    unasked: str | None
    """Why it cannot tell, of a call that is only imagined; None where it can."""


class Explanation(NamedTuple):
    """What would become of the call now. `judgements` goes on behind the objection that decides, so that the next one shows too."""

    plan: Plan
    judgements: tuple[Judgement, ...]
    denial: Denial | None
    report_reason: Reason | None
    destination: Target | None
    """Where a call of a built-in tool would go, as far as was said. The address behind it is judged when it is dialled, not here."""
    switch: KillSwitch | None = None
    """The one that stops it."""


def explain(agent: str, tool: str, given: object, run: str, plan: Plan, counts: Counts, now: Moment) -> Explanation:
    """`run` is "" for an anonymous call; with `given` None, the arguments, the tool's schema is not asked.

    A built-in tool's `{"url": …}` says where it would go (of http.connect `host:port`, too). Raises ValueError where it is not taken.
    """
    destination = _destination(tool, given) if plan.builtin else None
    without_schema = given is None or (destination is not None and tool not in FETCHED)
    judged = replace(plan, arguments=None) if without_schema else plan
    call = ToolCall(
        id="",
        door=Door.TOOL_PATH if not plan.builtin else Door.FETCH if tool in FETCHED else Door.EGRESS,
        agent=agent,
        run=RunKey(agent, run),
        tool=tool,
        method=min(plan.methods) if plan.methods else "POST",
        rest="",
        query="",
        target=plan.path,
        headers=(),
        body=b"",
        started=now,
        arguments=given,
        destination=destination,
    )
    unasked = _unasked(call, plan, without_schema=without_schema)
    judgements = tuple(
        Judgement(_name_of(guard), guard(call, judged, counts, now), unasked.get(_name_of(guard))) for guard in GUARDS
    )
    denial, report_reason = judge(call, judged, counts, now)
    switch = counts.switches.stops(agent, run, tool, plan.effect, now)
    return Explanation(plan, judgements, denial, report_reason, destination, switch)


def _unasked(call: ToolCall, plan: Plan, *, without_schema: bool) -> Mapping[str, str]:
    """Guards that need to see what the call does not hold yet."""
    told: dict[str, str] = {}
    if loop_detected.can_object(plan) and not is_window(call.run):
        told["loop_detected"] = "only a call that is made can be the same as an earlier one"
    if arguments.can_object(plan) and without_schema:
        told["arguments"] = "no arguments were given"
    if plan.builtin and call.destination is None:
        told["egress"] = "no target was given"
    if plan.allowed:
        told["steps"] = "which step it announces (Agent-Step) was not given"
    return told


def _name_of(guard: Guard) -> str:
    return guard.__module__.rpartition(".")[2]


def _destination(tool: str, given: object) -> Target | None:
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str):
        return None
    return parse_tunnel(url) if tool == "http.connect" and "://" not in url else parse_target(url)
