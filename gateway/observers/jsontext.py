"""Walks JSON that may be cut or broken, token by token, and hides values by name and by shape without changing its form. Pure."""

import json
import re
from collections.abc import Callable
from typing import Protocol

import orjson

JSON_START = re.compile(rb'\{\s*["}]|\[\s*(?:["{\[\]]|-?\d+(?:\.\d+)?\s*,)')
"""Where a text may turn into JSON."""

_TOKEN = re.compile(
    rb'([ \t\r\n]*)(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")|([{\[])|([}\]])|([,:])|(-?\d[\d.eE+-]*|true|false|null))', re.DOTALL
)
_BLANK = re.compile(rb"[ \t\r\n]*")
_NAMING = frozenset({"name", "key", "header", "field", "param", "parameter", "variable"})
_NAMED = frozenset({"value", "val", "content", "data"})
_PAIRED = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})


class Scrub(Protocol):
    """Redactor.scrub."""

    def __call__(self, text: bytes, *, stop: int | None = None, cut: bool = False) -> bytes: ...


class _Frame:
    """One open object or array."""

    __slots__ = ("inherited", "is_object", "kind", "name", "named", "wants")

    def __init__(self, is_object: bool, inherited: str | None) -> None:
        self.is_object = is_object
        self.inherited = inherited
        self.kind = inherited
        """What the value that comes next holds."""
        self.name = ""
        self.named: str | None = None
        """In `{"name": "password", "value": …}`: what the name says of the value."""
        self.wants = "key" if is_object else "value"


class Walk:
    """One pass over one JSON text. A token that the grammar does not expect ends it: the rest is text again."""

    def __init__(self, text: bytes, stop: int, cut: bool, kind_of: Callable[[str], str | None], scrub: Scrub) -> None:
        self._text = text
        self._stop = stop
        self._cut = cut
        self._kind_of = kind_of
        self._scrub = scrub
        self._stack: list[_Frame] = []

    def run(self, position: int, out: list[bytes]) -> int:
        """Appends what may be shown; returns where it stopped: behind the JSON, at a surprise, or at `stop`."""
        whole = position == 0
        first = position
        while position < self._stop and (self._stack or position == first):
            token = _TOKEN.match(self._text, position)
            if token is None:
                return self._broken(position, out)
            shown = self._take(token)
            if shown is None:
                return position
            if not whole or b"\n" not in token[1]:
                out.append(token[1])
            out.append(shown)
            position = token.end()
        return position

    def _broken(self, position: int, out: list[bytes]) -> int:
        """A string without its end is hidden whole: what it would have become is not known."""
        blank = _BLANK.match(self._text, position)
        at = blank.end() if blank else position
        if self._text[at : at + 1] != b'"':
            return at
        out.append(b'"[cut]"')
        return len(self._text)

    def _take(self, token: "re.Match[bytes]") -> bytes | None:
        """What is shown for the token; None where it does not fit."""
        _, string, opening, closing, mark, scalar = token.groups()
        frame = self._stack[-1] if self._stack else None
        if opening:
            return self._open(frame, opening)
        if frame is None:
            return None
        if closing:
            return self._close(frame, closing)
        if mark:
            return self._mark(frame, mark)
        if frame.wants == "key" and string:
            return self._key(frame, string)
        if frame.wants != "value":
            return None
        frame.wants = "comma"
        return self._string(frame, string) if string else self._scalar(frame, scalar, token.end() == len(self._text))

    def _open(self, frame: _Frame | None, opening: bytes) -> bytes | None:
        if frame is not None:
            if frame.wants != "value":
                return None
            frame.wants = "comma"
        self._stack.append(_Frame(opening == b"{", frame.kind if frame else None))
        return opening

    def _close(self, frame: _Frame, closing: bytes) -> bytes | None:
        if frame.is_object != (closing == b"}"):
            return None
        self._stack.pop()
        return closing

    def _mark(self, frame: _Frame, mark: bytes) -> bytes | None:
        if frame.wants != ("colon" if mark == b":" else "comma"):
            return None
        frame.wants = "value" if mark == b":" or not frame.is_object else "key"
        return mark

    def _key(self, frame: _Frame, token: bytes) -> bytes:
        frame.wants = "colon"
        frame.name = _decoded(token).decode("utf-8", "replace")
        frame.kind = frame.inherited or self._kind_of(frame.name)
        if frame.kind is None and frame.named and frame.name.lower() in _NAMED:
            frame.kind = frame.named
        return self._shown(token)

    def _string(self, frame: _Frame, token: bytes) -> bytes:
        kind = frame.kind
        content = _decoded(token)
        if kind in ("secret", "secrets"):
            return b'"[redacted]"' if content else token
        if kind and (b"@" in content or any(48 <= byte <= 57 for byte in content)):
            return b'"[redacted:' + kind.encode() + b']"'
        if frame.is_object and frame.name.lower() in _NAMING:
            frame.named = self._kind_of(content.decode("utf-8", "replace"))
        elif not frame.is_object:
            frame.kind = "secret" if content.lower().decode("utf-8", "replace") in _PAIRED else frame.inherited
        return self._shown(token)

    def _scalar(self, frame: _Frame, scalar: bytes, at_the_end: bool) -> bytes:
        if scalar in (b"true", b"false", b"null"):
            return scalar
        if self._cut and at_the_end:
            return b'"[cut]"'
        if frame.kind and frame.kind != "secrets":
            return b'"[redacted]"' if frame.kind == "secret" else b'"[redacted:' + frame.kind.encode() + b']"'
        hidden = self._scrub(scalar) if len(scalar) >= 9 else scalar
        return scalar if hidden == scalar else b'"' + hidden + b'"'

    def _shown(self, token: bytes) -> bytes:
        """A string with what is hidden in it replaced; the very same bytes where nothing is."""
        if len(token) < 8:
            return token
        content = _decoded(token)
        hidden = self._scrub(content)
        if hidden == content:
            return token
        return orjson.dumps(hidden.decode("utf-8", "replace"))


def _decoded(token: bytes) -> bytes:
    """The string's characters; as they stand where its escapes are broken."""
    if b"\\" not in token:
        return token[1:-1]
    try:
        return str(json.loads(token.decode("utf-8", "replace"), strict=False)).encode("utf-8", "backslashreplace")
    except ValueError:
        return token[1:-1]
