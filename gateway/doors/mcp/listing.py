"""Answers to tools/list, filtered: the tools that may not be called are taken out, all other bytes stay as they are. Pure.

The text is walked, not parsed and written again: numbers, order, blanks and unknown fields of what is kept survive.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from gateway.doors.mcp.sse import data_of

Judge = Callable[[dict[str, object]], bool]
"""May the caller see this tool?"""

_BLANKS = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode
_BEFORE_TOOLS = frozenset({"tools", "nextCursor", "ttlMs", "cacheScope", "_meta", "resultType"})
_NOT_ANSWERS = frozenset({"method", "params", "error"})
_UNCACHED = {"ttlMs": "0", "cacheScope": '"private"'}
"""A filtered list is a policy's word at one moment: for one agent, until the next reload or kill."""


MOST_ELEMENTS = 20_000
"""Of a list, or members of an object: what a walk of some 50 ms on the loop gets through. Real servers list hundreds on a page."""
UNREADABLE = "the upstream's answer to tools/list cannot be read"


class ListError(ValueError):
    """The answer cannot be read, so it cannot be filtered either."""


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def filtered(body: bytes, judge: Judge) -> bytes | None:
    """The answer without the tools that `judge` refuses; None where it lists no tools. Raises ListError."""
    text = body.decode("utf-8", "surrogateescape")
    walk = _Walk(text, judge)
    try:
        walk.document(1 if text.startswith("\ufeff") else 0)
    except (ValueError, IndexError, RecursionError):
        raise ListError(UNREADABLE) from None
    return walk.result().encode("utf-8", "surrogateescape") if walk.found else None


def names_tools(data: bytes) -> bool:
    """Could it, or what its reader makes of it, be an answer to tools/list? A key is spelled out or in escapes."""
    return (b"tools" in data or b"\\u" in data) and data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def may_list(event: bytes) -> bool:
    """Of an event whose first part this is: could it still prove to be an answer to tools/list? (A call's result says `content` first,
    or something else that no list says before its tools.)
    """
    text = data_of(event).decode("utf-8", "surrogateescape")
    walk = _Walk(text, lambda _: True)
    try:
        walk.document(1 if text.startswith("\ufeff") else 0)
    except (ValueError, IndexError, RecursionError):
        pass  # it goes on behind the end
    if walk.found:
        return True
    if walk.said is None:  # nor may the document have begun
        return text.lstrip("\ufeff \t\n\r")[:1] in ("", "{", "[") and not _NOT_ANSWERS.intersection(walk.top)
    return _BEFORE_TOOLS.issuperset(walk.said)


class _Walk:
    """One walk through a document, noting what to replace."""

    def __init__(self, text: str, judge: Judge) -> None:
        self.found = False
        """There is a list of tools."""
        self.top: list[str] = []
        self.said: list[str] | None = None
        """The keys of the result so far; None: none has begun."""
        self._text = text
        self._judge = judge
        self._edits: list[_Edit] = []
        self._left = MOST_ELEMENTS

    def document(self, at: int) -> None:
        """An answer, or a list of them."""
        at = self._skip(at)
        end = self._array(at, self._answer) if self._text[at] == "[" else self._answer(at)
        if self._skip(end) != len(self._text):
            raise ValueError

    def result(self) -> str:
        pieces, at = [], 0
        for edit in sorted(self._edits):
            pieces += [self._text[at : edit.start], edit.text]
            at = edit.end
        return "".join((*pieces, self._text[at:]))

    def _answer(self, at: int) -> int:
        return self._object(at, self._top_member) if self._text[at] == "{" else self._value(at)

    def _top_member(self, key: str, at: int) -> int:
        self.top.append(key)
        if key != "result" or self._text[at] != "{":
            return self._value(at)
        self.said = []
        hints: list[_Edit] = []
        found, self.found = self.found, False

        def member(key: str, at: int) -> int:
            return self._result_member(key, at, hints)

        end = self._object(at, member)
        if self.found:
            self._edits += hints
        self.found = self.found or found
        return end

    def _result_member(self, key: str, at: int, hints: list[_Edit]) -> int:
        if self.said is not None:
            self.said.append(key)
        if key == "tools" and self._text[at] == "[":
            return self._tools(at)
        end = self._value(at)
        if key in _UNCACHED:
            hints.append(_Edit(at, end, _UNCACHED[key]))
        return end

    def _tools(self, at: int) -> int:
        self.found = True
        kept: list[str] = []
        seen = 0

        def tool(start: int) -> int:
            nonlocal seen
            seen += 1
            value, end = _decode(self._text, start)
            if isinstance(value, dict) and self._judge(value):
                kept.append(self._text[start:end])
            return end

        end = self._array(at, tool)
        if len(kept) < seen:
            self._edits.append(_Edit(at, end, f"[{','.join(kept)}]"))
        return end

    def _object(self, at: int, member: Callable[[str, int], int]) -> int:
        at = self._skip(at + 1)
        if self._text[at] == "}":
            return at + 1
        while True:
            key, at = _decode(self._text, at)
            if not isinstance(key, str):
                raise ValueError
            at = self._skip(member(key, self._past(":", at)))
            self._count()
            if self._text[at] == "}":
                return at + 1
            at = self._past(",", at)

    def _array(self, at: int, element: Callable[[int], int]) -> int:
        at = self._skip(at + 1)
        if self._text[at] == "]":
            return at + 1
        while True:
            at = self._skip(element(at))
            self._count()
            if self._text[at] == "]":
                return at + 1
            at = self._past(",", at)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError

    def _past(self, mark: str, at: int) -> int:
        at = self._skip(at)
        if self._text[at] != mark:
            raise ValueError
        return self._skip(at + 1)

    def _value(self, at: int) -> int:
        return _decode(self._text, at)[1]

    def _skip(self, at: int) -> int:
        match = _BLANKS.match(self._text, at)
        return at if match is None else match.end()
