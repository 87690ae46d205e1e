"""Walks JSON that may be cut or broken, token by token, and says what to hide by name and by shape without changing its form. Pure."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import orjson

from gateway.observers.redaction.spans import Span, replacement

JSON_START = re.compile(rb'\{\s*["}]|\[\s*(?:["{\[\]]|-?\d+(?:\.\d+)?\s*,)')
"""Where a text may turn into JSON."""
LONGEST_KEY = 1024
"""Bytes of a name as it stands in a document, with its escapes. A longer one is a text."""

_TOKEN = re.compile(
    rb'[ \t\r\n,]*+(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")([ \t\r\n]*:)?|([{\[])|([}\]])|(-?\d[\d.eE+-]*+|true|false|null)|())',
    re.DOTALL,
)
"""The groups in the order of Walk._takes. The last is a surprise: nothing that JSON goes on with."""
_STRING, _SCALAR = 1, 5
_BEFORE = re.compile(rb"[ \t\r\n,]*+")
_BARE = re.compile(rb"[^,}\]\n]+")
_PAIRED = frozenset({b'"authorization"', b'"proxy-authorization"', b'"cookie"', b'"set-cookie"', b'"x-api-key"'})
"""In `["Cookie", "a=b"]`: what makes the next string secret."""
_NEVER = 1 << 62


class Name(NamedTuple):
    """What a field's name says."""

    kind: str | None
    """Of the value: None, "secret", "secrets" (numbers are counts) or an identity's kind."""
    names: bool
    """The value is itself the name of something: `{"name": "password", …}`."""
    named: bool
    """The value belongs to that name: `{…, "value": "hunter2"}`."""


class Mark(NamedTuple):
    """Where something may have to be hidden.

    `shown` is what to put there; None: a telling name, which may have its value in the same string, so that is to be read alone.
    """

    start: int
    end: int
    shown: bytes | None


class Reader(Protocol):
    """What the walk asks about single names and strings."""

    def name(self, token: bytes) -> Name: ...
    def inner(self, text: bytes, depth: int) -> bytes: ...
    def custom(self, text: bytes) -> Sequence[object]: ...


class _Frame:
    """One open object or array."""

    __slots__ = ("awaiting", "inherited", "is_object", "kind", "named", "names", "parent")

    def __init__(self, is_object: bool, parent: "_Frame | None") -> None:
        self.is_object = is_object
        self.parent = parent
        self.inherited: str | None = parent.kind if parent else None
        self.kind: str | None = self.inherited
        """What all values in here hold, and what the one that comes next holds."""
        self.awaiting = False
        """A name was read, its value comes next."""
        self.names = False
        self.named: str | None = None
        """In `{"name": "password", "value": …}`: what the name says of the value."""


