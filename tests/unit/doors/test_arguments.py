import pytest

from gateway.doors.arguments import ArgumentsError, args_hash, arguments_of, query_object


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
