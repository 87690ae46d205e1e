"""Heads on the wire: a request head built and a reply head judged and filtered. Pure: bytes and strings in, bytes and strings out.

Header strings carry raw bytes as UTF-8 with surrogate escapes, the way aiohttp's parsers hand them over.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from gateway.hop_by_hop import HOP_BY_HOP

_OURS = HOP_BY_HOP | {"host", "content-length", "expect"}
"""Request headers the upstream code writes itself, or that only make sense to who writes them."""

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_TARGET = re.compile(r"[\x00-\x20\x7f]")

REPLY_HEAD = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"
)
"""A reply head without anything that two parsers could read differently. aiohttp's parser is lenient outside its debug mode: it takes
bare LF, folded lines, a blank before the colon (and then believes `Content-Length : 2`), other versions, control characters (which its
server then refuses to pass on) and empty lines in front."""


class RequestHeads:
    """Writes the request heads for one origin. What is the same for all calls is prepared once."""

    def __init__(self, authority: str, base_path: str = "", injected: Iterable[tuple[str, str]] = ()) -> None:
        injected = tuple(injected)
        self._base_path = base_path
        self._fixed = [f"Host: {authority}", *(f"{name}: {value}" for name, value in injected)]
        self._replaced = _OURS | {name.lower() for name, _ in injected}

    def head(self, method: str, target: str, headers: Iterable[tuple[str, str]], framing: str | None) -> bytes:
        """The head up to and including the empty line. `framing` is the one framing header, or None for no body.

        Raises ValueError where a part could break out of its line: doors check that first, this is the last look.
        """
        path = self._base_path + target
        if not path.startswith("/"):
            path = "/" + path
        if _TOKEN.fullmatch(method) is None or _NOT_IN_TARGET.search(path) is not None:
            raise ValueError("the request line holds a character that HTTP forbids")
        replaced = self._replaced
        passed_on = [f"{name}: {value}" for name, value in headers if _lower(name) not in replaced]
        framed = () if framing is None else (framing,)
        lines = [f"{method} {path} HTTP/1.1", *self._fixed, *framed, *passed_on, "\r\n"]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
            raise ValueError("a header value holds a line break or NUL")
        return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)  # the same few names come with every call
def _lower(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError("a header name holds a character that HTTP forbids")
    return name.lower()


def framing(method: str, size: int | None) -> str | None:
    """The framing header for a body of `size` bytes; None is a size not known beforehand."""
    if size is None:
        return "Transfer-Encoding: chunked"
    if size or method in _METHODS_WITH_BODY:
        return f"Content-Length: {size}"
    return None


def flaw(status: int, version: tuple[int, int], codings: list[str]) -> str | None:
    """Why a reply head that parsed cannot be trusted, or None. `codings` are the Transfer-Encoding lines.

    Conflicting or doubled Content-Length, and Content-Length beside Transfer-Encoding, the parser refuses itself.
    """
    if status == 101:
        return "switched protocols unasked"
    if codings and (version < (1, 1) or len(codings) > 1 or codings[0].lower() != "chunked"):
        return "answered with a transfer coding that is not plain chunked"
    return None


def end_to_end(headers: Iterable[tuple[str, str]], connection: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """A reply's headers without those that belong to its connection. `connection` are the Connection lines, which name more of them."""
    dropped: frozenset[str] | set[str] = HOP_BY_HOP
    for line in connection:
        dropped = dropped | {name.strip().lower() for name in line.split(",")}
    return tuple([(name, value) for name, value in headers if name.lower() not in dropped])


def announced_length(headers: Mapping[str, str]) -> int | None:
    """The Content-Length, which the parser has checked."""
    value = headers.get("Content-Length")
    return None if value is None else int(value)
