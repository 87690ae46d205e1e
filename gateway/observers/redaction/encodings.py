"""Looks through percent-encoding and base64: a secret is one however it is spelled. Pure; work is linear in the text's length."""

import binascii
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from gateway.observers.redaction.spans import Span, replacement

_PERCENT_RUN = re.compile(rb"(?<![^\s\"'<>\\])[^\s\"'<>\\%]*+(?:%[^\s\"'<>\\%]*+)+")
"""A URL, a query or a form: in forms `+` is a space. Looked for only where a word begins, so that none is read twice."""
_FORM_RUN = re.compile(rb"(?<![^\s\"'?])[\w.\[\]-]{1,64}+=[^\s\"'<>\\%+?]*+\+[^\s\"'<>\\%?]*+")
"""A form with blanks and nothing else encoded."""
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_BASE64_RUN = re.compile(rb"(?<![\w+/=-])[A-Za-z0-9+/_-]{24,}+={0,2}")
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+")

Scan = Callable[[bytes], list[Span]]
"""What is to be hidden in a text."""


def encoded(text: bytes, scan: Scan) -> Iterator[Span]:
    """What is to be hidden because of what it says once decoded."""
    if b"%" in text:
        for run in _PERCENT_RUN.finditer(text):
            yield from _in_percent(run, scan)
    if b"+" in text and b"=" in text:
        for run in _FORM_RUN.finditer(text):
            yield from _in_percent(run, scan)
    for run in _BASE64_RUN.finditer(text):
        plain = _plain(run[0])
        if plain is not None and scan(plain):
            yield Span(run.start(), run.end(), replacement("encoded"))


def _in_percent(run: "re.Match[bytes]", scan: Scan) -> Iterator[Span]:
    """The same pieces of the run that are to be hidden in what it says: each code before a place moves it by two."""
    codes = [code.start() - 2 * n for n, code in enumerate(_PERCENT.finditer(run[0]))]
    for start, end, shown in scan(unquote_to_bytes(run[0].replace(b"+", b" "))):
        first, last = (place + 2 * bisect_left(codes, place) for place in (start, end))
        yield Span(run.start() + first, run.start() + last, shown)


def _plain(run: bytes) -> bytes | None:
    """The ASCII text that the run spells; None where it spells none, as random bytes and images do."""
    whole = run.rstrip(b"=").translate(_URLSAFE)
    try:
        plain = binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
    except binascii.Error:
        return None
    return plain if _TEXT.fullmatch(plain) else None
