import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.plans.arguments import ArgumentsSchema, compile_arguments

SEARCH = {
    "type": "object",
    "properties": {
        "q": {"type": "string", "maxLength": 5, "pattern": "^[a-z ]*$"},
        "n": {"type": "integer", "minimum": 1, "maximum": 9},
        "by": {"enum": ["date", "rank"]},
        "to": {"format": "email"},
        "in": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    },
    "required": ["q"],
    "additionalProperties": False,
}


def schema(of: dict[str, object]) -> ArgumentsSchema:
    compiled, problems = compile_arguments(of)
    assert compiled is not None, problems
    return compiled


@pytest.mark.parametrize(
    ("arguments", "objection"),
    [
        ({"q": "ok", "n": 3, "by": "rank", "to": "a@example.com", "in": ["a"]}, None),
        ({}, "the arguments: lacks q"),
        ({"q": "SECRET"}, "q: longer than 5 characters"),
        ({"q": "SECR"}, "q: does not match the pattern"),
        ({"q": "a", "n": 10}, "n: greater than 9"),
        ({"q": "a", "n": 0}, "n: less than 1"),
        ({"q": "a", "n": "SECRET"}, "n: not of type integer"),
        ({"q": "a", "by": "SECRET"}, "by: none of the listed values"),
        ({"q": "a", "to": "SECRET"}, "to: not of the format email"),
        ({"q": "a", "in": [1]}, "in[0]: not of type string"),
        ({"q": "a", "in": ["a", "b", "c"]}, "in: more than 2 items"),
        ({"q": "a", "extra": 1}, "the arguments: extra is not a known property"),
        ({"q": "a", "Bearer SECRET": 1}, "the arguments: … is not a known property"),
        (None, "the arguments: not of type object"),
        ([], "the arguments: not of type object"),
    ],
)
def test_an_objection_names_place_and_rule_but_no_value(arguments: object, objection: str | None) -> None:
    said = schema(SEARCH).objection(arguments)
    assert said == objection
    assert "SECR" not in str(said)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    )
)
def test_no_arguments_make_it_raise(arguments: object) -> None:
    objection = schema(SEARCH).objection({"q": arguments})
    assert (objection is None) == (isinstance(arguments, str) and re.fullmatch("[a-z ]{0,5}", arguments) is not None)


@pytest.mark.parametrize("of", [SEARCH, {"properties": {"q": {"$ref": "#"}, "a": {"$ref": "#"}}}])
def test_arguments_nested_beyond_reason_are_refused(of: dict[str, object]) -> None:
    deep: dict[str, object] = {}
    for _ in range(50_000):  # following these would end the process
        deep = {"a": deep}
    assert schema(of).objection({"q": deep}) == "the arguments: cannot be judged, not plain JSON or nested too deep"
    while deep:  # taken apart one by one, so that freeing them does not recurse either
        deep = deep["a"]  # type: ignore[assignment]  # a dict all the way down


def test_a_pattern_cannot_be_made_to_backtrack() -> None:
    evil = schema({"type": "object", "properties": {"q": {"pattern": "^(a+)+$"}}})
    assert (
        evil.objection({"q": "a" * 100_000 + "b"}) == "q: does not match the pattern"
    )  # would not end in this century


def test_local_references_are_followed() -> None:
    tree: dict[str, object] = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    assert schema(tree).objection({"next": {"next": 3}}) == "next.next: not of type object"


@pytest.mark.parametrize(
    ("bad", "place", "words"),
    [
        ({"properties": {"q": {"maxLenght": 3}}}, ("properties", "q", "maxLenght"), 'did you mean "maxLength"?'),
        ({"anyOf": [{"typ": "string"}]}, ("anyOf", 0, "typ"), 'did you mean "type"?'),
        ({"items": {"wholly_unknown": 1}}, ("items", "wholly_unknown"), "unknown JSON Schema keyword"),
        ({"type": "objekt"}, ("type",), "not a valid JSON Schema"),
        ({"maxLength": -1}, ("maxLength",), "not a valid JSON Schema"),
        ({"pattern": "(?=a)"}, ("pattern",), "linear time"),
        ({"$ref": "https://example.com/s.json"}, (), "leads nowhere"),
        ({"$ref": "file:///etc/passwd"}, (), "leads nowhere"),
        ({"format": "colour"}, ("format",), "format"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("$schema",), "2020-12"),
    ],
)
def test_a_schema_that_would_do_nothing_is_refused_at_load(
    bad: dict[str, object], place: tuple[str | int, ...], words: str
) -> None:
    compiled, problems = compile_arguments(bad)
    assert compiled is None
    assert problems[0][0] == place
    assert words in problems[0][1]


def test_names_of_properties_and_values_are_no_keywords() -> None:
    schema(
        {"properties": {"maxLenght": True}, "const": {"typ": 1}, "enum": [{"x": 1}], "default": {"y": 1}, "title": "t"}
    )
