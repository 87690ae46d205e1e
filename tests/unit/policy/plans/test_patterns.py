import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.plans.patterns import Patterns, is_pattern, is_tool_name

PART = st.sampled_from(["a", "b", "ab", "c-1"])
NAME = st.lists(PART, min_size=1, max_size=4).map(".".join)
PATTERN = NAME | NAME.map(lambda name: name + ".*") | st.just("*")


def matches(pattern: str, name: str) -> bool:
    """The rule as one would tell it."""
    if pattern == "*":
        return True
    return name.startswith(pattern[:-1]) if pattern.endswith(".*") else name == pattern


def specificity(pattern: str) -> tuple[bool, int]:
    return not pattern.endswith("*"), len(pattern)


@given(st.sets(PATTERN), NAME)
def test_a_look_up_finds_the_most_specific_pattern_that_matches(patterns: set[str], name: str) -> None:
    expected = max((p for p in patterns if matches(p, name)), key=specificity, default=None)
    assert Patterns({p: p for p in patterns}).find(name) == (None if expected is None else (expected, expected))


@pytest.mark.parametrize("text", ["a", "a.b", "A-1_2.b", "a" * 128])
def test_words_with_dots_between_are_a_tool_name(text: str) -> None:
    assert is_tool_name(text)
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a*", "ä", "a\n", "a" * 129, "*.a", "a.*.b"]
)
def test_neither_a_tool_name_nor_a_pattern(text: str) -> None:
    assert not is_tool_name(text)
    assert not is_pattern(text)


def test_a_pattern_is_no_tool_name_and_finds_itself_no_match() -> None:
    assert is_pattern("a.*")
    assert not is_tool_name("a.*")
    assert Patterns({"a.*": 1}).find("a") is None
    assert Patterns({"a.*": 1}).find("a.*") == ("a.*", 1)  # as any name below a
