"""The kinds of values a policy holds: each says in one phrase what it expects, so every error line reads the same way."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from gateway.policy import hosts, secrets
from gateway.policy.document.scalars import DATE, Ambiguous
from gateway.policy.plans.patterns import is_pattern, is_tool_name
from gateway.policy.schema.kinds import Form

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MCP_METHOD = re.compile(r"[A-Za-z0-9_$.-]+(?:/[A-Za-z0-9_$.-]+)*(?:/\*)?")
_NEVER_DENIED = frozenset(["initialize", "ping", "tools/call", "tools/*"])
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_OURS_TO_SET = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_BYTES = re.compile(r"([1-9][0-9]{0,17})(?: ?(KiB|MiB|GiB))?")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)")
_ROUTE_METHODS = frozenset(["ANY", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
REST = "{rest*}"
_PATH = re.compile(r"/|(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)+/?")


def integer(low: int, high: int) -> Form:
    """Within bounds, both included."""

    def take(value: int) -> int:
        if not low <= value <= high:
            raise ValueError
        return value

    return Form(f"an integer {low}..{high}", take, (int,), {"type": "integer", "minimum": low, "maximum": high})


def number(low: float, high: float) -> Form:
    """Within bounds, both included; an integer will do."""

    def take(value: float) -> float:
        if not low <= value <= high:
            raise ValueError
        return float(value)

    return Form(f"a number {low}..{high}", take, (int, float), {"type": "number", "minimum": low, "maximum": high})


def _only(allowed: Callable[[str], object]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not allowed(text):
            raise ValueError
        return text

    return read


def _read_usd(value: float) -> float:
    """Counts are whole millionths: a price that rounded to nothing would be a limit that does nothing."""
    millionths = value * 1_000_000
    if not 0 <= value <= 1_000_000 or abs(millionths - round(millionths)) > 0.001:
        raise ValueError
    return float(value)


def _read_bytes(value: str | int) -> int:
    match = _BYTES.fullmatch(str(value))
    size = int(match[1]) * _UNITS.get(match[2], 1) if match else 0
    if not 1 <= size <= 1 << 30:
        raise ValueError
    return size


def _read_time(value: str | Ambiguous) -> str:
    """RFC 3339, kept as text: the policy's version is a hash over what is written."""
    text = value.text if isinstance(value, Ambiguous) else value
    if not _TIME.fullmatch(text) or (isinstance(value, Ambiguous) and value.kind != DATE):
        raise ValueError
    unix_time(text)
    return text


def unix_time(text: str) -> float:
    """An RFC 3339 time as Unix seconds; ValueError where the calendar has no such time."""
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise ValueError from None


def _read_header_name(text: str) -> str:
    name = text.lower()
    if name in _OURS_TO_SET or name.startswith(("tool-gateway-", "proxy-")):
        raise ValueError("a header the gateway does not set itself")
    return _only(_HEADER_NAME.fullmatch)(text)


def _read_header_value(text: str) -> str:
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("printable ASCII text without space around it")
    return secrets.read_template(text)


def _read_token(text: str) -> str:
    if not secrets.is_reference(text):
        raise ValueError("a reference, ${env:NAME} or ${file:PATH}: secrets are injected, never written here")
    return secrets.read_template(text)


def _read_server_name(text: str) -> str:
    if text in ("default", "http"):
        raise ValueError(f"another name: {text} means something else already")
    return _only(_SERVER_NAME.fullmatch)(text)


def _read_mcp_method(text: str) -> str:
    if text in _NEVER_DENIED:
        raise ValueError(
            "another method: without initialize and ping nothing works, and calls have allowlist and denylist"
        )
    return _only(_MCP_METHOD.fullmatch)(text)


def _read_path(text: str) -> str:
    """The path a tool has at its upstream or at the native door; `{rest*}` may stand for its last part."""
    plain = text.removesuffix(REST) if text.endswith("/" + REST) else text
    if not plain.startswith("/"):
        raise ValueError("a path that starts with /")
    if "{" in plain or "}" in plain:
        raise ValueError(f"a path whose only placeholder is {REST} as its last part")
    if not _PATH.fullmatch(plain) or any(part in (".", "..") for part in plain.split("/")):
        raise ValueError("a path of plain ASCII: no escapes, query, dot segments or empty segments")
    return text


def _read_route(text: str) -> str:
    method, space, path = text.partition(" ")
    if not space or method not in _ROUTE_METHODS:
        known = ", ".join(sorted(_ROUTE_METHODS))
        raise ValueError(f'"METHOD /path" with a method of {known}')
    return f"{method} {_read_path(path)}"


def _read_file_path(text: str) -> str:
    return _only(lambda path: path and path.isprintable() and "${" not in path)(text)


Milliseconds = Annotated[int, integer(1, 3_600_000)]
ByteSize = Annotated[
    int, Form("a size 1..1073741824, in bytes or like 64 KiB", _read_bytes, (int, str), {"type": ["integer", "string"]})
]
Share = Annotated[float, number(0, 1)]
Usd = Annotated[float, Form("a number 0..1000000 with at most 6 decimals", _read_usd, (int, float), {"type": "number"})]
Text = Annotated[
    str, Form("printable text of at most 500 characters", _only(lambda t: t.isprintable() and len(t) <= 500))
]
Time = Annotated[str, Form("a time like 2026-01-31T12:00:00Z", _read_time, (str, Ambiguous))]
ToolName = Annotated[str, Form("a tool name like search.read", _only(is_tool_name))]
ToolPattern = Annotated[str, Form('a tool name, a prefix like "search.*", or "*"', _only(is_pattern))]
Identifier = Annotated[str, Form("1 to 128 characters of A-Za-z0-9._:-", _only(_IDENTIFIER.fullmatch))]
RunScope = Annotated[
    str,
    Form(
        "a run id, or AGENT/ID, of A-Za-z0-9._:-",
        _only(lambda t: t.count("/") <= 1 and all(_IDENTIFIER.fullmatch(part) for part in t.split("/"))),
    ),
]
UpstreamName = Annotated[str, Form("a name of A-Za-z0-9._-", _only(_UPSTREAM_NAME.fullmatch))]
ServerName = Annotated[str, Form("a name of A-Za-z0-9_-", _read_server_name)]
McpMethod = Annotated[str, Form("a method like prompts/get, or prompts/* for all below", _read_mcp_method)]
HeaderName = Annotated[str, Form("a header name", _read_header_name)]
HeaderValue = Annotated[str, Form("text", _read_header_value)]
Token = Annotated[str, Form("a reference, ${env:NAME} or ${file:PATH}", _read_token)]
Url = Annotated[hosts.BaseUrl, Form("an http or https URL", hosts.read_url)]
Endpoint = Annotated[hosts.BaseUrl, Form("an http or https URL", hosts.read_endpoint)]
Origin = Annotated[str, Form("an origin like https://app.example.com", hosts.read_origin)]
HostRule = Annotated[str, Form("a host name, *.suffix, * or an IP address", hosts.read_host_rule)]
Block = Annotated[str, Form("a CIDR block like 10.0.0.0/8", hosts.read_block)]
Path = Annotated[str, Form("a path that starts with /", _read_path)]
Route = Annotated[str, Form('"METHOD /path"', _read_route)]
FilePath = Annotated[str, Form("a file's path", _read_file_path)]
Budget = Annotated[int, integer(1, 1_000_000)]
Count = Annotated[int, integer(0, 1_000_000)]
NO_ENTRIES: Mapping[str, Any] = {}
