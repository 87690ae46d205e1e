"""The shapes as one policy has them, compiled: which pieces of a text look like a secret, whatever stands around them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import re2

from gateway.observers.redaction.personal import PERSONAL
from gateway.observers.redaction.shapes import CREDENTIALS, Check, Shape
from gateway.observers.redaction.spans import Span, replacement
from gateway.policy.snapshot import Redaction

_LATIN = re2.Options()
_LATIN.encoding = re2.Options.Encoding.LATIN1
_LATIN.log_errors = False
_LATIN.max_mem = 1 << 20
"""Bytes of automaton each shape may cache, whatever text it meets."""
_QUIET = re2.Options()
_QUIET.log_errors = False


class _Rule(NamedTuple):
    """A compiled Shape."""

    kind: str
    pattern: "re2._Regexp"
    check: Check | None
    group: int
    """What of a match is hidden: 0 is all of it."""


class Rules:
    """Compiled once per policy; any thread may use it. A policy's pattern that does not compile is left out (policy refuses it)."""

    def __init__(self, redaction: Redaction) -> None:
        self._allow = frozenset(redaction.allow)
        shapes = [shape for shape in CREDENTIALS + PERSONAL if shape.kind not in self._allow]
        self._rules = [_rule(shape) for shape in shapes]
        self._hints = _hints(shapes)
        self._custom = list(_custom(redaction, self._allow))

    def spans(self, text: bytes, without: frozenset[str] = frozenset()) -> list[Span]:
        """What looks like a secret of any kind but those in `without`; the policy's own patterns come last."""
        found = []
        for index in self.candidates(text):
            kind, pattern, check, group = self._rules[index]
            if kind in without:
                continue
            for match in pattern.finditer(text):
                start, end = match.span(group)
                if (check is None or check(text, start, end)) and not self._allowed(text[start:end]):
                    found.append(Span(start, end, replacement(kind)))
        return found + self.custom(text)

    def candidates(self, text: bytes) -> Sequence[int]:
        """The built-in shapes that may be in the text, by number."""
        return self._hints.Match(text) or ()

    def custom(self, text: bytes) -> list[Span]:
        """What the policy's own patterns match. They may look at quotes and ends, so each string of a document is asked alone."""
        return [
            Span(match.start(), match.end(), replacement(rule.kind))
            for rule in self._custom
            for match in rule.pattern.finditer(text)
            if match.end() > match.start() and not self._allowed(match.group())
        ]

    def _allowed(self, value: bytes) -> bool:
        return bool(self._allow) and value.decode("utf-8", "replace") in self._allow


def _rule(shape: Shape) -> _Rule:
    pattern = re2.compile(shape.pattern, _LATIN)
    return _Rule(shape.kind, pattern, shape.check, min(1, pattern.groups))


def _hints(shapes: list[Shape]) -> "re2.Set":
    """One automaton that tells in one pass which shapes can be in a text at all."""
    options = re2.Options()  # with the default memory: a Set that runs out of it would find nothing
    options.encoding = re2.Options.Encoding.LATIN1
    hints = re2.Set.SearchSet(options)
    for shape in shapes:
        hints.Add(shape.hint or shape.pattern)
    hints.Compile()
    return hints


def _custom(redaction: Redaction, allow: frozenset[str]) -> Iterator[_Rule]:
    for name, pattern in redaction.patterns.items():
        if name in allow:
            continue
        try:
            yield _Rule(name, re2.compile(pattern.encode(), _QUIET), None, 0)
        except re2.error:
            continue
