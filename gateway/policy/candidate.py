"""A candidate laid over the live policy: whole sections take the place of the live ones, and who an agent is stays. Pure."""

from collections.abc import Iterator

from gateway.policy.document.problems import Findings, Path, dotted
from gateway.policy.schema.section import Section, changed, written
from gateway.policy.schema.sections import Agent, Policy
from gateway.policy.snapshot import RolloutPlan

_MOST_CHANGES = 20
_ALL = 100


def promoted(live: Policy, candidate: Policy, findings: Findings) -> Policy:
    """The policy that the candidate's runs live under: what promoting it would make of policy.yaml."""
    sections = dict(written(candidate))
    if "runs" in sections:
        trace = live.runs.identify_by_trace
        sections["runs"] = changed(candidate.runs, identify_by_trace=trace)
    if "agents" in sections:
        sections["agents"] = _with_tokens(live, candidate, findings)
    return changed(live, **sections)


def _with_tokens(live: Policy, candidate: Policy, findings: Findings) -> dict[str, Agent]:
    """The candidate's limits of the live policy's agents. None may be left out: it would be without limits, by oversight or not."""
    for name in candidate.agents:
        if name not in live.agents:
            findings.add(("agents", name), "policy.yaml has no such agent: who calls is decided there")
    for name in live.agents:
        if name not in candidate.agents and not findings.doubts(("agents", name)):
            findings.add(
                ("agents", name), "missing: the section replaces policy.yaml's whole, so name it here ({} is no limits)"
            )
    return {
        name: changed(agent, token=live.agents[name].token)
        for name, agent in candidate.agents.items()
        if name in live.agents
    }


def changes(live: Policy, other: Policy) -> tuple[str, ...]:
    """The keys in which the two differ, without their values: at most 20, then `… and N more`."""
    found = [dotted(path) for path in _differing(live, other, ())]
    more = len(found) - _MOST_CHANGES
    return (*found[:_MOST_CHANGES], f"… and {more} more") if more > 0 else tuple(found)


def _differing(live: object, other: object, path: Path) -> Iterator[Path]:
    if live == other:
        return
    if isinstance(live, Section) and isinstance(other, Section):
        for name in live.ANNOTATIONS:
            yield from _differing(getattr(live, name), getattr(other, name), (*path, name))
    elif isinstance(live, dict) and isinstance(other, dict):
        for key in sorted({*live, *other}):
            yield from _differing(live.get(key), other.get(key), (*path, key))
    else:
        yield path


def candidate_warnings(rollout: RolloutPlan, differing: tuple[str, ...]) -> list[str]:
    """What is worth a second look beside the warnings that any policy has."""
    found = []
    if not differing:
        found.append("candidate.yaml changes nothing")
    if rollout.canary_percent == _ALL:
        found.append(
            "rollout.canary_percent is 100: no run is left to compare the candidate's with, so nothing rolls it back by itself"
        )
    return found
