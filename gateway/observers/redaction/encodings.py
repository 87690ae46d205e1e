"""Looks through percent-encoding and base64: a secret is one however it is spelled. Pure; work is linear in the text's length."""

import binascii
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
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

_BETWEEN = b"\n<\n"
"""Between texts that are scanned together: no token, number or value goes on over it."""

Scan = Callable[[bytes], list[Span]]
"""What is to be hidden in a text."""


def encoded(text: bytes, scan: Scan, *, together: bool) -> Iterator[Span]:
    """What is to be hidden because of what it says once decoded. `together`: one scan for all of it, or one for each piece."""
    runs = list(_percent_runs(text))
    for run, found in _scanned(runs, [unquote_to_bytes(run[0].replace(b"+", b" ")) for run in runs], scan, together):
        yield from _as_spelled(run, found)
    codes = [(run, plain) for run in _BASE64_RUN.finditer(text) if (plain := _plain(run[0])) is not None]
    for run, _ in _scanned([run for run, _ in codes], [plain for _, plain in codes], scan, together):
        yield Span(run.start(), run.end(), replacement("encoded"))


def _percent_runs(text: bytes) -> Iterator["re.Match[bytes]"]:
    if b"%" in text:
        yield from _PERCENT_RUN.finditer(text)
    if b"+" in text and b"=" in text:
        yield from _FORM_RUN.finditer(text)


def _scanned(
    runs: list["re.Match[bytes]"], plain: list[bytes], scan: Scan, together: bool
) -> Iterator[tuple["re.Match[bytes]", list[Span]]]:
    """The runs whose plain text holds what is to be hidden, and what. A scan costs far more than to read a short text."""
    found: dict[int, list[Span]] = {}
    if together and len(plain) > 1:
        starts = list(accumulate((len(text) + len(_BETWEEN) for text in plain), initial=0))
        for start, end, shown in scan(_BETWEEN.join(plain)):
            n = bisect_right(starts, start) - 1
            while n < len(plain) and starts[n] < end:
                first, last = max(0, start - starts[n]), min(len(plain[n]), end - starts[n])
                if first < last:
                    found.setdefault(n, []).append(Span(first, last, shown))
                n += 1
    else:
        found = {n: spans for n, text in enumerate(plain) if (spans := scan(text))}
    return ((runs[n], spans) for n, spans in found.items())


def _as_spelled(run: "re.Match[bytes]", found: list[Span]) -> Iterator[Span]:
    """The same pieces of the run as those of its plain text: each code before a place moves it by two."""
    codes = [code.start() - 2 * n for n, code in enumerate(_PERCENT.finditer(run[0]))]
    for start, end, shown in found:
        first, last = (run.start() + place + 2 * bisect_left(codes, place) for place in (start, end))
        yield Span(first, last, shown)


def _plain(run: bytes) -> bytes | None:
    """The ASCII text that the run spells; None where it spells none, as random bytes and images do."""
    whole = run.rstrip(b"=").translate(_URLSAFE)
    try:
        plain = binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
    except binascii.Error:
        return None
    return plain if _TEXT.fullmatch(plain) else None
