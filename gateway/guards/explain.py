"""Which rule decides a call, and why: every guard asked in order, nothing charged. For operators, before or after the fact."""

from dataclasses import replace
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import GUARDS, judge
from gateway.model import Door, Moment, RunKey, Target, ToolCall
from gateway.policy.plans.tools import FETCHED
from gateway.policy.snapshot import Plan
from gateway.policy.targets import parse_target, parse_tunnel
from gateway.state.counts import Counts


class Judgement(NamedTuple):
    """One guard's word."""

    guard: str
    denial: Denial | None


class Explanation(NamedTuple):
    """What would become of the call now. `judgements` goes on behind the objection that decides, so that the next one shows too."""

    plan: Plan
    judgements: tuple[Judgement, ...]
    denial: Denial | None
    report_reason: Reason | None
    destination: Target | None
    """Where a call of a built-in tool would go, as far as was said. The address behind it is judged when it is dialled, not here."""


def explain(agent: str, tool: str, arguments: object, run: str, plan: Plan, counts: Counts, now: Moment) -> Explanation:
    """`run` is "" for an anonymous call; with `arguments` None the tool's schema is not asked.

    A built-in tool's `{"url": …}` says where it would go (of http.connect `host:port`, too). Raises ValueError where it is not taken.
    """
    destination = _destination(tool, arguments) if plan.builtin else None
    if arguments is None or (destination is not None and tool not in FETCHED):
        plan = replace(plan, arguments=None)
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
        arguments=arguments,
        destination=destination,
    )
    judgements = tuple(
        Judgement(guard.__module__.rpartition(".")[2], guard(call, plan, counts, now)) for guard in GUARDS
    )
    denial, report_reason = judge(call, plan, counts, now)
    return Explanation(plan, judgements, denial, report_reason, destination)


def _destination(tool: str, arguments: object) -> Target | None:
    url = arguments.get("url") if isinstance(arguments, dict) else None
    if not isinstance(url, str):
        return None
    return parse_tunnel(url) if tool == "http.connect" and "://" not in url else parse_target(url)
