import pickle

import pytest

from gateway.policy.schema.section import changed, filled, written
from gateway.policy.schema.sections import Policy, Runs
from gateway.policy.schema.tools import Definition, Rate, ToolRetries
from gateway.policy.schema.upstreams import McpServer, Upstream


def test_what_is_not_written_stands_at_its_default() -> None:
    runs = Runs(max_started_per_hour=5)
    assert (runs.max_started_per_hour, runs.anonymous) == (5, "window")
    assert written(runs) == {"max_started_per_hour": 5}
    assert filled(runs)["anonymous"] == "window"


def test_a_default_that_is_written_makes_no_difference() -> None:
    assert Runs(anonymous="window") == Runs()
    assert Runs(anonymous="deny") != Runs()
    assert Policy(runs=Runs(anonymous="window")) == Policy()


def test_sections_of_different_kinds_are_never_equal() -> None:
    assert Upstream() != McpServer()
    assert Definition() != {}


def test_a_server_has_the_keys_of_an_upstream_and_its_own() -> None:
    assert filled(McpServer()).keys() - filled(Upstream()).keys() == {"trust_annotations", "deny_methods"}


def test_a_section_is_frozen() -> None:
    runs = Runs()
    with pytest.raises(AttributeError, match="frozen"):
        runs.anonymous = "deny"  # type: ignore[misc]  # what is tested


def test_a_changed_copy_leaves_the_original_as_it_is() -> None:
    original = Definition(retries=ToolRetries(max=1), rate=Rate(per_second=2.0))
    copy = changed(original, effect="read")
    assert (copy.effect, copy.retries, original.effect) == ("read", ToolRetries(max=1), None)


def test_a_pickled_section_is_the_same_and_carries_only_what_is_written() -> None:
    policy = Policy(runs=Runs(max_usd=1.5))
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert b"anonymous" not in pickle.dumps(policy)


def test_a_section_says_no_value_of_its_own() -> None:
    assert "hunter2" not in repr(Upstream(headers={"X-Key": "hunter2"}))
