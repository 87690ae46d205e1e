from dataclasses import replace

from gateway.doors.mcp.annotations import MOST_TOOLS, Annotations
from gateway.model import Effect
from gateway.policy.snapshot import Plan
from tests.unit.made_up import UPSTREAM, a_plan

LEFT_TO_IT = a_plan(effect=Effect.WRITE, heeds_annotations=True)
READ = {"readOnlyHint": True}


def after(*said: object, plan: Plan = LEFT_TO_IT) -> Plan:
    annotations = Annotations()
    for words in said:
        annotations.learn(UPSTREAM, "search", words)
    return annotations.applied(plan, "search")


def test_a_tool_is_a_write_until_its_server_says_that_it_reads() -> None:
    assert after().effect is Effect.WRITE
    assert after({}).effect is Effect.WRITE
    assert after(None).effect is Effect.WRITE
    assert after({"readOnlyHint": "yes"}).effect is Effect.WRITE
    assert after(READ).effect is Effect.READ


def test_of_two_hints_the_more_dangerous_one_holds() -> None:
    assert after({"readOnlyHint": True, "destructiveHint": True}).effect is Effect.WRITE
    assert after({"readOnlyHint": True, "destructiveHint": False}).effect is Effect.READ


def test_a_write_stays_a_write_and_a_read_can_become_one() -> None:
    assert after({}, READ).effect is Effect.WRITE
    assert after(READ, {}).effect is Effect.WRITE
    assert after(READ, {}, READ).effect is Effect.WRITE
    assert not after({"idempotentHint": False}, {"idempotentHint": True}).repeatable


def test_an_idempotent_write_may_be_repeated() -> None:
    plan = after({"idempotentHint": True})
    assert plan.effect is Effect.WRITE
    assert plan.repeatable


def test_the_policys_word_and_servers_that_are_not_trusted_are_not_touched() -> None:
    plan = a_plan(effect=Effect.WRITE)
    assert after(READ, plan=plan) is plan


def test_another_tool_or_address_has_said_nothing() -> None:
    annotations = Annotations()
    annotations.learn(UPSTREAM, "search", READ)
    assert annotations.applied(LEFT_TO_IT, "other").effect is Effect.WRITE
    moved = replace(LEFT_TO_IT, upstream=replace(UPSTREAM, host="elsewhere"))
    assert annotations.applied(moved, "search").effect is Effect.WRITE


def test_no_server_can_fill_the_memory() -> None:
    annotations = Annotations()
    for n in range(MOST_TOOLS):
        annotations.learn(UPSTREAM, f"t{n}", READ)
    annotations.learn(UPSTREAM, "search", READ)
    assert annotations.applied(LEFT_TO_IT, "search").effect is Effect.WRITE
    assert annotations.applied(LEFT_TO_IT, "t0").effect is Effect.READ


def test_a_plan_is_made_once_for_what_was_said_and_anew_when_that_changes() -> None:
    annotations = Annotations()
    annotations.learn(UPSTREAM, "search", {**READ, "idempotentHint": True})
    made = annotations.applied(LEFT_TO_IT, "search")
    assert annotations.applied(LEFT_TO_IT, "search") is made
    assert made.effect is Effect.READ
    annotations.learn(UPSTREAM, "search", {"idempotentHint": True})
    changed = annotations.applied(LEFT_TO_IT, "search")
    assert (changed.effect, changed.repeatable) == (Effect.WRITE, True)
