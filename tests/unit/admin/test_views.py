"""What operators read: reach in words, and no header value anywhere."""

import json
from dataclasses import replace

import pytest

from gateway.admin.views import blast_radius, explanation_view, instant
from gateway.guards.explain import explain
from gateway.model import Effect
from gateway.state.counts import Counts
from gateway.state.switches import parse_scope
from tests.unit.made_up import NOON, UPSTREAM, a_plan, a_switch
from tests.unit.policy.policy_texts import compiled

SNAPSHOT = compiled("tools: {}")


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("all", "Stops every call of every agent."),
        (
            "writes",
            "Stops every call of a tool that writes, of every agent (undeclared effects count as writes); reads go on.",
        ),
        ("tool:shell.run", "Stops every call of the tool shell.run, of every agent."),
        ("tool:shell.*", "Stops every call of every tool below shell, of every agent."),
        ("tool:*", "Stops every call of every tool, of every agent."),
        ("agent:scout", "Stops every call of the agent scout; other agents go on."),
        ("run:r1", "Stops every call of runs named r1, of any agent; other runs go on."),
        ("run:scout/r1", "Stops every call of the run r1 of the agent scout; other runs go on."),
    ],
)
def test_each_scope_says_what_it_stops_and_what_goes_on(scope: str, words: str) -> None:
    assert blast_radius(parse_scope(scope), cancel_in_flight=False).startswith(words)


def test_calls_at_a_tool_end_only_where_that_was_asked_for() -> None:
    assert blast_radius(parse_scope("all"), cancel_in_flight=False).endswith(
        "calls already at a tool run to their end."
    )
    assert "are cut, though the tool may have run" in blast_radius(parse_scope("all"), cancel_in_flight=True)


def test_an_instant_reads_as_in_the_log() -> None:
    assert instant(1.25) == "1970-01-01T00:00:01.250Z"


def test_an_explanation_names_the_guard_that_decides_and_what_the_others_think() -> None:
    counts = Counts(10)
    counts.switches.put(a_switch("all", "drill"))
    plan = a_plan(allowed=False, rule="no allowlist entry", effect=Effect.WRITE)
    view = explanation_view(explain("scout", "x", None, "r1", plan, counts, NOON), SNAPSHOT)
    assert (view["decision"], view["reason"], view["decided_by"]) == ("deny", "kill_switch", "kill_switch")
    guards = view["guards"]
    assert isinstance(guards, list)
    assert [guard["guard"] for guard in guards if guard["objects"]] == ["kill_switch", "allowlist"]


def test_report_mode_lets_pass_and_names_what_would_refuse() -> None:
    plan = a_plan(allowed=False, rule="no allowlist entry", report=True)
    view = explanation_view(explain("scout", "x", None, "r1", plan, Counts(10), NOON), SNAPSHOT)
    assert (view["decision"], view["reason"], view["decided_by"]) == ("report", "tool_not_allowed", "allowlist")


def test_explaining_charges_nothing() -> None:
    counts = Counts(10)
    explain("scout", "search.read", None, "r1", a_plan(), counts, NOON)
    assert list(counts.ledger.runs()) == []


def test_injected_headers_are_told_by_name_only() -> None:
    plan = a_plan(upstream=replace(UPSTREAM, headers=(("Authorization", "Bearer hunter2"),)))
    text = json.dumps(explanation_view(explain("a", "t", None, "", plan, Counts(10), NOON), SNAPSHOT))
    assert "hunter2" not in text
    assert "Authorization" in text
