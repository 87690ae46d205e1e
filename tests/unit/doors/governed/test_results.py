"""How the end of a call is put for the SDK, and arguments as a query: pure, over whatever tools and agents send."""

import json
from base64 import b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import ANSWERS, Reason
from gateway.doors.arguments import query_object
from gateway.doors.governed.results import query_of, result_of, verdict_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([(), (("Content-Type", "application/json"),), (("content-type", "application/x+JSON"),)]))
def test_json_comes_through_as_it_is(document: Any, headers: tuple[tuple[str, str], ...]) -> None:
    told = orjson.dumps({"result": result_of(200, headers, json.dumps(document).encode())})
    result = json.loads(told)["result"]
    assert result == (document if isinstance(document, dict) else {"value": document})


@given(st.integers(200, 599), st.binary(max_size=40))
def test_what_is_no_json_is_told_with_its_status_and_can_be_had_back(status: int, body: bytes) -> None:
    result = result_of(status, [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "2")], body)
    assert isinstance(result, dict)
    assert (result["status"], result["headers"]) == (status, {"content-type": "text/plain", "x-a": "1, 2"})
    told = json.loads(orjson.dumps(result))
    assert (b64decode(told["body"]) if told.get("encoding") == "base64" else told["body"].encode()) == body


def test_a_page_is_told_as_one_whatever_it_holds() -> None:
    result = result_of(200, [("Content-Type", "application/json")], b"{}", as_page=True)
    assert result == {"status": 200, "headers": {"content-type": "application/json"}, "body": "{}"}


def test_only_this_gateway_speaks_for_itself() -> None:
    result = result_of(200, [("Tool-Gateway-Reason", "ok"), ("X-A", "1")], b"text")
    assert isinstance(result, dict)
    assert result["headers"] == {"x-a": "1"}


def test_a_coded_body_is_not_taken_for_json() -> None:
    result = result_of(200, [("Content-Encoding", "gzip"), ("Content-Type", "application/json")], b"{}")
    assert isinstance(result, dict)
    assert (result["body"], result["encoding"]) == ("e30=", "base64")


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, min_size=2, max_size=3), max_size=4))
def test_texts_and_lists_of_them_come_back_from_the_query(args: dict[str, Any]) -> None:
    assert query_object(query_of(args)) == args


@given(st.dictionaries(TEXTS, JSON.filter(lambda value: not isinstance(value, str | list)), max_size=4))
def test_other_values_are_json_in_the_query(args: dict[str, Any]) -> None:
    query = query_of(args)
    assert query.isascii()
    assert not {" ", "#", "\r", "\n"}.intersection(query)
    assert {name: json.loads(str(value)) for name, value in query_object(query).items()} == args


@pytest.mark.parametrize("reason", [*Reason])
def test_every_reason_has_a_verdict(reason: Reason) -> None:
    verdict = verdict_of(reason)
    assert verdict.allowed is (verdict.decision != "blocked")
    assert verdict.policy_reason
    if reason not in ANSWERS:
        assert verdict.allowed


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ('tools.denylist: "shell.*"', "tool_explicitly_blocked"),
        ('agents.a.denylist: "x"', "tool_explicitly_blocked"),
        ('policy of a at /v1/policies: blocked_tools: "x"', "tool_explicitly_blocked"),
        ("policy of a at /v1/policies: not in allowed_tools", "tool_not_in_allowed_list"),
        ("no allowlist entry", "tool_not_in_allowed_list"),
    ],
)
def test_a_denylist_is_told_from_a_missing_entry(rule: str, word: str) -> None:
    assert verdict_of(Reason.TOOL_NOT_ALLOWED, rule).policy_reason == word
