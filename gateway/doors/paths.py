"""Which request paths are taken, and what they say once decoded. Pure. What is ambiguous here is a bypass behind us, so it is refused."""

import re
from urllib.parse import unquote_to_bytes

PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,:@=-][A-Za-z0-9_~!$&'()*+,:@=.-]*)+/?|/")
"""Nearly every real path: nothing to decode, no segment that starts with a dot, none empty."""
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
AMBIGUOUS_ESCAPE = re.compile(r"%(?:2f|5c|00)", re.IGNORECASE)
NOT_IN_PATHS = re.compile(r"[^!-~]|[\\#]")
"""RFC 3986, 3.3: printable ASCII; a backslash is a slash to some servers, and a fragment is never sent."""


class PathError(ValueError):
    """One clause saying what is wrong with the path, without repeating it."""


def decoded(raw: str) -> str:
    """The path decoded once, for matching; the original bytes go on to the upstream. Raises PathError (SPEC 2)."""
    if PLAIN.fullmatch(raw):
        return raw
    if not raw.startswith("/"):
        raise PathError("the path must start with a slash")
    if NOT_IN_PATHS.search(raw):
        raise PathError("the path holds a backslash, a fragment, a space or a character outside ASCII")
    if BAD_ESCAPE.search(raw):
        raise PathError("the path holds a percent sign that two hex digits do not follow")
    if AMBIGUOUS_ESCAPE.search(raw):
        raise PathError("the path holds an encoded slash, backslash or NUL")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise PathError("the path's escapes are not UTF-8") from None
    segments = path.split("/")[1:]
    if "" in segments[:-1]:
        raise PathError("the path holds an empty segment")
    # Some servers cut a segment at its semicolon (RFC 3986 path parameters) before they resolve dots.
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        raise PathError("the path holds a dot segment")
    return path
