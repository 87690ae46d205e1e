"""What a client POSTs, read so strictly that no server behind the gateway can read it otherwise. Pure.

Whatever is refused here is never forwarded, and what is forwarded are the original bytes.
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.doors.arguments import ArgumentsError, read_strictly
from gateway.policy.plans.patterns import LONGEST_NAME

CALL, LIST, PING, LISTEN = "tools/call", "tools/list", "ping", "subscriptions/listen"
PARSE_ERROR, INVALID_REQUEST, HEADER_MISMATCH = -32700, -32600, -32020
"""JSON-RPC 2.0, 5.1; the last one is MCP's (2026-07-28, basic/transports)."""
STATELESS = "2026-07-28"
"""The first protocol version without sessions. Versions are dates, so they compare as texts."""

_TOP = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset({"name", "arguments"})
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=", re.IGNORECASE)
_METHOD = re.compile(r"[!-~]+")
"""What a server that trims, or stops at NUL, cannot take for another one."""
_TYPE = re.compile(r"application/json[ \t]*(?:;[ \t]*charset=\"?utf-8\"?[ \t]*)?", re.IGNORECASE)


class MessageError(Exception):
    """Not to be forwarded: the JSON-RPC error code and HTTP status to answer with, and one sentence that repeats no value."""

    def __init__(self, code: int, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status


class Message(NamedTuple):
    """One JSON-RPC message."""

    method: str
    """"" for a response, which answers a request of the server's."""
    id: str | int | None = None
    """None: a notification."""
    named: str | None = None
    """What Mcp-Name must say of it: the tool, prompt, URI or task; None where it names none."""
    arguments: object = None
    """`params.arguments` of a tools/call, {} where there are none."""

    @property
    def is_request(self) -> bool:
        """Somebody waits for its answer."""
        return bool(self.method) and self.id is not None


class Headers(Protocol):
    """What aiohttp's case-insensitive multidict offers."""

    def get(self, key: str, /) -> str | None: ...

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


def read(body: bytes, headers: Headers) -> Message:
    """The message, or MessageError."""
    _check_form(headers)
    try:
        document = read_strictly(body)
    except ArgumentsError as error:
        raise MessageError(PARSE_ERROR, f"The message cannot be read: {error}.") from None
    if isinstance(document, list):
        raise _invalid("JSON-RPC batches are not taken; send one message a request")
    if not isinstance(document, dict):
        raise _invalid("the message must be a JSON object")
    message = _message(document)
    _agree(message, headers)
    return message


def is_callable(name: str) -> bool:
    """Can a tool of this name be called through the gateway, whatever the policy allows?"""
    return len(name) <= LONGEST_NAME and name.isprintable()


def stateless(headers: Headers) -> bool:
    """Does the caller speak the wire where closing a stream cancels its request?"""
    return (headers.get("MCP-Protocol-Version") or "") >= STATELESS


def _check_form(headers: Headers) -> None:
    kinds = headers.getall("Content-Type", ())
    if len(kinds) != 1 or not _TYPE.fullmatch(kinds[0]):
        raise MessageError(INVALID_REQUEST, "A message must be sent as Content-Type: application/json, in UTF-8.", 415)
    if any(coding.strip().lower() != "identity" for coding in headers.getall("Content-Encoding", ())):
        raise MessageError(INVALID_REQUEST, "A message must be sent without Content-Encoding.", 415)


def _message(document: dict[str, object]) -> Message:
    _check_keys(document, _TOP, "the message")
    if document.get("jsonrpc") != "2.0":
        raise _invalid('jsonrpc must be "2.0"')
    if "method" not in document:
        return _response(document)
    if "result" in document or "error" in document:
        raise _invalid("a message is a request or a response, not both")
    method, params = document["method"], document.get("params")
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise _invalid("method must be a text of visible ASCII characters")
    if method != CALL and method.lower() == CALL:
        raise _invalid("the method differs from tools/call only in case")
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise _invalid("params must be an object")
    identity = _id(document) if "id" in document else None
    if method == CALL:
        return _call(identity, params)
    named = params.get(_name_key(method) or "")
    return Message(method, identity, named if isinstance(named, str) else None)


def _response(document: dict[str, object]) -> Message:
    if ("result" in document) == ("error" in document):
        raise _invalid("a message has a method, a result or an error")
    return Message("")


def _call(identity: str | int | None, params: dict[str, object]) -> Message:
    _check_keys(params, _PARAMS, "params")
    name, arguments = params.get("name"), params.get("arguments")
    if identity is None:
        raise _invalid("tools/call needs an id")
    if not isinstance(name, str) or not name:
        raise _invalid("tools/call needs the tool's name as a text (params.name)")
    if arguments is not None and not isinstance(arguments, dict):
        raise _invalid("the arguments of tools/call must be an object (params.arguments)")
    return Message(CALL, identity, name, arguments or {})


def _id(document: dict[str, object]) -> str | int:
    found = document["id"]
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise _invalid("id must be a text or an integer")
    return found


def _check_keys(found: dict[str, object], known: frozenset[str], where: str) -> None:
    """Some servers match keys whatever their case (Go's encoding/json does): to them `Method` is a second `method`."""
    for key in found:
        if key not in known and key.casefold() in known:
            raise _invalid(f"{where} has a key that differs from one of {', '.join(sorted(known))} only in case")


def _agree(message: Message, headers: Headers) -> None:
    """What headers say of the body must be what it says (MCP 2026-07-28): something between may decide by them."""
    if message.method:
        _agrees("Mcp-Method", message.method, headers)
    if _name_key(message.method) is not None:
        _agrees("Mcp-Name", message.named, headers)


def _agrees(name: str, said: str | None, headers: Headers) -> None:
    lines = headers.getall(name, ())
    if lines and (len(lines) > 1 or _decoded(lines[0]) != said):
        raise MessageError(HEADER_MISMATCH, f"The header {name} does not say what the message says.")


def _name_key(method: str) -> str | None:
    """The key of `params` that Mcp-Name repeats."""
    return "taskId" if method.startswith("tasks/") else _NAMED_BY.get(method)


def _decoded(value: str) -> str | None:
    """A header's value, or what its `=?base64?…?=` form stands for; None where that is not UTF-8."""
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    try:
        return b64decode(match[1], validate=True).decode()
    except ValueError:
        return None


def _invalid(clause: str) -> MessageError:
    return MessageError(INVALID_REQUEST, f"The message is not valid: {clause}.")
