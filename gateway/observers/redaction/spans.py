"""A piece of a text that is to be replaced, and the replacing. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """A piece of a text and what is shown in its place."""

    start: int
    end: int
    shown: bytes


@lru_cache(maxsize=256)
def replacement(kind: str) -> bytes:
    """What stands in a hidden value's place. It holds nothing that JSON would escape."""
    return b"[redacted]" if kind == "secret" else b"[cut]" if kind == "cut" else b"[redacted:" + kind.encode() + b"]"


def replaced(text: bytes, spans: Iterable[Span], stop: int) -> bytes:
    """The text up to `stop` with its spans replaced, overlapping ones as one. A span that begins before `stop` counts whole."""
    out: list[bytes] = []
    done = 0
    for start, end, shown in sorted(spans, key=lambda span: (span.start, -span.end)):
        if start >= stop:
            break
        if start >= done:
            out += (text[done:start], shown)
        done = max(done, end)
    out.append(text[done:stop])
    return b"".join(out)
