"""Which calls an operator asks for: ?tool= &agent= &run= &reason=, all of which must fit. Pure."""

from collections.abc import Callable, Mapping

from gateway.admin.problems import Refused
from gateway.denial import Reason
from gateway.model import Record
from gateway.policy.plans.patterns import Patterns, is_pattern

Wanted = Callable[[tuple[object, ...]], bool]
"""Asked with a Record's fields in their order."""

FILTERS = ("tool", "agent", "run", "reason")
_TOOL, _AGENT, _RUN, _REASON = (Record._fields.index(name) for name in ("tool", "agent_id", "run_id", "reason"))
_REASONS = tuple(reason.value for reason in Reason)


def wanted_of(query: Mapping[str, str]) -> Wanted:
    """Raises Refused. `tool` is a pattern; `reason` one or more words with commas, or with `!` before them all but those."""
    tools = Patterns.of([_pattern(query["tool"])], value=True) if query.get("tool") else None
    agent, run = query.get("agent") or None, query.get("run") or None
    reasons = _reasons(query["reason"]) if query.get("reason") else None

    def wanted(fields: tuple[object, ...]) -> bool:
        return (
            (reasons is None or fields[_REASON] in reasons)
            and (agent is None or fields[_AGENT] == agent)
            and (run is None or fields[_RUN] == run)
            and (tools is None or tools.find(str(fields[_TOOL])) is not None)
        )

    return wanted


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise Refused(400, "tool: expected a tool's name, a name with .* behind it, or *.")
    return text


def _reasons(text: str) -> frozenset[str]:
    words = frozenset(text.removeprefix("!").split(","))
    for word in words.difference(_REASONS):
        from difflib import get_close_matches  # for mistakes alone

        near = get_close_matches(word, _REASONS, 1)
        meant = f"did you mean {near[0]}?" if near else "GET /openapi.json and docs/denials.md list them."
        raise Refused(400, f"reason: there is no such reason; {meant}")
    return frozenset(_REASONS) - words if text.startswith("!") else words
