"""Walks JSON that may be cut or broken, token by token, and hides values by name and by shape without changing its form. Pure."""

import json
import re
from collections.abc import Callable
from typing import Protocol

import orjson

JSON_START = re.compile(rb'\{\s*["}]|\[\s*(?:["{\[\]]|-?\d+(?:\.\d+)?\s*,)')
"""Where a text may turn into JSON."""

_GLUE = rb"([ \t\r\n]*[,:]?[ \t\r\n]*)"
_TOKEN = re.compile(
    _GLUE + rb'(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")|([{\[])|([}\]])|(-?\d[\d.eE+-]*|true|false|null))', re.DOTALL
)
_STRING, _OPENING, _CLOSING = 2, 3, 4
_BEFORE = re.compile(_GLUE)
_BARE = re.compile(rb"[^,}\]\n]+")
_NAMING = frozenset({"name", "key", "header", "field", "param", "parameter", "variable"})
_NAMED = frozenset({"value", "val", "content", "data"})
_PAIRED = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
_SHORTEST_SHAPE = 6
"""Bytes: `a@b.co`."""


class Scrub(Protocol):
    """Redactor.scrub."""

    def __call__(self, text: bytes, *, stop: int | None = None, cut: bool = False) -> bytes: ...


class _Frame:
    """One open object or array."""

    __slots__ = ("inherited", "is_object", "kind", "name", "name_read", "named")

    def __init__(self, is_object: bool, inherited: str | None) -> None:
        self.is_object = is_object
        self.inherited = inherited
        self.kind = inherited
        """What the value that comes next holds."""
        self.name = ""
        self.named: str | None = None
        """In `{"name": "password", "value": …}`: what the name says of the value."""
        self.name_read = False
        """A name was read, its value comes next."""


class Walk:
    """One pass over one JSON text. A token that the grammar does not expect ends it: the rest is text again."""

    def __init__(
        self, text: bytes, stop: int, cut: bool, kind_of: Callable[[str], str | None], scrub: Scrub, quick: bool
    ) -> None:
        """`quick`: no shape can be in the text, so strings without escapes are judged by their names alone."""
        self._text = text
        self._stop = stop
        self._cut = cut
        self._kind_of = kind_of
        self._scrub = scrub
        self._quick = quick
        self._stack: list[_Frame] = []

    def run(self, position: int, out: list[bytes]) -> int:
        """Appends what may be shown; returns where it stopped: behind the JSON, at a surprise, or at `stop`."""
        one_line = position == 0
        first = position
        while position < self._stop and (self._stack or position == first):
            token = _TOKEN.match(self._text, position)
            glue = token[1] if token else b""
            shown = self._take(token, glue.strip()) if token else None
            if token is None or shown is None:
                return self._broken(position, out)
            out.append(glue.strip() if one_line and b"\n" in glue else glue)
            out.append(shown)
            position = token.end()
        return position

    def _broken(self, position: int, out: list[bytes]) -> int:
        """A string without its end, or what stands beside a secret's name, is hidden whole; where that ends, text goes on."""
        before = _BEFORE.match(self._text, position)
        at = before.end() if before else position
        frame = self._stack[-1] if self._stack else None
        if self._text[at : at + 1] == b'"' and _TOKEN.match(self._text, at) is None:
            out.append(self._text[position:at] + b'"[cut]"')
            return len(self._text)
        if (
            frame is not None
            and (frame.name_read or frame.inherited)
            and frame.kind
            and (rest := _BARE.match(self._text, at))
        ):
            out.append(self._text[position:at] + b"[redacted]")
            return rest.end()
        return position

    def _take(self, token: "re.Match[bytes]", mark: bytes) -> bytes | None:
        """What is shown for the token; None where it does not fit."""
        frame = self._stack[-1] if self._stack else None
        kind = token.lastindex
        if kind == _CLOSING:
            return self._close(frame, token[_CLOSING]) if mark == b"" else None
        if frame is None:
            return self._open(None, token[_OPENING]) if kind == _OPENING and mark == b"" else None
        if frame.is_object:
            if not frame.name_read:
                return self._key(frame, token[_STRING]) if kind == _STRING and mark != b":" else None
            if mark != b":":
                return None
            frame.name_read = False
        elif mark == b":":
            return None
        if kind == _STRING:
            return self._string(frame, token[_STRING])
        if kind == _OPENING:
            return self._open(frame, token[_OPENING])
        return self._scalar(frame, token[kind or 0], token.end() == len(self._text))

    def _open(self, frame: _Frame | None, opening: bytes) -> bytes:
        self._stack.append(_Frame(opening == b"{", frame.kind if frame else None))
        return opening

    def _close(self, frame: _Frame | None, closing: bytes) -> bytes | None:
        if frame is None or frame.is_object != (closing == b"}"):
            return None
        self._stack.pop()
        return closing

    def _key(self, frame: _Frame, token: bytes) -> bytes:
        frame.name_read = True
        frame.name = _decoded(token).decode("utf-8", "replace")
        frame.kind = frame.inherited or self._kind_of(frame.name)
        if frame.kind is None and frame.named and frame.name.lower() in _NAMED:
            frame.kind = frame.named
        return self._shown(token)

    def _string(self, frame: _Frame, token: bytes) -> bytes:
        kind = frame.kind
        if kind:
            content = _decoded(token)
            if kind in ("secret", "secrets"):
                return b'"[redacted]"' if content else token
            if b"@" in content or any(48 <= byte <= 57 for byte in content):
                return b'"[redacted:' + kind.encode() + b']"'
        if not frame.is_object:
            paired = token[1:-1].lower().decode("utf-8", "replace") in _PAIRED
            frame.kind = "secret" if paired else frame.inherited
        elif frame.name.lower() in _NAMING:
            frame.named = self._kind_of(_decoded(token).decode("utf-8", "replace"))
        return self._shown(token)

    def _scalar(self, frame: _Frame, scalar: bytes, at_the_end: bool) -> bytes:
        if scalar in (b"true", b"false", b"null"):
            return scalar
        if self._cut and at_the_end:
            return b'"[cut]"'
        if frame.kind and frame.kind != "secrets":
            return b'"[redacted]"' if frame.kind == "secret" else b'"[redacted:' + frame.kind.encode() + b']"'
        if self._quick or len(scalar) < _SHORTEST_SHAPE:
            return scalar
        hidden = self._scrub(scalar)
        return scalar if hidden == scalar else b'"' + hidden + b'"'

    def _shown(self, token: bytes) -> bytes:
        """A string with what is hidden in it replaced; the very same bytes where nothing is."""
        if len(token) < _SHORTEST_SHAPE + 2 or (self._quick and b"\\" not in token):
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
