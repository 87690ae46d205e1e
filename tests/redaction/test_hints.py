"""A shape's pattern runs only on texts that its hint was found in: a hint that misses what the pattern finds would show a secret."""

import random

import pytest
import re2

from gateway.observers.redaction.names import NUMBERS, may_hide
from gateway.observers.redaction.personal import PERSONAL
from gateway.observers.redaction.rules import Rules
from gateway.observers.redaction.shapes import CREDENTIALS, Shape
from gateway.policy.snapshot import Redaction
from tests.redaction.corpus import HELD_BACK_SET, TUNING_SET

SHAPES = CREDENTIALS + PERSONAL
LATIN = re2.Options()
LATIN.encoding = re2.Options.Encoding.LATIN1


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    drawn = [sample.document.encode() for of in (TUNING_SET, HELD_BACK_SET) for sample in of.samples()]
    return [*drawn, b"PuTTY-User-Key-File-2: ssh-rsa"]  # the one shape that the corpus has no value of


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.hint is not None], ids=lambda shape: shape.kind)
def test_a_hint_is_found_wherever_its_pattern_is(shape: Shape, samples: list[bytes]) -> None:
    hint, pattern = re2.compile(shape.hint, LATIN), re2.compile(shape.pattern, LATIN)
    found = [text for text in samples if pattern.search(text)]
    assert found
    for text in found:
        for match in pattern.finditer(text):
            assert hint.search(match[0]), match[0]
            assert shape.kind in NUMBERS or may_hide(match[0].decode("utf-8", "replace")), match[0]


@pytest.mark.parametrize("alphabet", ["0123456789 .()/-+ABab", "0123456789", "-/. 0123456789abcdefABCDEF@:=?&"])
def test_no_shape_is_overlooked_in_a_text_that_keeps_all_of_them_busy(alphabet: str) -> None:
    """Texts without end and without repetition are what fills the memory of the automaton that looks for all hints at once."""
    dice = random.Random(7)
    rules = Rules(Redaction())
    patterns = [re2.compile(shape.pattern, LATIN) for shape in SHAPES]
    for _ in range(100):
        text = "".join(dice.choices(alphabet, k=3072)).encode()
        looked_at = set(rules.candidates(text))
        assert {n for n, pattern in enumerate(patterns) if pattern.search(text)} <= looked_at
