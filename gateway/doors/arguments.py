"""What a call's arguments are, in one canonical form: for the schema guard, for the log's args_hash and for "identical". Pure."""

import json
from hashlib import sha256
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from orjson import OPT_SORT_KEYS, dumps, loads

_loads: Final = loads
_dumps: Final = dumps
_SORTED: Final = OPT_SORT_KEYS
"""Each call asks for them: compiled, what is final is found without a look into the module's dictionary."""
LONGEST_BY_HAND: Final = 64 * 1024
"""Bytes of a document that are worth the slow way, about 2 ms on the loop; a longer one is compared by its bytes."""


class ArgumentsError(ValueError):
    """One clause saying why the arguments cannot be judged, without repeating a value."""


def arguments_of(body: bytes, query: str) -> object:
    """The JSON body, or without a body the query as an object of strings (a repeated name is a list). Raises ArgumentsError.

    Strict, since the upstream's parser may read an ambiguous document otherwise than ours: UTF-8 without a byte order mark, no
    duplicate keys, no NaN.
    """
    if not body:
        return query_object(query)
    if query:
        raise ArgumentsError("a query beside a body; put all arguments into the body")
    if body.startswith(b"\xef\xbb\xbf"):
        raise ArgumentsError("the body starts with a byte order mark")
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ArgumentsError:
        raise
    except UnicodeDecodeError:
        raise ArgumentsError("the body is not UTF-8") from None
    except RecursionError:
        raise ArgumentsError("the body is nested too deeply") from None
    except ValueError:
        raise ArgumentsError("the body is not JSON") from None


def read_strictly(body: bytes) -> object:
    """A document that every parser reads alike, with its numbers as they are. Raises ArgumentsError.

    orjson refuses what is not UTF-8, starts with a byte order mark, holds NaN, infinity or half of a surrogate pair. Of two equal keys it
    keeps one, and integers over 64 bits become doubles: where that may be so, the document is read again, slowly.
    """
    try:
        found = _loads(body)
        plain = _dumps(found, option=_SORTED)
        if _taken_exactly(body, found, plain):
            return found
        return json.loads(body, object_pairs_hook=_unique)
    except ArgumentsError:
        raise
    except TypeError:  # orjson writes 254 levels
        raise ArgumentsError("the body is nested too deeply") from None
    except ValueError:
        raise ArgumentsError("the body is not strict JSON in UTF-8") from None


def query_object(query: str) -> dict[str, object]:
    """The query's names and values; a repeated name becomes a list."""
    found: dict[str, object] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


def args_hash(tool: str, method: str, rest: str, query: str, body: bytes) -> str:
    """SHA-256 hex over tool, method, rest, query and the canonical JSON body (a body that is not JSON: its bytes)."""
    return hash_of(tool, method, rest, query, comparable(body))


def hash_of(tool: str, method: str, rest: str, query: str, body: bytes) -> str:
    """args_hash of a call whose body is canonical already."""
    return sha256(names_of(tool, method, rest, query) + body).hexdigest()


def names_of(tool: str, method: str, rest: str, query: str) -> bytes:
    """The part of the hashed text in front of the body."""
    return "\0".join((tool, method, rest, query, "")).encode(errors="surrogateescape")  # a query may be any bytes


def comparable(body: bytes) -> bytes:
    """The body as it is hashed: in its canonical form where it looks like JSON."""
    return canonical(body) if body[:1] in (b"{", b"[", b" ", b'"') else body


def written(document: object) -> bytes:
    """The canonical form of a document that `read_strictly` read."""
    try:
        return _dumps(document, option=_SORTED)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def canonical(body: bytes) -> bytes:
    """One form for all spellings of a document: sorted keys, no blanks, shortest escapes and numbers. Never one form for two documents:
    what no form can hold exactly (a repeated key, a number that no double is, half of a surrogate pair) stays as it was spelled.
    """
    try:
        document = _loads(body)
        found = _dumps(document, option=_SORTED)
        if _taken_exactly(body, document, found):
            return found
        return _canonical_by_hand(body) if len(body) <= LONGEST_BY_HAND else body
    except (ValueError, ArithmeticError, RecursionError):  # not JSON, nested too deeply, or not to be held exactly
        return body


_SHAPE: Final = bytes(
    ord("0") if byte in b"0123456789." else ord("e") if byte == ord("E") else byte for byte in range(256)
)
_SHORTEST_MEMBER: Final = len('"":0,')
_LONG_NUMBER: Final = b"0" * 16
_TINY_NUMBER: Final = b"0e-000"


def _taken_exactly(body: bytes, document: object, found: bytes) -> bool:
    """Has orjson kept all of the body in the document that it found? It makes doubles of integers over 64 bits, and of two equal keys it
    keeps one. When in doubt no.

    A decimal of at most 15 digits is told from every other by its double, down to where doubles lose digits (1e-308). A key that vanished
    took its colon along, and within strings there are as many as before, unless one was spelled as an escape.
    """
    escapes, no_doubles = b"\\" in body, _has_no_doubles(document)
    if no_doubles and not escapes and len(body) - len(found) < _SHORTEST_MEMBER:
        return True  # all that orjson can have left out are blanks
    if (escapes and b"\\u003" in body) or body.count(b":") != found.count(b":"):
        return False
    if no_doubles:
        return True
    shape = body.translate(_SHAPE)
    return _LONG_NUMBER not in shape and _TINY_NUMBER not in shape


def _has_no_doubles(document: object) -> bool:
    """Told of an object of texts, integers and the like, which most arguments are; of anything deeper it is not known."""
    if not isinstance(document, dict):
        return False
    return not any(isinstance(value, (float, dict, list)) for value in document.values())


def _canonical_by_hand(body: bytes) -> bytes:
    """The same form, slowly. Raises ValueError, ArithmeticError, RecursionError."""
    document = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_exact)
    try:
        return _dumps(document, option=_SORTED)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _exact(spelled: str) -> float:
    # Imported here: half a megabyte for bodies that are rare.
    from decimal import Decimal

    number = float(spelled)
    if Decimal(repr(number)) != Decimal(spelled):
        raise ArgumentsError("the body holds a number that no double is")
    return number


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ArgumentsError("the body repeats a key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ArgumentsError(f"the body holds {name}, which is not JSON")
