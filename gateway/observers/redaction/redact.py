"""Hides secrets and personal data in bytes that may be JSON, may hold JSON, may be cut anywhere. Pure; linear in the text's length.

Works on the text itself, never on a parsed copy, so numbers, order and doubled keys stay as the caller sent them.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import re2

from gateway.observers.redaction.assignments import assignments
from gateway.observers.redaction.jsontext import JSON_START, Walk
from gateway.observers.redaction.keys import STEMS, normal, secret_kind
from gateway.observers.redaction.personal import PERSONAL
from gateway.observers.redaction.shapes import CREDENTIALS, Check, Shape
from gateway.policy.snapshot import Redaction

SURPLUS = 1024
"""Bytes beyond the logged ones that the redactor sees, so that a value across the edge is still recognised."""

_LATIN = re2.Options()
_LATIN.encoding = re2.Options.Encoding.LATIN1
_LATIN.log_errors = False
_LATIN.max_mem = 1 << 20
"""Bytes of automaton each shape may cache, whatever text it meets."""
_QUIET = re2.Options()
_QUIET.log_errors = False

_HEADS = rb"(?i)(?:STEMS)[\w.\x80-\xff-]*(?:\\*[\"'`]|\]|%5D)?[ \t]*(?:=|:|%3D|>)|--[\w-]*(?:STEMS)|form-data"
"""Where a value may follow a telling name: what assignments looks at closely."""
_TOKEN_BYTES = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/=_.%~-@:"
"""What a token, a key or an address is made of: a run of these that the window cuts is hidden whole."""


class Span(NamedTuple):
    """A piece of a text that must not be shown."""

    start: int
    end: int
    kind: str


class Rule(NamedTuple):
    """A compiled Shape."""

    kind: str
    pattern: "re2._Regexp"
    check: Check | None


class Found(NamedTuple):
    """What a text can hold: the rules whose hints it has, and whether a telling name stands before a value in it."""

    rules: list[int]
    names: bool


def replacement(kind: str) -> bytes:
    """What stands in a hidden value's place. It holds nothing that JSON would escape."""
    return b"[redacted]" if kind == "secret" else b"[cut]" if kind == "cut" else b"[redacted:" + kind.encode() + b"]"


