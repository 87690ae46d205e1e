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
_NO_LITERAL = re.compile(
    rb"[$%{<*]|\[[A-Za-z]{3,12}[:\]]|\.\.\.|[A-Za-z_][\w.]*[\[(]|"
    rb"(?:self|this|os|process|config|settings|env|args|request|req|options|params|ctx|props|kwargs|cfg)\."
)
"""A placeholder or a piece of a program, which names the value and does not hold it."""
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
_IDENTIFYING = re.compile(rb"[@\d]")
"""`email: none` and `phone: see below` hold no personal data."""

KindOf = Callable[[bytes], str | None]
"""What a value under this name is: None, "secret", "secrets" or the kind of an identity."""


def assignments(text: bytes, kind_of: KindOf) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each value that stands beside a secret's name."""
    for sign, pattern in _OTHER:
        if sign in text:
            yield from _pairs(text, pattern, kind_of)
    done = 0
    for head in _NAME.finditer(text):
        kind = kind_of(head[1])
        if kind is None:
            continue
        start = head.end()
        if start <= done or text.endswith(b"[redacted:", 0, head.start()):
            continue
        end = _value_end(text, head)
        if kind not in ("secret", "secrets"):
            number = _NUMBER.match(text, start)
            end = max(end, number.end()) if number else end
            if not _IDENTIFYING.search(text, start, end):
                continue
        if end > start:
            done = end
            yield start, end, kind


def _pairs(text: bytes, pattern: "re2._Regexp", kind_of: KindOf) -> Iterator[tuple[int, int, str]]:
    for pair in pattern.finditer(text):
        kind = kind_of(pair.group(1))
        if kind and pair.group(2).strip() and (kind in ("secret", "secrets") or _IDENTIFYING.search(pair.group(2))):
            yield pair.start(2), pair.end(2), kind


def _value_end(text: bytes, head: "re.Match[bytes]") -> int:
    """Where the secret value behind a name ends; where it starts if there is none to hide."""
    start, name = head.end(), head[1]
    if text[start : start + 1] in (b'"', b"'", b"`", b"\\"):
        quoted = _ESCAPED.match(text, start) or _QUOTED.match(text, start)
        return quoted.end() if quoted and quoted.end() - start > 2 else start
    if name[-6:].lower() == b"cookie" and (line := _COOKIE.match(text, start)):
        return line.end()
    match = _SCHEME.match(text, start)
    if match is None or _NO_LITERAL.match(text, match.start(1)):
        return start
    value = match[1].rstrip(b",;.)]}`")
    if not value or value == name or value.lower() in _NO_VALUE:
        return start
    end = match.start(1) + len(value)
    tight = head[2] == b"=" and head.end(2) == start
    return end if tight or not (_WORD.fullmatch(value) and _PROSE_AFTER.match(text, end)) else start
