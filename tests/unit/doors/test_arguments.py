import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.doors.arguments import LONGEST_BY_HAND, ArgumentsError, args_hash, arguments_of, canonical, query_object


def test_without_a_body_the_query_is_an_object_of_strings() -> None:
    assert arguments_of(b"", "q=tea&page=2&tag=a&tag=b&tag=c&empty=") == {
        "q": "tea",
        "page": "2",
        "tag": ["a", "b", "c"],
        "empty": "",
    }


def test_a_json_body_is_the_arguments() -> None:
    assert arguments_of(b'{"q": "tea", "n": 123456789012345678901234567890}', "") == {
        "q": "tea",
        "n": 123456789012345678901234567890,
    }


@pytest.mark.parametrize(
    ("body", "query", "clause"),
    [
        (b'{"a": 1, "a": 2}', "", "repeats a key"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "", "repeats a key"),
        (b'{"a": NaN}', "", "NaN"),
        (b'{"a": -Infinity}', "", "-Infinity"),
        (b"\xef\xbb\xbf{}", "", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "", "UTF-8"),
        (b"{", "", "not JSON"),
        (b"[" * 100_000, "", "nested too deeply"),
        (b"{}", "a=1", "query beside a body"),
        (b'{"a": ' + b"9" * 5000 + b"}", "", "not JSON"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(body: bytes, query: str, clause: str) -> None:
    with pytest.raises(ArgumentsError, match=clause):
        arguments_of(body, query)


def test_equal_documents_have_one_hash_whatever_their_spelling() -> None:
    one = args_hash("t", "POST", "", "", b'{"a": 1, "b": [1, 2]}')
    assert one == args_hash("t", "POST", "", "", b'{ "b":[1,2], "\\u0061":1 }')
    assert one != args_hash("t", "POST", "", "", b'{"a": 1, "b": [2, 1]}')


def test_tool_method_rest_and_query_are_part_of_the_hash() -> None:
    variants = {
        args_hash("t", "POST", "", "", b"{}"),
        args_hash("u", "POST", "", "", b"{}"),
        args_hash("t", "PUT", "", "", b"{}"),
        args_hash("t", "POST", "/a", "", b"{}"),
        args_hash("t", "POST", "", "/a", b"{}"),
        args_hash("t", "POST", "", "", b"not json"),
    }
    assert len(variants) == 6


def test_a_name_repeated_in_the_query_is_a_list_even_twice() -> None:
    assert query_object("a=1&a=2") == {"a": ["1", "2"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"[18446744073709551616]", b"[18446744073709551617]"),
        (b"[-9223372036854775809]", b"[-9223372036854775810]"),
        (b"[18446744073709551616]", b"[1.8446744073709552e+19]"),
        (b"[0.1]", b"[0.10000000000000000001]"),
        (b"[1e-400]", b"[0.0]"),
        (b"[1e-400]", b"[1e-401]"),
        (b"[1.2345678901234e-320]", b"[1.2345678901235e-320]"),
        (b"[1e400]", b"[null]"),
        (b"[1e-99999999999999999999]", b"[0.0]"),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b'{"":1,"":0}', b'{"":0}'),  # the shortest member there is
        (b'{"a":1,"a":2}', b'{"a":3,"a":2}'),
        (b'{"a":1,"\\u0061":2}', b'{"a":2}'),
        (b'{"\\u003a":"","b":1,"b":2}', b'{":":"","b":2}'),
        (b'["\\ud800"]', b'["\\ud801"]'),
        (b"[1]", b"[1.0]"),
        (b'["1"]', b"[1]"),
    ],
)
def test_two_documents_never_have_one_form(one: bytes, other: bytes) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"b": 1, "a": [true]}', b'{"a":[true],"b":1}'),
        (b'{"a": "\\u003a"}', b'{"a":":"}'),
        (b'{"n": 12345678901234567890123, "a": "\\u00e9"}', '{"a":"é","n":12345678901234567890123}'.encode()),
        (
            b'{"card": "4111111111111111" , "at": 1234567890123456}',
            b'{"at":1234567890123456,"card":"4111111111111111"}',
        ),
        (b"[1E2, 0.10]", b"[100.0,0.1]"),
    ],
)
def test_the_spelling_of_a_document_does_not_matter(one: bytes, other: bytes) -> None:
    assert canonical(one) == canonical(other)


def test_a_long_document_that_parsers_do_not_take_exactly_is_compared_by_its_bytes() -> None:
    document = b'{"a": 18446744073709551616, "pad": "' + b"x" * LONGEST_BY_HAND + b'"}'
    assert canonical(document) == document


Twins = tuple[str, str]
"""Two documents in JSON text that differ little or not at all, so that what confuses two does so often."""

ALIKE = (
    ("18446744073709551616", "18446744073709551617", "1.8446744073709552e+19"),
    ("-9223372036854775809", "-9223372036854775810"),
    ("9007199254740993.0", "9007199254740992.0"),
    ("0.1", "0.10000000000000000001", "0.10", "1e-1"),
    ("1e-400", "0.0", "0e5", "-0.0", "0", "1.2345678901234e-320", "1.2345678901235e-320"),
    ("1e400", "null", "1e401"),
    ("1", "1.0", "true", '"1"'),
    ('""', '"\\u003a"', '":"', '"\\\\u003a"'),
)
KEYS = ('"a"', '"\\u0061"', '"\\u003a"', '":"', '"b"')


def twins(spellings: tuple[str, ...]) -> st.SearchStrategy[Twins]:
    return st.tuples(st.sampled_from(spellings), st.sampled_from(spellings))


def _around(inner: st.SearchStrategy[Twins]) -> st.SearchStrategy[Twins]:
    """Arrays and objects around twins; keys repeat as often as not, and a member may be there for one of the two only."""
    members = st.tuples(twins(KEYS), inner, st.sampled_from(["both", "both", "one", "other"]))

    def as_array(items: list[Twins]) -> Twins:
        return f"[{','.join(one for one, _ in items)}]", f"[ {' , '.join(other for _, other in items)} ]"

    def as_object(items: list[tuple[Twins, Twins, str]]) -> Twins:
        one = ",".join(f"{keys[0]}:{values[0]}" for keys, values, whose in items if whose != "other")
        other = ", ".join(f"{keys[1]}: {values[1]}" for keys, values, whose in items if whose != "one")
        return "{" + one + "}", "{" + other + "}"

    return st.lists(inner, max_size=3).map(as_array) | st.lists(members, max_size=3).map(as_object)


def meaning(document: str) -> object:
    """All that a document says, with numbers to their last digit and every pair of a repeated key."""

    def pairs(found: list[tuple[str, object]]) -> object:
        return sorted(found, key=lambda pair: pair[0])

    return json.loads(document, parse_int=Decimal, parse_float=Decimal, object_pairs_hook=pairs)


@settings(max_examples=500)
@given(_around(st.recursive(st.sampled_from(ALIKE).flatmap(twins), _around, max_leaves=4)))
def test_one_form_means_one_document(documents: Twins) -> None:
    one, other = documents
    if canonical(one.encode()) == canonical(other.encode()):
        assert meaning(one) == meaning(other)
