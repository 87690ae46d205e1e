"""Policies set through the governed door, laid over plans: never wider than the file, whatever they say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounds import UNBOUNDED, AgentBounds
from gateway.policy.governed import ApiPolicy, Governing, Overlay, policy_document, read, read_tool, widened

NAMES = ["a", "a.b", "a.b.c", "b", "b.c", "x-y"]
PATTERNS = st.sampled_from([*NAMES, "a.*", "a.b.*", "b.*", "*"])
LISTS = st.lists(PATTERNS, max_size=3)
LIMITS = st.none() | st.integers(0, 5)
POLICIES = st.fixed_dictionaries(
    {"agent_id": st.just("a1")},
    optional={
        "allowed_tools": st.none() | LISTS,
        "blocked_tools": LISTS,
        "max_actions_per_hour": LIMITS,
        "max_spend_usd_per_day": LIMITS,
        "max_calls_per_tool": st.dictionaries(PATTERNS, st.integers(0, 5), max_size=3),
        "pricing_rules": st.lists(
            st.fixed_dictionaries({"tool": PATTERNS, "price_usd": st.integers(0, 5)}), max_size=3
        ),
    },
)


def governing(document: dict[str, Any]) -> Governing:
    return Governing(read(ApiPolicy, document))


@given(POLICIES, st.sampled_from(NAMES), st.booleans(), LIMITS, LIMITS)
def test_a_policy_set_through_the_door_only_narrows(
    document: dict[str, Any], tool: str, allowed: bool, actions: int | None, spend: int | None
) -> None:
    laid = governing(document)
    assert laid.judge(allowed, "no allowlist entry", tool, open_=False)[0] <= allowed
    given_bounds = UNBOUNDED._replace(max_actions_per_hour=actions, max_spend=spend)
    found = laid.bounds(given_bounds, open_=False)
    for before, after in ((actions, found.max_actions_per_hour), (spend, found.max_spend)):
        assert before is None or (after is not None and after <= before)


@given(POLICIES, POLICIES, st.sampled_from(NAMES))
def test_what_is_not_called_wider_allows_nothing_more(one: dict[str, Any], other: dict[str, Any], tool: str) -> None:
    before, after = governing(one), governing(other)
    if widened(before, after) is not None:
        return

    def grants(laid: Governing) -> tuple[bool, AgentBounds, float, int]:
        calls, price = laid.max_calls.find(tool), laid.prices.find(tool)
        allowed = laid.judge(True, "", tool, open_=False)[0]
        return allowed, laid.bounds(UNBOUNDED, open_=False), calls[1] if calls else 99, price[1] if price else 0

    was, now = grants(before), grants(after)
    assert now[0] <= was[0]
    for old, new in zip(was[1][:2], now[1][:2], strict=True):
        assert old is None or (new is not None and new <= old)
    assert now[2] <= was[2]
    assert now[3] >= was[3]


@pytest.mark.parametrize(
    ("before", "after"), [(["a.b"], ["a.*"]), (["a.b", "a.b.*"], ["a.*"]), (["a.*", "b.*"], ["*"])]
)
def test_a_family_is_wider_than_its_members(before: list[str], after: list[str]) -> None:
    one, other = ({"agent_id": "a1", "allowed_tools": names} for names in (before, after))
    assert widened(governing(one), governing(other)) == "allowed_tools"
    assert widened(governing(other), governing(one)) is None


@given(POLICIES)
def test_the_same_policy_again_is_not_wider_and_what_is_stored_reads_back(document: dict[str, Any]) -> None:
    laid = governing(document)
    stored = json.loads(json.dumps(policy_document(laid.policy)))
    again = governing(stored)
    assert widened(laid, again) is None
    assert json.loads(json.dumps(policy_document(again.policy))) == stored


def test_open_goes_beyond_the_file_but_not_past_a_denylist() -> None:
    laid = governing({"agent_id": "a1", "allowed_tools": ["*"], "max_actions_per_hour": 9})
    assert laid.judge(False, "no allowlist entry", "a", open_=True)[0]
    assert not laid.judge(False, 'tools.denylist: "a"', "a", open_=True)[0]
    bounds = UNBOUNDED._replace(max_actions_per_hour=1, max_spend=5)
    assert laid.bounds(bounds, open_=True)[:2] == (9, 5)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda b: st.lists(b) | st.dictionaries(st.sampled_from(["agent_id", "name", "url", "auth", "x"]), b),
        max_leaves=6,
    )
)
def test_whatever_is_sent_is_read_or_refused_with_one_line(document: object) -> None:
    for reading in (lambda: read(ApiPolicy, document), lambda: read_tool(document)):
        told = "nothing"
        try:
            reading()
        except ValueError as error:
            told = str(error)
        assert told
        assert "\n" not in told


def test_no_message_repeats_a_secret() -> None:
    with pytest.raises(ValueError, match=r"auth\.secret") as raised:
        read_tool({"name": "a", "url": "http://h/", "auth": {"secret": "hunter2"}})
    assert "hunter2" not in str(raised.value)


def test_of_two_prices_of_one_tool_the_higher_holds() -> None:
    rules = [{"tool": "a", "price_usd": 5}, {"tool": "a", "price_usd": 0}]
    found = governing({"agent_id": "a1", "pricing_rules": rules}).prices.find("a")
    assert found is not None
    assert found[1] == 5_000_000


def test_the_digest_changes_with_a_secret_and_tells_nothing_of_it() -> None:
    tool = read_tool({"name": "a", "url": "http://example.com", "auth": {"secret": "12345678"}})

    def digest(**changes: Any) -> bytes:
        return Overlay(tools={("global", "a"): tool._replace(**changes)}).digest

    assert digest(secret_id="sec_1") == digest(secret_id="sec_1", secret="87654321") != digest(secret_id="sec_2")
    one, other = governing({"agent_id": "a1"}), governing({"agent_id": "a1", "max_actions_per_hour": 1})
    assert Overlay({"a1": one}).digest != Overlay({"a1": other}).digest


@pytest.mark.parametrize("scope", ["agent:", "agent:a b", "agent:" + "x" * 129, "agents:a", "global ", "agent:a\n"])
def test_a_scope_is_global_or_an_agents(scope: str) -> None:
    with pytest.raises(ValueError, match="scope_id"):
        read_tool({"name": "a", "url": "http://example.com", "scope_id": scope})
