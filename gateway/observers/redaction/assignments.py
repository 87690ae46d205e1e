"""Finds `password=hunter2`, `Api-Key: abc`, `Cookie: a=b` in text that is no JSON, and tells them from prose and code. Pure."""

import re
from collections.abc import Callable, Iterator

import re2

_LATIN = re2.Options()
_LATIN.encoding = re2.Options.Encoding.LATIN1

_NAME = re.compile(rb"(?<![\w.\x80-\xff-])([\w.\x80-\xff-]++)(?:\\*+[\"'`]|\])?+[ \t]*+(=>|:=|=|:)[ \t]*+")
"""Looked for only where a word begins: no text is read twice, however often it fails."""
_QUOTED = re.compile(rb"""\\*(?:"(?:[^"\\]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?|`[^`]*+`?)""", re.DOTALL)
_ESCAPED = re.compile(rb"""\\+["'][^"'\\]*+""")
_NUMBER = re.compile(rb"[+(]?[A-Za-z]{0,2}\d(?:[ ().+/-]{0,3}\d){4,19}")
"""Of a phone, a card, an account: its groups belong together."""
_COOKIE = re.compile(rb"[^\r\n\"'<>=]{1,256}+=[^\r\n\"'<>]*+")
_SCHEME = re.compile(
    rb"(?:(?:bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256|key)[ \t]+)?([^\s\"'<>&;]+)", re.IGNORECASE
)
_CODE = re.compile(
    rb"[A-Za-z_][\w.]*[\[(]|(?:self|this|os|process|config|settings|env|args|request|req|options|params|ctx|props|kwargs|cfg)\."
)
_PLACEHOLDER = re.compile(rb"[$%{<*]|\[[A-Za-z]{3,12}[:\]]|\.\.\.")
_NO_VALUE = frozenset(
    b"none null nil true false str string bytes int bool undefined required optional any object number password token "
    b"bearer basic digest negotiate secret await async new const let var function def return if not is".split()
)
_OTHER = (
    (b"</", re2.compile(rb"<([\w.:-]+)(?:\s[^<>]*)?>([^<>]+)</", _LATIN)),
    (b"--", re2.compile(rb"--([A-Za-z][\w-]*)[ \t]+([^\s\"'-][^\s\"']*|\"[^\"]*\"?|'[^']*'?)", _LATIN)),
    (b"form-data", re2.compile(rb"\bname=\"?([\w.-]+)\"?[^\n]*\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]+)", _LATIN)),
)
"""XML elements, command line options and form parts: a byte string they all have, and (name, value)."""
_PROSE_AFTER = re.compile(rb"[ \t]+(?:[A-Za-z(]|[-+*/]=)")
_WORD = re.compile(rb"[A-Za-z]?[a-z]*(?:[A-Z][a-z]+)*|[A-Z]+")
_LINE_HEADERS = ("cookie", "setcookie")


def assignments(text: bytes, kind_of: Callable[[str], str | None]) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each value that stands beside a secret's name."""
    for sign, pattern in _OTHER:
        if sign in text:
            yield from _pairs(text, pattern, kind_of)
    done = 0
    for head in _NAME.finditer(text):
        start = head.end()
        if start <= done or text.endswith(b"[redacted:", 0, head.start()):
            continue
        name = head.group(1).decode("utf-8", "replace")
        kind = kind_of(name[-128:])
        if kind is None:
            continue
        end = _value_end(text, start, name, head.group(2))
        if kind not in ("secret", "secrets") and (number := _NUMBER.match(text, start)):
            end = max(end, number.end())
        if end > start and (kind in ("secret", "secrets") or _identifies(text[start:end])):
            done = end
            yield start, end, kind


def _pairs(text: bytes, pattern: "re2._Regexp", kind_of: Callable[[str], str | None]) -> Iterator[tuple[int, int, str]]:
    for pair in pattern.finditer(text):
        kind = kind_of(pair.group(1).decode("utf-8", "replace")[-128:])
        if kind and pair.group(2).strip() and (kind in ("secret", "secrets") or _identifies(pair.group(2))):
            yield pair.start(2), pair.end(2), kind


def _identifies(value: bytes) -> bool:
    """`email: none` and `phone: see below` hold no personal data."""
    return b"@" in value or any(48 <= byte <= 57 for byte in value)


def _value_end(text: bytes, start: int, name: str, separator: bytes) -> int:
    """Where the secret value ends; `start` where there is none to hide."""
    if text[start : start + 1] in (b'"', b"'", b"`", b"\\"):
        quoted = _ESCAPED.match(text, start) or _QUOTED.match(text, start)
        return quoted.end() if quoted and quoted.end() - start > 2 else start
    if name.lower().replace("-", "").endswith(_LINE_HEADERS) and (line := _COOKIE.match(text, start)):
        return line.end()
    match = _SCHEME.match(text, start)
    if match is None:
        return start
    value = match[1].rstrip(b",;.)]}`")
    end = match.start(1) + len(value)
    tight = separator == b"=" and text[start - 1 : start] not in (b" ", b"\t")
    if _PLACEHOLDER.match(text, match.start(1)) or _CODE.match(text, match.start(1)):
        return start
    return end if _literal(value, name, tight, _PROSE_AFTER.match(text, end) is not None) else start


def _literal(value: bytes, name: str, tight: bool, goes_on: bool) -> bool:
    """A value, not the next word of a sentence or of a program."""
    if not value or value.lower() in _NO_VALUE:
        return False
    if value.decode("utf-8", "replace") == name:
        return False
    return tight or not goes_on or not _WORD.fullmatch(value)
