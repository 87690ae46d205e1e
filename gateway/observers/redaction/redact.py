"""Hides secrets and personal data in bytes that may be JSON, may hold JSON, may be cut anywhere. Pure; linear in the text's length.

Works on the text itself, never on a parsed copy, so numbers, order and doubled keys stay as the caller sent them.
"""

import re
from bisect import bisect_left
from functools import lru_cache

import re2

from gateway.observers.redaction.assignments import assignments
from gateway.observers.redaction.encodings import encoded
from gateway.observers.redaction.jsontext import JSON_START, Mark, Name, Walk, decoded_name, readable
from gateway.observers.redaction.keys import LONGEST_NAME, NAMED, NAMING, STEMS, normal, secret_kind
from gateway.observers.redaction.names import NUMBERS, is_random
from gateway.observers.redaction.rules import Rules
from gateway.observers.redaction.spans import Span, replaced, replacement
from gateway.policy.snapshot import Redaction

DEEPEST = 12
"""How often a document in a document in a document is opened."""
DEEPEST_CODE = 3
"""How often percent-encoding or base64 is looked through on the way."""

_LATIN = re2.Options()
_LATIN.encoding = re2.Options.Encoding.LATIN1
_HEADS = rb"(?i)(?:STEMS)[\w.\x80-\xff-]*(?:\\*[\"'`]|\])?[ \t]*(?:=|:|>)|--[\w-]*(?:STEMS)|form-data"
"""Where a value may follow a telling name: what assignments looks at closely."""
_TOKEN_BYTES = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/=_.%~-@:"
"""What a token, a key or an address is made of: a run of these that the window cuts is hidden whole."""
_LINE_BREAK = re.compile(rb"[ \t\r]*\n[ \t\r\n]*")


