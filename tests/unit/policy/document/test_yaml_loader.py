import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.document.problems import PolicyError
from gateway.policy.document.scalars import DATE, Ambiguous, read_plain
from gateway.policy.document.yaml_loader import DEEPEST, LARGEST, MOST_VALUES, Document, load

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8), below, max_size=4)
    ),
    max_leaves=20,
)
FRAGMENTS = [
    "a",
    "b",
    ": ",
    ":\n",
    "\n",
    "- ",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&x ",
    "*x",
    "<<",
    "!!str ",
    "? ",
    "|\n",
    '"',
    "'",
]
FRAGMENTS += ["0", "1_0", ".nan", "yes", "---\n", "...\n", "%YAML 1.1\n", "#", "\t", "\u2028", "\x85", "é", "\ufeff"]
YAML_LIKE = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(lambda parts: "".join(parts).encode())

PLAIN = {
    "~": None,
    "": None,
    "true": True,
    "FALSE": False,
    "12": 12,
    "-3": -3,
    "0": 0,
    "1.5": 1.5,
    "1e3": 1000.0,
    ".5": 0.5,
}
TEXT = ["y", "n", "a: b", "10.0.0.1", "1.2.3", "-", "::1", "-x", "no-cache", "+", "2026-01", "0.0.0.0"]
BOTH_WAYS = [
    "yes",
    "No",
    "ON",
    "off",
    "012",
    "08",
    "0o17",
    "0x1F",
    "0b101",
    "1_000",
    "1_0.5",
    "1:30",
    "190:20:30",
    "190:20:30.15",
]
BOTH_WAYS += [
    ".inf",
    "-.INF",
    ".NaN",
    "1e999",
    "2026-01-01",
    "2026-1-1",
    "2026-01-01T00:00:00Z",
    "2026-01-01 00:00:00 +1",
    "=",
]
BOTH_WAYS += ["<<", "1" * 19, "9" * 5000, "-" + "1" * 19, "+0x1f", "1_", "01.5"]


def answer(content: bytes) -> object:
    try:
        return load(content, "policy.yaml")
    except PolicyError as error:
        return error.lines


@given(st.binary(max_size=200) | YAML_LIKE)
def test_whatever_the_bytes_the_answer_is_a_tree_or_lines(content: bytes) -> None:
    told = answer(content)
    if isinstance(told, Document):
        assert told.value is not None
    else:
        assert isinstance(told, tuple)
        assert told
        assert all(line.startswith(("policy.yaml:", "… and ")) for line in told)


@given(JSON)
def test_json_is_read_as_json(value: object) -> None:
    document = load(json.dumps({"top": value}).encode(), "policy.yaml")
    assert document.value == {"top": value}
    assert document.problems == ()


def test_every_key_and_item_knows_its_place() -> None:
    document = load(b"tools:\n  allowlist:\n    - a\n    - b\n  retries: {max: 2}\n", "policy.yaml")
    find = document.mark.find
    assert find(("tools", "allowlist")) == (2, 3)
    assert find(("tools", "allowlist", 1)) == (4, 7)
    assert find(("tools", "retries", "max")) == (5, 13)


def test_a_missing_key_is_placed_at_what_should_hold_it() -> None:
    assert load(b"a: 1\nb:\n  c: 1\n", "x").mark.find(("b", "d", "e")) == (2, 1)


@pytest.mark.parametrize("opener", [b"[", b"{a: ", b"- ", b"? "])
def test_however_deep_the_nesting_it_is_refused_and_not_followed(opener: bytes) -> None:
    with pytest.raises(PolicyError) as refused:
        load(opener * 100_000, "policy.yaml")
    assert f"nested deeper than {DEEPEST} levels" in str(refused.value.problems)


def test_a_bomb_of_aliases_is_refused_without_being_unfolded() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    document = load("\n".join(lines).encode(), "policy.yaml")
    assert len(document.problems) == 30 + 29 * 9


def test_a_file_of_8_mib_is_read_and_one_byte_more_is_not() -> None:
    text = b"a: 1\n#"
    assert load(text + b"x" * (LARGEST - len(text)), "policy.yaml").value == {"a": 1}
    with pytest.raises(PolicyError, match="larger than 8 MiB"):
        load(text + b"x" * (LARGEST - len(text) + 1), "policy.yaml")


def test_more_values_than_a_policy_can_need_are_not_read_to_the_end() -> None:
    with pytest.raises(PolicyError, match=f"more than {MOST_VALUES} values"):
        load(b"- a\n" * (MOST_VALUES + 1), "policy.yaml")


def test_problems_before_a_syntax_error_are_told_with_it() -> None:
    with pytest.raises(PolicyError) as refused:
        load(b"a: 1\na: 2\nb: [1\nc: 3\n", "policy.yaml")
    assert [line.split(" ")[0] for line in refused.value.lines] == ["policy.yaml:2:1", "policy.yaml:4:2"]


@pytest.mark.parametrize(("text", "value"), [*PLAIN.items(), *((text, text) for text in TEXT)])
def test_a_plain_scalar_is_read_as_json_would(text: str, value: object) -> None:
    read = read_plain(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", BOTH_WAYS)
def test_a_plain_scalar_that_readers_of_yaml_disagree_on_is_no_text(text: str) -> None:
    assert isinstance(read_plain(text), Ambiguous)


@given(st.text(max_size=12))
def test_reading_a_scalar_never_fails(text: str) -> None:
    assert isinstance(read_plain(text), None | bool | int | float | str | Ambiguous)


def test_only_a_time_is_called_a_date() -> None:
    assert read_plain("2026-01-01T00:00:00Z") == Ambiguous("2026-01-01T00:00:00Z", DATE)
