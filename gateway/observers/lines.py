"""Log lines: one JSON object each, at most 8 KiB, with nothing in them that could break a terminal or a line. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import orjson

from gateway.model import Event, Moment, Record

LONGEST_LINE = 8192
"""Bytes, without the newline."""
LONGEST_TARGET = 1024
"""Bytes of rest and query in a line."""
_LONGEST_NAME = 128
"""Characters of a field that the caller chose: what the longest valid tool name or run id has."""
_DEEPEST = 500
"""Brackets in a document that is logged as one: more could be deeper than readers' parsers go, and is logged as text."""

_UNSAFE = re.compile(
    "[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""What orjson leaves as it is and a terminal obeys or hides: Unicode's Cc, Cf, Zl and Zp, that is C1 controls, line separators, bidi marks,
invisible characters, tags.
"""
_LONG_NUMBER = re.compile(rb"\d{300}")

META: Final = Record._fields.index("args")
"""So many of a record's fields come before its payloads: `record[:META]` is cheap enough for the call's path, and small enough to keep."""
COMMON: Final = Record._fields.index("agent_id")
COMMON_END: Final = Record._fields.index("upstream")
"""`record[COMMON:COMMON_END]` is what many calls have in common."""
_MOST_READY, _MOST_RUNS = 4096, 4096
"""So many lines stand half ready, and so many run ids quoted. Callers can make up more: then they are made anew."""
_OPEN = (
    "ts", "call_id", "run_id", "trace_id", "args_hash", "duration_ms", "waited_ms", "bytes_in", "bytes_out", "cost_usd",
)  # fmt: skip
"""What a line that stands half ready leaves open, in its order."""
_PLACE = b"\0"
"""Stands for it, and in no JSON text."""
_NULL: Final = b"null"
_ZERO: Final = b"0.0"
_Ready = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""What stands around those."""
_NAMES_IN_EVENTS = frozenset(
    {
        "run_id", "agent_id", "upstream", "stop_reason", "policy", "version", "previous", "candidate", "live", "listen", "admin_listen",
    }
)  # fmt: skip
"""Fields of events that name something, as the same fields of calls do: their numbers stay, so that lines can be joined by them."""


def timestamp(wall: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    second = int(wall // 1)
    return f"{_second(second).decode()}.{int((wall - second) * 1000):03d}Z"


@lru_cache(maxsize=4)  # lines come in the order of time, many in each second
def _second(wall: int) -> bytes:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def call_fields(meta: tuple[object, ...], name: Callable[[str], str]) -> dict[str, object]:
    """A tool_call line's keys (SPEC 7), without sampled, args, target and result. `name` cleans what the caller chose."""
    (
        at, call_id, run_id, trace_id, args_hash, duration_ms, waited_ms, bytes_in, bytes_out, cost, agent_id, door, tool, effect,
        decision, reason, stop_reason, status, attempts, errors, policy, candidate, reported, *_,
    ) = meta  # fmt: skip
    line: dict[str, object] = {
        "ts": timestamp(at.wall if isinstance(at, Moment) else 0.0),
        "event": "tool_call",
        "call_id": call_id,
        "run_id": _named(run_id, name),
        "agent_id": _named(agent_id, name),
        "trace_id": _named(trace_id, name),
        "door": door,
        "tool": _named(tool, name),
        "effect": effect,
        "args_hash": args_hash,
        "decision": decision,
        "reason": reason,
        "stop_reason": stop_reason,
        "status": status,
        "attempts": attempts,
        "errors": errors,
        "duration_ms": round(duration_ms, 3) if isinstance(duration_ms, float) else duration_ms,
        "waited_ms": round(waited_ms, 3) if isinstance(waited_ms, float) else waited_ms,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "cost_usd": cost / 1_000_000 if isinstance(cost, int) else 0.0,
        "policy": policy,
        "candidate": candidate,
    }
    if reported is not None:
        line["report_reason"] = reported
    return line


class CallLines:
    """Puts calls into words, each as `call_fields` and `dumps` would. What calls have in common is cleaned and quoted once."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self._ready: dict[tuple[object, ...], _Ready] = {}
        self._runs: dict[str, bytes] = {}
        """Their ids, quoted."""
        self._second, self._time = -1, b""
        """Of the latest line: lines come in the order of time, many in each second."""

    def line(self, meta: tuple[Any, ...]) -> bytes:
        """Ends with the call's last field: neither `sampled` nor a brace follows yet."""
        common = meta[COMMON:COMMON_END]
        to_ts, to_id, to_run, to_trace, to_hash, to_duration, to_waited, to_in, to_out, to_cost, end = self._ready.get(
            common
        ) or self._make_ready(meta, common)
        at: Moment = meta[0]
        call_id: str = meta[1]
        run_id: str | None = meta[2]
        trace_id: str | None = meta[3]
        args_hash: str = meta[4]
        duration_ms: float = meta[5]
        waited_ms: float = meta[6]
        bytes_in: int = meta[7]
        bytes_out: int = meta[8]
        cost: int = meta[9]
        wall = at.wall
        second = int(wall)
        if second != self._second:
            self._second, self._time = second, _second(second)
        milliseconds = b"%d" % (1000 + int((wall - second) * 1000))  # in three digits
        run = _NULL if run_id is None else self._runs.get(run_id) or self._quoted(run_id)
        trace = _NULL if trace_id is None else self._quote(trace_id)
        waited = b"%.3f" % waited_ms if waited_ms else _ZERO
        spent = dumps(cost / 1_000_000) if cost else _ZERO
        return b'%b"%b.%bZ"%b"%b"%b%b%b%b%b"%b"%b%b%b%b%b%d%b%d%b%b%b' % (
            to_ts, self._time, milliseconds[1:], to_id, call_id.encode(), to_run, run, to_trace, trace,
            to_hash, args_hash.encode(), to_duration, b"%.3f" % duration_ms, to_waited, waited,
            to_in, bytes_in, to_out, bytes_out, to_cost, spent, end,
        )  # fmt: skip

    def _make_ready(self, meta: tuple[Any, ...], common: tuple[Any, ...]) -> _Ready:
        pairs = call_fields(meta, self._name).items()
        said = (b'"%b":' % key.encode() + (_PLACE if key in _OPEN else dumps(value)) for key, value in pairs)
        ready = cast("_Ready", tuple((b"{" + b",".join(said)).split(_PLACE)))
        if len(self._ready) >= _MOST_READY:
            self._ready.clear()
        self._ready[common] = ready
        return ready

    def _quoted(self, run_id: str) -> bytes:
        if len(self._runs) >= _MOST_RUNS:
            self._runs.clear()
        quoted = self._runs[run_id] = self._quote(run_id)
        return quoted

    def _quote(self, text: str) -> bytes:
        return dumps(_named(text, self._name))


def _named(value: object, name: Callable[[str], str]) -> object:
    return clean(name(value[:_LONGEST_NAME])) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Lone surrogates, which no JSON text may hold, spelled out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def escape(line: bytes) -> bytes:
    """The JSON text with invisible and line-breaking characters as \\u escapes."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(lambda match: _escaped(match[0]), line.decode("utf-8", "replace")).encode()


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def dumps(value: object) -> bytes:
    """JSON with nothing invisible in it. Raises TypeError for lone surrogates: `clean` first."""
    return escape(orjson.dumps(value))


def quote(text: bytes, limit: int, goes_on: bool) -> bytes:
    """The text as a JSON string of at most `limit` bytes; where it is longer or `goes_on`, it ends in an ellipsis."""
    shown = text[: limit + 3].decode("utf-8", "replace")
    if not goes_on and len(line := dumps(shown)) <= limit and len(text) <= limit:
        return line
    room = limit - 5
    while True:
        line = dumps(shown + "…")
        if len(line) <= limit:
            return line
        if not shown:
            return b'""'
        shown = shown[: min(len(shown) - 1, len(shown) * max(room, 0) // len(line))]


def payload(scrubbed: bytes, limit: int, goes_on: bool) -> bytes:
    """A JSON document as it is, anything else as a string; at most `limit` bytes. `goes_on`: there was more of it."""
    if not goes_on and len(scrubbed) <= limit and _document(scrubbed):
        line = escape(scrubbed)
        if len(line) <= limit:
            return line
    return quote(scrubbed, limit, goes_on)


def _document(text: bytes) -> bool:
    if b"\n" in text or b"\r" in text or _LONG_NUMBER.search(text) or text.count(b"[") + text.count(b"{") > _DEEPEST:
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def event_line(event: Event, text: Callable[[str], str], name: Callable[[str], str]) -> bytes:
    """A flat object: ts, event, and the event's fields; `text` and `name` redact them; shortened until the line fits."""
    head = {"ts": timestamp(event.at.wall), "event": event.name}
    for longest in (4096, 1024, 256, 64):
        fields = {
            clean(str(key)): _field(value, longest, name if key in _NAMES_IN_EVENTS else text)
            for key, value in list(event.fields.items())[:64]
        }
        line = dumps({**head, **fields, **head})
        if len(line) <= LONGEST_LINE:
            return line
    return dumps(head)


def _field(value: object, longest: int, scrub: Callable[[str], str]) -> object:
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else float(value)
    if isinstance(value, Mapping):
        return {clean(str(k)): _field(v, longest, scrub) for k, v in list(value.items())[:64]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_field(item, longest, scrub) for item in list(value)[:64]]
    text = clean(scrub(str(value)[: longest + 1024]))
    return text if len(text) <= longest else text[:longest] + "…"
