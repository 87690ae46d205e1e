import json
from decimal import Decimal

import pytest
from hypothesis import given
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


def _spelled(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arrays and objects in JSON text, with keys that repeat as often as not."""
    blanks = st.sampled_from(["", " "])
    pairs = st.tuples(st.sampled_from(['"a"', '"\\u0061"', '"\\u003a"', '":"']), blanks, children)
    objects = st.lists(pairs.map(lambda pair: f"{pair[0]}:{pair[1]}{pair[2]}"), max_size=3)
    return st.lists(children, max_size=3).map(lambda items: f"[{','.join(items)}]") | objects.map(
        lambda members: "{" + ",".join(members) + "}"
    )


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,3}|922337203685477580[5-9]|1844674407370955161[4-9])", fullmatch=True)
DECIMALS = st.from_regex(
    r"-?(0|9007199254740993|[1-9])\.(0|5|10000000000000000[0-9])([eE][+-]?(0|1|22|320|324|400))?", fullmatch=True
)
DOCUMENTS = st.recursive(NUMBERS | DECIMALS | st.sampled_from(["null", "true", '""', '":"', '"\\u003A"']), _spelled)


def meaning(document: str) -> object:
    """All that a document says, with numbers to their last digit and every pair of a repeated key."""

    def pairs(found: list[tuple[str, object]]) -> object:
        return sorted(found, key=lambda pair: pair[0])

    return json.loads(document, parse_int=Decimal, parse_float=Decimal, object_pairs_hook=pairs)


@given(st.lists(DOCUMENTS, min_size=10, max_size=25))
def test_no_two_documents_share_a_form(documents: list[str]) -> None:
    by_form: dict[bytes, object] = {}
    for document in documents:
        said = meaning(document)
        assert by_form.setdefault(canonical(document.encode()), said) == said
