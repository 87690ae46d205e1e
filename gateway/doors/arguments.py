"""What a call's arguments are, in one canonical form: for the schema guard, for the log's args_hash and for "identical". Pure."""

import json
from hashlib import sha256
from typing import NoReturn
from urllib.parse import parse_qsl

import orjson


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
    if body[:1] in (b"{", b"[", b" ", b'"'):
        try:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
        except ValueError:  # not JSON, or nested beyond what orjson takes: its bytes stand for it
            pass
    parts = (part.encode(errors="surrogateescape") for part in (tool, method, rest, query))  # a query may be any bytes
    return sha256(b"\x00".join((*parts, body))).hexdigest()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ArgumentsError("the body repeats a key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ArgumentsError(f"the body holds {name}, which is not JSON")
