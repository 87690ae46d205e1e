"""A compiled policy in force: what is put together when it is first asked for, and how much of that is kept."""

import gc
import pickle
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.compiled import _MOST_PLANS, CompiledPolicy
from gateway.policy.packed import Packed
from gateway.policy.plans.tools import _MOST_TEMPLATES
from tests.unit.policy.policy_texts import compiled

SCHEMA = "{type: object, properties: {q: {type: string}}}"
POLICY = f"""
tools:
  allowlist: [known.read, "any.*"]
  denylist: ["any.secret.*"]
  definitions: {{known.read: {{effect: read, arguments: {SCHEMA}}}}}
agents:
  default: {{}}
  careful: {{denylist: ["any.*", "any.secret.*", any.one, any.secret.one]}}
"""


def test_a_plan_is_the_same_object_as_long_as_it_is_kept() -> None:
    snapshot = compiled(POLICY)
    assert snapshot.plan("default", "known.read") is snapshot.plan("default", "known.read")


def test_made_up_names_cost_a_bounded_memory_and_no_defined_tool_its_schema() -> None:
    snapshot = cast(CompiledPolicy, compiled(POLICY))
    schema = snapshot.plan("default", "known.read").arguments
    for number in range(_MOST_PLANS + 1000):
        assert not snapshot.plan("default", f"made.up{number}").allowed
    assert snapshot._plans.cache_info().currsize == _MOST_PLANS
    assert snapshot.plan("careful", "known.read").arguments is schema


def test_of_many_defined_tools_those_used_last_are_kept_ready() -> None:
    many = ", ".join(f"t{number}: {{arguments: {SCHEMA}}}" for number in range(_MOST_TEMPLATES + 1))
    snapshot = compiled(f"tools: {{definitions: {{{many}}}}}")
    first = snapshot.plan("a", "t0").arguments
    for number in range(1, _MOST_TEMPLATES):
        snapshot.plan("a", f"t{number}")
    assert snapshot.plan("b", "t0").arguments is first
    snapshot.plan("a", f"t{_MOST_TEMPLATES}")
    assert snapshot.plan("c", "t0").arguments is first
    second = snapshot.plan("b", "t1").arguments
    assert second is not snapshot.plan("a", "t1").arguments, "t1 had not been asked for the longest"


def test_names_of_agents_that_the_policy_does_not_have_are_not_kept() -> None:
    snapshot = cast(CompiledPolicy, compiled(POLICY))
    for number in range(100):
        assert snapshot.budgets(f"made-up-{number}") == snapshot.budgets("default")
    assert snapshot._rules.cache_info().currsize == 1, "those of `default`, which is in the policy"


def test_the_most_specific_refusal_is_named_and_of_two_equal_ones_the_general() -> None:
    snapshot = compiled(POLICY)
    rules = {
        tool: snapshot.plan("careful", tool).rule for tool in ("any.one", "any.other", "any.secret.x", "any.secret.one")
    }
    assert rules == {
        "any.one": 'agents.careful.denylist: "any.one"',
        "any.other": 'agents.careful.denylist: "any.*"',
        "any.secret.x": 'tools.denylist: "any.secret.*"',
        "any.secret.one": 'agents.careful.denylist: "any.secret.one"',
    }


def test_agents_without_an_allowlist_of_their_own_share_the_general_one() -> None:
    """A thousand agents and ten thousand allowed tools are no ten million entries."""
    agents = ", ".join(f"a{number}: {{}}" for number in range(50))
    snapshot = cast(CompiledPolicy, compiled(f"{{tools: {{allowlist: [x]}}, agents: {{default: {{}}, {agents}}}}}"))
    assert len({id(snapshot._rules(f"a{number}").allow) for number in range(50)}) == 1


@given(st.dictionaries(st.text(max_size=3), st.lists(st.integers(), max_size=2)))
def test_packed_values_come_back_as_they_were(values: dict[str, list[int]]) -> None:
    packed: Packed[list[int]] = pickle.loads(pickle.dumps(Packed(values)))
    assert {name: packed.get(name) for name in packed} == values
    assert list(packed) == list(values)
    assert len(packed) == len(values)
    assert packed.get("none of these") is None


def test_the_garbage_collector_does_not_walk_what_is_packed() -> None:
    packed = Packed({f"t{number}": {"effect": "read"} for number in range(1000)})
    assert not gc.is_tracked(packed._values)


def test_the_pace_of_a_tool_is_that_of_its_plans() -> None:
    snapshot = compiled("{mode: report, tools: {definitions: {a.b: {rate: {per_second: 5}, max_concurrency: 2}}}}")
    for tool in ("a.b", "made.up"):
        assert snapshot.pace(tool) == snapshot.plan("default", tool).pace
    assert snapshot.pace("a.b") != snapshot.pace("made.up")