class Redactor:
    """Compiled once per policy; any thread may use it."""

    def __init__(self, redaction: Redaction) -> None:
        self._enabled = redaction.enabled
        self._allow_names = frozenset(normal(name) for name in redaction.allow) - {""}
        self._allow = frozenset(redaction.allow)
        self._keys = frozenset(normal(name) for name in redaction.keys) - {""}
        self._rules = Rules(redaction)
        self._asks = bool(redaction.patterns)
        self._stems = re2.compile(b"(?i)" + _stems(redaction), _LATIN)
        self._heads = re2.compile(_HEADS.replace(b"STEMS", _stems(redaction)), _LATIN)
        self.kind_of = lru_cache(maxsize=4096)(self._kind_of)
        self.kind_in_text = lru_cache(maxsize=4096)(self._kind_in_text)
        self.name = lru_cache(maxsize=4096)(self._name)
        self._scrubbed_name = lru_cache(maxsize=4096)(self._scrub_name)  # the same few names stand in every line
        self.custom = self._rules.custom

    def scrub(self, text: bytes, *, stop: int | None = None, cut: bool = False) -> bytes:
        """The text with its secrets replaced. Only what starts before `stop` is returned; `cut`: the text goes on where it ends here."""
        stop = len(text) if stop is None else min(stop, len(text))
        return replaced(text, self._spans(text, stop, cut), stop) if self._enabled else text[:stop]

    def inner(self, text: bytes, depth: int) -> bytes:
        """What a string says, which may be a document again; what is wrapped deeper than DEEPEST is hidden whole."""
        return replaced(text, self._spans(text, len(text), depth=depth), len(text))

    def scrub_text(self, text: str) -> str:
        """For error texts and event fields, paths and queries. Lone surrogates come out escaped."""
        return self.scrub(text.encode("utf-8", "backslashreplace")).decode("utf-8", "replace")

    def scrub_name(self, name: str) -> str:
        """For names the caller chose (a tool, a run): a credential in their place is hidden."""
        return name if not self._asks and is_random(name) else self._scrubbed_name(name)

    def _scrub_name(self, name: str) -> str:
        raw = name.encode("utf-8", "backslashreplace")
        found = self._rules.spans(raw, without=NUMBERS)
        return replaced(raw, found, len(raw)).decode("utf-8", "replace") if found else name

    def _kind_of(self, name: str) -> str | None:
        """What a field of this name holds: None, "secret", "secrets" (numbers are counts), or an identity's kind."""
        compared = normal(name) if self._keys or self._allow_names else ""
        if compared in self._allow_names:
            return None
        if compared in self._keys:
            return "secret"
        kind = secret_kind(name)
        return None if kind in self._allow else kind

    def _kind_in_text(self, name: bytes) -> str | None:
        """Of a name in text, which may run on from what stands before it."""
        return self.kind_of(name[-LONGEST_NAME:].decode("utf-8", "replace"))

    def _name(self, token: bytes) -> Name:
        name = decoded_name(token)
        return Name(self.kind_of(name), name.lower() in NAMING, name.lower() in NAMED)

    def _spans(self, text: bytes, stop: int, cut: bool = False, depth: int = 0) -> list[Span]:
        if depth > DEEPEST:
            return [Span(0, len(text), replacement("encoded"))]
        view = readable(text)
        found = self._rules.spans(view)
        if depth < DEEPEST_CODE:
            found += encoded(
                view, lambda plain: self._spans(plain, len(plain), depth=depth + 1), together=not self._asks
            )
        telling = self._heads.search(text) is not None
        if not (found or telling or cut or self._asks) and self._no_document(text):
            return []
        found.sort()
        spans: list[Span] = []
        position = 0
        walk: Walk | None = None
        while position < stop and (start := JSON_START.search(text, position)):
            walk = walk or Walk(
                text, view, self._marks(text, found, telling), self, asks=self._asks, cut=cut, depth=depth
            )
            spans += self._plain(text, position, start.start(), found, telling)
            position = max(walk.run(start.start(), stop), start.start() + 1)
            if (
                start.start() == 0 and depth == 0
            ):  # a document of its own may stand over several lines; the log's may not
                spans += (Span(line.start(), line.end(), b"") for line in _LINE_BREAK.finditer(text, 0, position))
        spans += walk.spans if walk else []
        spans += self._plain(text, position, len(text), found, telling)
        if cut and position < len(text) and (run := len(text.rstrip(_TOKEN_BYTES))) < len(text):
            spans.append(Span(max(run, position), len(text), replacement("cut")))
        return spans

    def _marks(self, text: bytes, found: list[Span], telling: bool) -> list[Mark]:
        """What the walk through a document looks out for, in order."""
        marks = [Mark(start, end, shown) for start, end, shown in found]
        if telling:
            heads = (match.span() for match in self._heads.finditer(text))
            # with a quote in it, it is a key's own end, and the walk reads keys; an escaped quote has its string read alone
            marks += (Mark(start, end, None) for start, end in heads if text.find(b'"', start, end) < 0)
            marks.sort(key=lambda mark: mark.start)
        return marks

    def _plain(self, text: bytes, start: int, end: int, found: list[Span], telling: bool) -> list[Span]:
        """What is to be hidden in a piece that is no JSON."""
        if start >= end:
            return []
        first, last = (bisect_left(found, place, key=lambda span: span.start) for place in (start, end))
        spans = [span for span in found[first:last] if span.end <= end]
        if telling:
            spans += (
                Span(start + at, start + to, replacement(kind))
                for at, to, kind in assignments(text[start:end], self.kind_in_text)
            )
        return spans

    def _no_document(self, text: bytes) -> bool:
        """No JSON, or none that has a telling name, an escape that could hide one, or a form that fits no line."""
        if JSON_START.search(text) is None:
            return True
        return b"\\" not in text and b"\n" not in text and self._stems.search(text) is None


def _stems(redaction: Redaction) -> bytes:
    """Three letters of each name the policy adds, however its words are joined in a document."""
    added = [words[:3].encode() for name in redaction.keys if (words := normal(name))]
    return b"|".join([STEMS, *(re2.escape(stem) for stem in added)])
