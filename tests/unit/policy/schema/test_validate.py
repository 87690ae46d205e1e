"""Documents made up by hypothesis, whole and broken: what is accepted builds, and what is refused has a line that says where."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.document.yaml_loader import load
from gateway.policy.schema.json_schema import json_schema
from gateway.policy.schema.kinds import (
    Form,
    JsonObject,
    Kind,
    ListOf,
    MappingOf,
    Nullable,
    SectionOf,
    section_of,
)
from gateway.policy.schema.section import filled
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.validate import Read, read_candidate, read_policy, read_switches

EDITORS = jsonschema_rs.Draft202012Validator(json_schema())
TEXTS = ["a", "b-c", "a.*", "read", "GET", "/x", "GET /x", "${env:X}", "64 KiB", "2026-01-31T12:00:00Z"]
TEXTS += ["deny", "report", "https://a.example", "*.a.example", "10.0.0.0/8", "prompts/*"]
EXAMPLES = [True, False, 0, 1, 5, 404, 0.5, 1.25, *TEXTS]
SCALARS: st.SearchStrategy[Any] = (
    st.sampled_from([None, "", "b c", 10**17, -1, *EXAMPLES]) | st.text("ab€./: ", max_size=5) | st.floats(-9, 9)
)
NAMES = st.sampled_from(["a", "b-c", "A_1"])
ANYTHING = st.recursive(SCALARS, lambda below: st.lists(below, max_size=2) | st.dictionaries(NAMES, below, max_size=2))


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 29).flatmap(lambda dice: other if dice == 29 else usual)


def fitting(kind: Kind) -> st.SearchStrategy[Any]:
    """Mostly what the kind takes."""
    match kind:
        case Form():
            usual: st.SearchStrategy[Any] = st.sampled_from([value for value in EXAMPLES if takes(kind, value)])
        case Nullable():
            usual = st.none() | fitting(kind.kind)
        case ListOf():
            usual = st.lists(fitting(kind.item), max_size=2)
        case MappingOf():
            usual = st.dictionaries(NAMES, fitting(kind.entry), max_size=2)
        case SectionOf():
            keys = {key: fitting(below) for key, below in kind.keys.items()}
            required = {key: keys.pop(key) for key in kind.required}
            usual = st.fixed_dictionaries(required, optional=keys)
        case JsonObject():
            usual = st.dictionaries(st.sampled_from(["type", "x"]), ANYTHING, max_size=2)
        case _:
            raise TypeError(kind)
    return mostly(usual, ANYTHING)


def takes(form: Form, value: object) -> bool:
    try:
        return type(value) in form.takes and form.take(value) is not None
    except ValueError:
        return False


DOCUMENTS = mostly(fitting(section_of(Policy)), ANYTHING).filter(lambda document: document is not None)


def read(document: object) -> Read[Policy]:
    return read_policy(load(json.dumps(document).encode(), "policy.yaml"))


@given(DOCUMENTS)
def test_a_document_is_built_or_told_of(document: Any) -> None:
    answer = read(document)
    if not answer.problems:
        assert answer.value is not None
        assert filled(answer.value).keys() == section_of(Policy).keys.keys()
    for problem in answer.problems:
        assert problem.place.line >= 1
        assert problem.text
    assert bool(answer.problems) == bool(answer.doubtful)


@given(DOCUMENTS)
def test_editors_accept_all_that_the_gateway_accepts(document: Any) -> None:
    if not read(document).problems:
        assert EDITORS.is_valid(document)


@given(DOCUMENTS)
def test_what_is_left_when_the_wrong_parts_are_gone_is_in_order(document: Any) -> None:
    answer = read(document)
    if isinstance(document, dict) and answer.value is not None:
        kept = {
            key: below for key, below in document.items() if not any(path[:1] == (key,) for path in answer.doubtful)
        }
        alone = read(kept)
        assert alone.problems == ()
        assert alone.value is not None
        assert all(getattr(alone.value, key) == getattr(answer.value, key) for key in kept)


@pytest.mark.parametrize("reader", [read_candidate, read_switches])
@given(DOCUMENTS)
def test_other_files_are_read_or_told_of_too(reader: Any, document: Any) -> None:
    answer = reader(load(json.dumps(document).encode(), "candidate.yaml"))
    assert bool(answer.problems) or answer.value is not None


def test_whatever_else_is_wrong_a_missing_key_does_not_hide_what_compile_finds() -> None:
    answer = read({"tools": {"definitions": {"a": {"rate": {}, "effect": "read"}}}})
    assert [problem.key for problem in answer.problems] == ["tools.definitions.a.rate.per_second"]
    assert answer.value is not None
    assert (answer.value.tools.definitions["a"].effect, answer.value.tools.definitions["a"].rate) == ("read", None)