class Redactor:
    """Compiled once per policy; any thread may use it. A policy pattern that does not compile is left out (policy refuses it at load)."""

    def __init__(self, redaction: Redaction) -> None:
        self._enabled = redaction.enabled
        self._allow = frozenset(redaction.allow)
        self._allow_names = frozenset(normal(name) for name in redaction.allow)
        self._keys = frozenset(normal(name) for name in redaction.keys)
        shapes = [shape for shape in CREDENTIALS + PERSONAL if shape.kind not in self._allow]
        self._rules = [Rule(s.kind, re2.compile(s.pattern, _LATIN), s.check) for s in shapes]
        self._hints = _hints(shapes)
        self._custom = list(_custom(redaction, self._allow))
        self._stems = re2.compile(b"(?i)" + _stems(redaction), _LATIN)
        self._heads = re2.compile(_HEADS.replace(b"STEMS", _stems(redaction)), _LATIN)
        self.kind_of = lru_cache(maxsize=4096)(self._kind_of)
        self.scrub_name = lru_cache(maxsize=4096)(self._scrub_name)  # the same few names stand in every line

    def scrub(self, text: bytes, *, stop: int | None = None, cut: bool = False) -> bytes:
        """The text with its secrets replaced. Only what starts before `stop` is returned; `cut`: the text goes on where it ends here."""
        stop = len(text) if stop is None else min(stop, len(text))
        if not self._enabled:
            return text[:stop]
        found = Found(self._hints.Match(text) or [], self._heads.search(text) is not None)
        quick = not (found.rules or found.names or self._custom)
        if quick and not cut and self._no_document(text):
            return text[:stop]
        out: list[bytes] = []
        position = 0
        while position < stop and (start := JSON_START.search(text, position)):
            if start.start() > position:
                out.append(self._plain(text[position : start.start()], stop - position, False, found))
            if start.start() >= stop:
                return b"".join(out)
            position = Walk(text, stop, cut, self.kind_of, self.scrub, quick).run(start.start(), out)
        if position < stop:
            out.append(self._plain(text[position:], stop - position, cut, found))
        return b"".join(out)

    def scrub_text(self, text: str) -> str:
        """For error texts and event fields. Lone surrogates come out escaped."""
        return self.scrub(text.encode("utf-8", "backslashreplace")).decode("utf-8", "replace")

    def scrub_target(self, target: str) -> str:
        """For a path with its query: percent-encoded secrets are found too, one parameter at a time."""
        parts = re.split(r"([?&;/])", target)
        return self.scrub_text("".join(self._scrub_part(part) for part in parts))

    def _scrub_name(self, name: str) -> str:
        """For names the caller chose (a tool, a run): a credential in their place is hidden."""
        raw = name.encode("utf-8", "backslashreplace")
        rules = self._hints.Match(raw) or []
        found = [span for span in self._shapes(raw, rules) if span.kind not in ("phone", "card", "iban", "national_id")]
        return _apply(raw, found, len(raw)).decode("utf-8", "replace") if found else name

    def _kind_of(self, name: str) -> str | None:
        """What a field of this name holds: None, "secret", "secrets" (numbers are counts), or an identity's kind."""
        compared = normal(name) if self._keys or self._allow_names else ""
        if compared in self._allow_names and compared:
            return None
        if compared in self._keys and compared:
            return "secret"
        kind = secret_kind(name)
        return None if kind in self._allow else kind

    def _scrub_part(self, part: str) -> str:
        if "%" not in part and "+" not in part:
            return part
        name, equals, value = part.partition("=")
        decoded = unquote_to_bytes(value if equals else name)
        if equals and (kind := self.kind_of(unquote_to_bytes(name).decode("utf-8", "replace"))) and value:
            return f"{name}={replacement(kind).decode()}"
        hidden = self.scrub(decoded)
        if hidden == decoded:
            return part
        return name + equals + hidden.decode("utf-8", "replace") if equals else hidden.decode("utf-8", "replace")

    def _no_document(self, text: bytes) -> bool:
        """No JSON, or none that has a telling name, an escape that could hide one, or a form that fits no line."""
        if JSON_START.search(text) is None:
            return True
        return b"\\" not in text and b"\n" not in text and self._stems.search(text) is None

    def _plain(self, text: bytes, stop: int, cut: bool, found: "Found") -> bytes:
        spans = list(self._shapes(text, found.rules))
        if found.names:
            spans += [Span(start, end, kind) for start, end, kind in assignments(text, self.kind_of)]
        if cut and (run := len(text.rstrip(_TOKEN_BYTES))) < len(text):
            spans.append(Span(run, len(text), "cut"))
        return _apply(text, spans, min(stop, len(text)))

    def _shapes(self, text: bytes, rules: list[int]) -> Iterator[Span]:
        for index in rules:
            kind, pattern, check = self._rules[index]
            group = min(1, pattern.groups)
            for match in pattern.finditer(text):
                start, end = match.span(group)
                if (check is None or check(text, start, end)) and not self._allowed(text[start:end]):
                    yield Span(start, end, kind)
        for kind, pattern, _ in self._custom:
            for match in pattern.finditer(text):
                if match.end() > match.start() and not self._allowed(match.group()):
                    yield Span(match.start(), match.end(), kind)

    def _allowed(self, value: bytes) -> bool:
        return bool(self._allow) and value.decode("utf-8", "replace") in self._allow


def _apply(text: bytes, spans: list[Span], stop: int) -> bytes:
    """Replaces the spans, overlapping ones as one. A span that begins before `stop` counts whole."""
    out: list[bytes] = []
    done = 0
    for start, end, kind in sorted(spans, key=lambda span: (span.start, -span.end)):
        if start >= stop:
            break
        if start >= done:
            out += (text[done:start], replacement(kind))
        done = max(done, end)
    out.append(text[done:stop])
    return b"".join(out)


def _hints(shapes: list[Shape]) -> "re2.Set":
    """One automaton that tells in one pass which shapes can be in a text at all."""
    options = re2.Options()  # with the default memory: a Set that runs out of it would find nothing
    options.encoding = re2.Options.Encoding.LATIN1
    hints = re2.Set.SearchSet(options)
    for shape in shapes:
        hints.Add(shape.hint)
    hints.Compile()
    return hints


def _custom(redaction: Redaction, allow: frozenset[str]) -> Iterator[Rule]:
    for name, pattern in redaction.patterns.items():
        if name in allow:
            continue
        try:
            yield Rule(name, re2.compile(pattern.encode(), _QUIET), None)
        except re2.error:
            continue


def _stems(redaction: Redaction) -> bytes:
    """Three letters of each name the policy adds, however its words are joined in a document."""
    added = [words[:3].encode() for name in redaction.keys if (words := normal(name))]
    return b"|".join([STEMS, *(re2.escape(stem) for stem in added)])
