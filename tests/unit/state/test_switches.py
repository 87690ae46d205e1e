"""Which switch stops which call: by example, and against a matcher that looks at every switch every time."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.model import Effect, KillSwitch, Moment, Scope, Source
from gateway.state.switches import Switches, parse_scope
from tests.unit.made_up import NOON, a_switch, later


def stops(
    switches: Switches, agent: str = "scout", run: str = "r1", tool: str = "a.b.c", effect: Effect = Effect.READ
) -> str | None:
    switch = switches.stops(agent, run, tool, effect, NOON)
    return None if switch is None else str(switch.scope)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("all", Scope("all")),
        ("writes", Scope("writes")),
        ("tool:a", Scope("tool", "a")),
        ("tool:a-b.c_d", Scope("tool", "a-b.c_d")),
        ("tool:a.b.*", Scope("tool", "a.b.*")),
        ("tool:*", Scope("tool", "*")),
        ("agent:billing-agent", Scope("agent", "billing-agent")),
        ("run:task:7.a_b-c", Scope("run", "task:7.a_b-c")),
        ("run:scout/r1", Scope("run", "scout/r1")),
        ("run:" + "x" * 128, Scope("run", "x" * 128)),
    ],
)
def test_a_scope_reads_as_it_is_written(text: str, scope: Scope) -> None:
    assert parse_scope(text) == scope
    assert str(parse_scope(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected all, writes, tool:PATTERN, agent:ID, run:ID or run:AGENT/ID"),
        ("everything", "expected all, writes"),
        ("ALL", "expected all, writes"),
        ("all:", "nothing follows"),
        ("writes:a", "nothing follows"),
        ("tool", "takes a tool name"),
        ("tool:", "takes a tool name"),
        ("tool:a.*.c", "takes a tool name"),
        ("tool:a*", "takes a tool name"),
        ("tool:.a", "takes a tool name"),
        ("tool:a\n", "takes a tool name"),
        ("tool:" + "a" * 129, "takes a tool name"),
        ("agent:", "takes an agent id"),
        ("agent:a b", "takes an agent id"),
        ("agent:a/b", "takes an agent id"),
        ("run:", "takes a run id"),
        ("run:/r1", "takes a run id"),
        ("run:a/", "takes a run id"),
        ("run:a/b/c", "takes a run id"),
        ("run:r 1", "takes a run id"),
        ("run:" + "x" * 129, "takes a run id"),
    ],
)
def test_what_is_no_scope_is_refused_with_the_form_it_should_have(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refusal:
        parse_scope(text)
    assert "\n" not in str(refusal.value)


def test_each_scope_stops_what_it_names_and_nothing_else() -> None:
    assert stops(Switches([a_switch("all")])) == "all"
    writes = Switches([a_switch("writes")])
    assert stops(writes, effect=Effect.READ) is None
    assert stops(writes, effect=Effect.WRITE) == "writes"
    agent = Switches([a_switch("agent:scout")])
    assert stops(agent) == "agent:scout"
    assert stops(agent, agent="other") is None


@pytest.mark.parametrize("pattern", ["a.b.c", "a.b.*", "a.*", "*"])
def test_a_tool_is_met_by_its_name_and_by_every_pattern_above_it(pattern: str) -> None:
    assert stops(Switches([a_switch(f"tool:{pattern}")])) == f"tool:{pattern}"


@pytest.mark.parametrize("pattern", ["a", "a.b", "a.b.c.*", "b.*", "a.b.cc"])
def test_a_tool_is_not_met_by_other_names(pattern: str) -> None:
    assert stops(Switches([a_switch(f"tool:{pattern}")])) is None


def test_a_run_scope_with_an_agent_stops_only_that_agents_run() -> None:
    everyones = Switches([a_switch("run:r1")])
    assert stops(everyones) == stops(everyones, agent="other") == "run:r1"
    one = Switches([a_switch("run:scout/r1")])
    assert stops(one) == "run:scout/r1"
    assert stops(one, agent="other") is None
    assert stops(one, run="r2") is None


def test_no_run_scope_reaches_an_anonymous_call() -> None:
    assert stops(Switches([a_switch("run:r1")]), run="") is None


def test_of_several_the_one_that_ends_the_run_is_named() -> None:
    scopes = ["tool:a.b.c", "writes", "run:scout/r1", "run:r1", "agent:scout", "all"]
    switches = Switches()
    for scope in scopes:
        switches.put(a_switch(scope))
        expected = "run:r1" if scope == "run:r1" else scope
        assert stops(switches, effect=Effect.WRITE) == expected


def test_a_switch_ends_at_its_time() -> None:
    switches = Switches([a_switch("all", until=NOON.wall + 60)])
    assert switches.stops("a", "", "t", Effect.READ, later(59.9)) is not None
    assert switches.active(later(59.9)) != []
    assert switches.holding(Scope("all"), later(59.9)) != []
    assert switches.stops("a", "", "t", Effect.READ, later(60)) is None
    assert switches.active(later(60)) == []
    assert switches.holding(Scope("all"), later(60)) == []
    assert [str(switch.scope) for switch in switches.expire(later(60))] == ["all"]
    assert switches.expire(later(60)) == []


def test_behind_one_that_has_ended_another_still_holds() -> None:
    ended = a_switch("all", source=Source.POLICY, until=NOON.wall - 1)
    assert stops(Switches([ended, a_switch("all", source=Source.FILE)])) == "all"


def test_a_lift_takes_the_runtime_switch_and_names_who_still_holds() -> None:
    switches = Switches(
        [a_switch("writes"), a_switch("writes", source=Source.POLICY), a_switch("all", source=Source.FILE)]
    )
    assert [switch.source for switch in switches.lift(Scope("writes"))] == [Source.RUNTIME]
    assert [switch.source for switch in switches.holding(Scope("writes"), NOON)] == [Source.POLICY]
    assert switches.lift(Scope("writes")) == []
    assert stops(switches) == "all"


def test_a_source_is_replaced_as_a_whole_and_no_other() -> None:
    switches = Switches([a_switch("writes")])
    one, two = a_switch("tool:x", source=Source.FILE), a_switch("tool:y", source=Source.FILE)
    assert switches.replace(Source.FILE, [one, two], NOON) == ([one, two], [])
    assert switches.replace(Source.FILE, [two], NOON) == ([], [one])
    assert switches.replace(Source.FILE, [], NOON) == ([], [two])
    assert [str(switch.scope) for switch in switches.active(NOON)] == ["writes"]


def test_reading_the_same_file_again_changes_nothing_not_even_since_when() -> None:
    switches = Switches()
    old = a_switch("all", "leak", source=Source.FILE, since=1.0)
    switches.replace(Source.FILE, [old], NOON)
    assert switches.replace(Source.FILE, [a_switch("all", "leak", source=Source.FILE, since=2.0)], NOON) == ([], [])
    assert switches.active(NOON) == [old]
    new = a_switch("all", "another reason", source=Source.FILE, since=3.0)
    assert switches.replace(Source.FILE, [new], NOON) == ([new], [old])
    assert switches.active(NOON) == [new]


def test_a_switch_that_another_gateway_put_again_is_lifted_as_it_was_put_last() -> None:
    switches = Switches()
    first, again = a_switch("all", "leak", since=1.0), a_switch("all", "leak", since=2.0)
    switches.replace(Source.RUNTIME, [first], NOON)
    assert switches.replace(Source.RUNTIME, [again], NOON) == ([], [])
    assert switches.lift(again.scope) == [again]


def test_a_file_cannot_bring_back_what_its_time_has_ended() -> None:
    switches = Switches()
    over = a_switch("all", source=Source.FILE, until=NOON.wall)
    assert switches.replace(Source.FILE, [over], NOON) == ([], [])


def test_putting_a_scope_again_replaces_it() -> None:
    switches = Switches([a_switch("all", "first")])
    switches.put(a_switch("all", "second"))
    assert [switch.reason for switch in switches.active(NOON)] == ["second"]


AGENTS, RUNS, TOOLS = ["a", "b"], ["", "1", "2"], ["x", "x.y", "x.y.z", "x.yy", "y"]
SCOPES = st.sampled_from(
    [
        "all",
        "writes",
        "agent:a",
        "agent:b",
        "run:1",
        "run:a/1",
        "run:b/2",
        "tool:*",
        "tool:x",
        "tool:x.*",
        "tool:x.y",
        "tool:x.y.*",
        "tool:x.y.z",
        "tool:y.*",
    ]
)
MADE = st.builds(
    a_switch,
    SCOPES,
    source=st.sampled_from(Source),
    until=st.sampled_from([None, NOON.wall - 1, NOON.wall, NOON.wall + 1]),
)


def plainly_stops(switch: KillSwitch, agent: str, run: str, tool: str, effect: Effect, now: Moment) -> bool:
    kind, value = switch.scope
    return (switch.until is None or now.wall < switch.until) and (
        kind == "all"
        or (kind == "writes" and effect is Effect.WRITE)
        or (kind == "agent" and value == agent)
        or (kind == "run" and run != "" and value in (run, f"{agent}/{run}"))
        or (kind == "tool" and (value in ("*", tool) or (value.endswith(".*") and tool.startswith(value[:-1]))))
    )


@given(
    st.lists(MADE, max_size=12, unique_by=lambda switch: (switch.source, switch.scope)),
    st.sampled_from(AGENTS),
    st.sampled_from(RUNS),
    st.sampled_from(TOOLS),
    st.sampled_from(Effect),
)
def test_compiled_switches_stop_what_a_plain_look_at_each_stops(
    held: list[KillSwitch], agent: str, run: str, tool: str, effect: Effect
) -> None:
    stopping = [switch for switch in held if plainly_stops(switch, agent, run, tool, effect, NOON)]
    named = Switches(held).stops(agent, run, tool, effect, NOON)
    assert (named is None) == (stopping == [])
    if named is not None:
        order = ["all", "agent", "run", "writes", "tool"]
        assert named in stopping
        assert order.index(named.scope.kind) == min(order.index(switch.scope.kind) for switch in stopping)
