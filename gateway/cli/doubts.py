"""What an operator in a hurry would want to be told as well: a stop that stops nothing, and who is in trouble."""

from collections import Counter
from collections.abc import Iterator, Mapping
from shlex import quote

from gateway.cli.client import Unreachable, ask, query
from gateway.cli.output import count, shown

_LATEST = 200
_TOLD = 8
_AGENTS = 3


def doubt_of(scope: str) -> str | None:
    """Why a kill switch of this scope may stop nothing: a name that is known to nobody."""
    kind, _, name = scope.partition(":")
    if kind == "run":
        runs = _asked("/v1/blast-radius?" + query({"scope": scope})).get("runs_in_progress")
        return f"no run of the id {name} is in progress just now." if runs == 0 else None
    if kind not in ("agent", "tool") or name.endswith("*"):
        return None
    policy = _asked("/v1/policy")
    if not policy:
        return None
    found = policy.get(f"{kind}s")
    names = [str(known) for known in found] if isinstance(found, list) else []
    if name in names or (kind, name) == ("agent", "default"):
        return None
    from difflib import get_close_matches

    near = get_close_matches(name, names, 1)
    meant = f" Did you mean {kind}:{near[0]}?" if near else ""
    return f"the policy names no {kind} {name}, so it may stop nothing.{meant}"


def failure_lines() -> Iterator[str]:
    """The latest calls that did not go well, the most frequent cases first. `tail` shows each of them."""
    found = _asked("/v1/calls?" + query({"reason": "!ok,dedup", "limit": str(_LATEST)})).get("calls")
    calls = [call for call in found if isinstance(call, dict)] if isinstance(found, list) else []
    if not calls:
        yield "not ok       no call lately"
        return
    cases = Counter((str(call.get("reason")), str(call.get("tool")), str(call.get("agent_id"))) for call in calls)
    yield f"not ok       {count(len(calls), 'call')} lately (see each: tool-gateway tail --reason '!ok' -n {_LATEST})"
    for (reason, tool, agent), times in cases.most_common(_TOLD):
        yield f"  {times:>4} {reason:<22} {shown(tool)}, agent {shown(agent)}"
    if len(cases) > _TOLD:
        yield f"       and {len(cases) - _TOLD} other cases"


def trouble_lines(found: object) -> Iterator[str]:
    """`found` is `in_trouble` of the status: who it is, why, and the commands that show it, stop it and let it go on."""
    agents = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not agents:
        yield "in trouble   no agent"
    for one in agents[:_AGENTS]:
        yield from _agent_lines(one)
    if len(agents) > _AGENTS:
        yield f"             and {len(agents) - _AGENTS} more agents: look at what they have in common, their tool or its upstream"


def _agent_lines(one: Mapping[str, object]) -> Iterator[str]:
    agent, tool, fails = shown(str(one["agent_id"])), shown(str(one["tool"])), one["kind"] == "fails"
    yield f"in trouble   {agent}: {shown(str(one['says']))}"
    if one["why"]:
        yield f"  why        {shown(str(one['why']))}"
    failed = " --reason '!ok'" if fails else ""
    yield f"  see each   tool-gateway tail --agent {quote(agent)}{failed}"
    if one["stopped"]:
        yield f"  stopped; restore with: tool-gateway restore {quote(f'agent:{agent}')}"
    else:
        reason = f"{tool}: {one['reason']}" if fails else f"spends too fast on {tool}"
        yield f"  stop it    tool-gateway kill {quote(f'agent:{agent}')} --reason {quote(reason)}"


def _asked(path: str) -> dict[str, object]:
    """The stop is what counts, and it is on: whatever goes wrong with these questions is not told."""
    try:
        answer = ask("GET", path)
    except Unreachable:
        return {}
    return answer.body if answer.status < 300 else {}