class Walk:
    """One pass over the JSON in a text. A token that the grammar does not expect ends it: the rest is text again."""

    def __init__(
        self, text: bytes, view: bytes, marks: Sequence[Mark], reader: Reader, *, asks: bool, cut: bool, depth: int
    ) -> None:
        """`view`: what `readable` makes of the text; `marks` in order; `asks`: the reader has patterns for each string alone.

        `cut`: the text goes on where it ends; `depth`: how many texts this one stands in.
        """
        self.spans: list[Span] = []
        self._text = text
        self._view = view
        self._marks = marks
        self._reader = reader
        self._asks = asks
        self._cut = cut
        self._depth = depth
        self._frame: _Frame | None = None
        self._mark = 0
        self._escape = -1
        self._next = 0
        """Nothing before this place needs a look."""
        self._takes = (self._surprise, self._string, self._key, self._open, self._close, self._scalar, self._surprise)

    def run(self, position: int, stop: int) -> int:
        """Returns where it ended: behind the JSON, at a surprise, or behind `stop`. What to hide is in `spans`.

        May be called again for a later place, not for an earlier one.
        """
        self._begin(position)
        for token in _TOKEN.finditer(self._view, position):
            if not self._takes[token.lastindex or 0](token):
                return self._broken(token.start())
            if self._frame is None or token.end() >= stop:
                return token.end()
        return len(self._text)

    def _begin(self, position: int) -> None:
        self._frame = None
        self._seek(position)

    def _broken(self, position: int) -> int:
        """A string that the window cuts, or what stands beside a secret's name, is hidden whole; where that ends, text goes on."""
        before = _BEFORE.match(self._text, position)
        at = before.end() if before else position
        if self._cut and self._text[at : at + 1] == b'"' and self._text[at : at + 2] != b'""':
            token = _TOKEN.match(self._text, at)
            if token is not None and token.lastindex == len(self._takes) - 1:
                self.spans.append(Span(at, len(self._text), b'"[cut]"'))
                return len(self._text)
        frame = self._frame
        if frame and frame.kind and (frame.awaiting or frame.inherited) and (rest := _BARE.match(self._text, at)):
            self.spans.append(Span(at, rest.end(), b"[redacted]"))
            return rest.end()
        return position

    def _surprise(self, _: "re.Match[bytes]") -> bool:
        return False

    def _expected(self) -> _Frame | None:
        """The frame that takes a value now."""
        frame = self._frame
        if frame is None or not frame.is_object:
            return frame
        if not frame.awaiting:
            return None
        frame.awaiting = False
        return frame

    def _open(self, token: "re.Match[bytes]") -> bool:
        if self._frame is not None and self._expected() is None:
            return False
        self._frame = _Frame(self._text[token.end() - 1] == 123, self._frame)  # 123 is {
        return True

    def _close(self, token: "re.Match[bytes]") -> bool:
        frame = self._frame
        if frame is None or frame.awaiting or frame.is_object != (self._text[token.end() - 1] == 125):  # 125 is }
            return False
        self._frame = frame.parent
        return True

    def _key(self, token: "re.Match[bytes]") -> bool:
        frame = self._frame
        if frame is None or not frame.is_object or frame.awaiting:
            return False
        frame.awaiting = True
        name = self._reader.name(token[_STRING])
        frame.names = name.names
        frame.kind = frame.inherited or name.kind or (frame.named if name.named else None)
        if token.end(_STRING) > self._next:
            self._look(*token.span(_STRING))
        return True

    def _string(self, token: "re.Match[bytes]") -> bool:
        frame = self._expected()
        if frame is None:
            return False
        start, end = token.span(_STRING)
        if frame.kind and self._hidden_by_name(start, end, frame.kind):
            return True
        if not frame.is_object:
            if end - start < 24 and token[_STRING].lower() in _PAIRED:
                frame.kind = "secret"
        elif frame.names:
            frame.named = self._reader.name(token[_STRING]).kind
        if end > self._next:
            self._look(start, end)
        return True

    def _hidden_by_name(self, start: int, end: int, kind: str) -> bool:
        if kind in ("secret", "secrets"):
            if end - start > 2:
                self.spans.append(Span(start + 1, end - 1, b"[redacted]"))
            return True
        content = _decoded(self._text[start:end])
        if b"@" not in content and not any(48 <= byte <= 57 for byte in content):
            return False
        self.spans.append(Span(start + 1, end - 1, replacement(kind)))
        return True

    def _scalar(self, token: "re.Match[bytes]") -> bool:
        frame = self._expected()
        if frame is None:
            return False
        start, end = token.span(_SCALAR)
        shown = None
        if self._text[start] in b"tfn":
            return True
        if self._cut and end == len(self._text):
            shown = b"[cut]"
        elif frame.kind and frame.kind != "secrets":
            shown = replacement(frame.kind)
        elif end > self._next:
            shown = next((mark.shown for mark in self._inside(start, end)), None)
        if shown is not None:
            self.spans.append(Span(start, end, b'"' + shown + b'"'))
        return True

    def _look(self, start: int, end: int) -> None:
        """Hides what is in a string: by the marks in it, or, where they do not settle it, by reading what it says alone."""
        token = self._text[start:end]
        marks = self._inside(start + 1, end - 1)
        if (
            self._view.find(b"\\", start, end) >= 0
            or any(mark.shown is None for mark in marks)
            or (self._asks and self._reader.custom(token[1:-1]))
        ):
            content = _decoded(token)
            hidden = self._reader.inner(content, self._depth + 1)
            if hidden != content:
                self.spans.append(Span(start + 1, end - 1, orjson.dumps(hidden.decode("utf-8", "replace"))[1:-1]))
            return
        self.spans += [Span(mark.start, mark.end, mark.shown) for mark in marks if mark.shown is not None]

    def _inside(self, start: int, end: int) -> list[Mark]:
        """The marks within. A telling name that ends beyond has its value there; of what else reaches beyond, a look alone tells."""
        self._seek(start)
        found = []
        while self._mark < len(self._marks) and (mark := self._marks[self._mark]).start < end:
            if mark.end <= end:
                found.append(mark)
            elif mark.shown is not None:
                found.append(Mark(mark.start, end, None))
            self._mark += 1
        self._seek(end)
        return found

    def _seek(self, position: int) -> None:
        while self._mark < len(self._marks) and self._marks[self._mark].start < position:
            self._mark += 1
        if self._escape < position:
            found = self._view.find(b"\\", position)
            self._escape = _NEVER if found < 0 else found
        mark = self._marks[self._mark].start if self._mark < len(self._marks) else _NEVER
        self._next = 0 if self._asks else min(mark, self._escape)


def readable(text: bytes) -> bytes:
    """The text with `\\n`, `\\r` and `\\t` as the characters they stand for, each at its place: most strings need no decoding then."""
    if b"\\" not in text or b"\\\\" in text:
        return text
    return text.replace(b"\\n", b" \n").replace(b"\\r", b" \r").replace(b"\\t", b" \t")


def _decoded(token: bytes) -> bytes:
    """The string's characters; as they stand where its escapes are broken."""
    if b"\\" not in token:
        return token[1:-1]
    try:
        return str(orjson.loads(token)).encode()
    except ValueError:
        pass  # a lone surrogate, or a control character that is not escaped
    try:
        return str(json.loads(token.decode("utf-8", "replace"), strict=False)).encode("utf-8", "backslashreplace")
    except ValueError:
        return token[1:-1]


def decoded_name(token: bytes) -> str:
    """A key's name in a document; "" for what is too long to be one."""
    return _decoded(token).decode("utf-8", "replace") if len(token) <= LONGEST_KEY else ""
