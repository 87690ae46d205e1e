"""Looks through percent-encoding and base64: a secret is one however it is spelled. Pure; work is linear in the text's length."""

import binascii
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import re2

from gateway.observers.redaction.spans import Span, replacement

_PERCENT_RUN = re.compile(rb"(?<![^\s\"'<>\\])[^\s\"'<>\\%]*+(?:%[^\s\"'<>\\%]*+)+")
"""A URL, a query or a form: in forms `+` is a space. Looked for only where a word begins, so that none is read twice."""
_FORM_RUN = re.compile(rb"(?<![^\s\"'?])[\w.\[\]-]{1,64}+=[^\s\"'<>\\%+?]*+\+[^\s\"'<>\\%?]*+")
"""A form with blanks and nothing else encoded."""
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_LATIN = re2.Options()
_LATIN.encoding = re2.Options.Encoding.LATIN1
_LONG_WORD = re2.compile(rb"[A-Za-z0-9+/_-]{24}", _LATIN)
_BASE64_RUN = re.compile(rb"(?<![\w+/-])[A-Za-z0-9+/_-]{24,}+={0,2}")
"""Looked for only where there is a word as long: RE2 tells that far sooner."""
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+")

_BETWEEN = b"\n<\n"
"""Between texts that are scanned together: no token, number or value goes on over it."""

Scan = Callable[[bytes], list[Span]]
"""What is to be hidden in a text."""


class _Run(NamedTuple):
    """A piece of the text that is encoded."""

    start: int
    end: int
    plain: bytes


def encoded(text: bytes, scan: Scan, *, together: bool) -> Iterator[Span]:
    """What is to be hidden because of what it says once decoded. `together`: one scan for all of it, or one for each piece."""
    for run, found in _scanned(list(_percent_runs(text)), scan, together):
        yield from _as_spelled(text, run, found)
    if _LONG_WORD.search(text):
        for run, _ in _scanned(list(_base64_runs(text)), scan, together):
            yield Span(run.start, run.end, replacement("encoded"))


def _percent_runs(text: bytes) -> Iterator[_Run]:
    patterns = [_PERCENT_RUN] * (b"%" in text) + [_FORM_RUN] * (b"+" in text and b"=" in text)
    spaced = text.replace(b"+", b" ")
    for pattern in patterns:
        for run in pattern.finditer(text):
            start, end = run.span()
            yield _Run(start, end, unquote_to_bytes(spaced[start:end]))


def _base64_runs(text: bytes) -> Iterator[_Run]:
    for run in _BASE64_RUN.finditer(text):
        if (plain := _plain(run[0])) is not None:
            yield _Run(*run.span(), plain)


def _scanned(runs: list[_Run], scan: Scan, together: bool) -> Iterator[tuple[_Run, list[Span]]]:
    """The runs in which something is to be hidden, and what. A scan costs far more than the reading of a short text."""
    if not together or len(runs) < 2:
        return ((run, spans) for run in runs if (spans := scan(run.plain)))
    found: dict[int, list[Span]] = {}
    starts = list(accumulate((len(run.plain) + len(_BETWEEN) for run in runs), initial=0))
    for start, end, shown in scan(_BETWEEN.join([run.plain for run in runs])):
        n = bisect_right(starts, start) - 1
        while n < len(runs) and starts[n] < end:
            first, last = max(0, start - starts[n]), min(len(runs[n].plain), end - starts[n])
            if first < last:
                found.setdefault(n, []).append(Span(first, last, shown))
            n += 1
    return ((runs[n], spans) for n, spans in found.items())


def _as_spelled(text: bytes, run: _Run, found: list[Span]) -> Iterator[Span]:
    """The same pieces of a run as those of its plain text: each code before a place moves it by two."""
    codes = [code.start() - run.start - 2 * n for n, code in enumerate(_PERCENT.finditer(text, run.start, run.end))]
    for start, end, shown in found:
        first, last = start + 2 * bisect_left(codes, start), end + 2 * bisect_left(codes, end)
        yield Span(run.start + first, run.start + last, shown)


def _plain(run: bytes) -> bytes | None:
    """The ASCII text that the run spells; None where it spells none, as random bytes and images do."""
    whole = run.rstrip(b"=").translate(_URLSAFE)
    try:
        plain = binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
    except binascii.Error:
        return None
    return plain if _TEXT.fullmatch(plain) else None
