"""Which rule decides a call, and why: every guard asked in order, nothing charged. For operators, before or after the fact."""

from dataclasses import replace
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.guards import GUARDS, judge
from gateway.model import Door, Moment, RunKey, ToolCall
from gateway.policy.snapshot import Plan
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


def explain(agent: str, tool: str, arguments: object, run: str, plan: Plan, counts: Counts, now: Moment) -> Explanation:
    """`run` is "" for an anonymous call; with `arguments` None the tool's schema is not asked."""
    if arguments is None:
        plan = replace(plan, arguments=None)
    call = ToolCall(
        id="",
        door=Door.FETCH if plan.builtin else Door.TOOL_PATH,
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
    )
    judgements = tuple(
        Judgement(guard.__module__.rpartition(".")[2], guard(call, plan, counts, now)) for guard in GUARDS
    )
    denial, report_reason = judge(call, plan, counts, now)
    return Explanation(plan, judgements, denial, report_reason)
