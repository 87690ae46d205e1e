"""Puts what waits into words: the line of a call or an event, redacted and cut. The log's thread alone does this."""

from collections import Counter
from collections.abc import Callable

from gateway.model import Moment
from gateway.observers import lines
from gateway.observers.entries import Entry, Payload, Sampled, Told, Window
from gateway.observers.redaction.scrubber import Scrubber
from gateway.policy.snapshot import Observability

_BLANK = b" \t\r\n"
_NOT_SAMPLED, _SAMPLED = b',"sampled":false}\n', b',"sampled":true%b}\n'
_SMALLEST = 16
"""With fewer max_logged_bytes than this no payload is worth a key."""


class Wording:
    """As one policy after another wants it. `dropped` counts, by kind, the payloads that exceed the byte rate."""

    def __init__(self, observability: Observability, clock: Callable[[], Moment], dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._credit = _Credit(clock)
        self._observability = observability
        self._use(Scrubber(observability.redaction))

    def configure(self, observability: Observability) -> None:
        """For a reload, from any thread: lines that wait are redacted by the new rules."""
        if observability.redaction != self._observability.redaction:
            self._use(Scrubber(observability.redaction))
        self._observability = observability

    def _use(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._calls = lines.CallLines(scrubber.scrub_name)

    @property
    def problem(self) -> str | None:
        """Why lines that need redaction are not written; None while they are, and before there was one."""
        return self._scrubber.problem

    def line(self, entry: Entry) -> bytes:
        """Ends with a newline. Raises where the entry cannot be told without fault: nothing of it may be written then."""
        if isinstance(entry, Sampled):
            return self._sampled(entry)
        if isinstance(entry, Told):
            return lines.event_line(entry.event, self._scrubber.scrub_text, self._scrubber.scrub_name) + b"\n"
        return self._calls.line(entry) + _NOT_SAMPLED

    def _sampled(self, entry: Sampled) -> bytes:
        line = self._calls.line(entry.meta)
        if not self._credit.open(self._observability.max_log_bytes_per_second):
            self._dropped["payload"] += 1
            return line + _NOT_SAMPLED
        parts = self._payload_parts(entry.payload, lines.LONGEST_LINE - len(line) - len(_SAMPLED))
        self._credit.take(sum(map(len, parts.values())))
        shown = b"".join(b',"' + key.encode() + b'":' + value for key, value in parts.items())
        return line + _SAMPLED % shown

    def _payload_parts(self, payload: Payload, room: int) -> dict[str, bytes]:
        """target, args and result as JSON, each where there is one, in `room` bytes together with their keys."""
        parts: dict[str, bytes] = {}
        room -= len(',"target":,"args":,"result":')
        if payload.target and payload.limit:
            target = self._scrubber.scrub_text(payload.target).encode("utf-8", "backslashreplace")
            parts["target"] = lines.quote(target, min(lines.LONGEST_TARGET, room // 3), goes_on=False)
            room -= len(parts["target"])
        if payload.args.text and payload.limit >= _SMALLEST:
            share = room // 2 if payload.result.text else room
            parts["args"] = self._payload_value(payload.args, min(payload.limit, share))
            room -= len(parts["args"])
        if payload.result.text and payload.limit >= _SMALLEST:
            parts["result"] = self._payload_value(payload.result, min(payload.limit, room))
        return parts

    def _payload_value(self, window: Window, limit: int) -> bytes:
        if b"\0" in window.text:
            return b'"[binary]"'
        text = window.text.strip(_BLANK)
        scrubbed = self._scrubber.scrub(text, stop=limit, cut=window.cut)
        return lines.payload(scrubbed, limit, window.cut or len(text) > limit)


class _Credit:
    """max_log_bytes_per_second as a bucket of one second that may be overdrawn by one line."""

    def __init__(self, clock: Callable[[], Moment]) -> None:
        self._clock = clock
        self._level = float("inf")
        self._at = 0.0

    def open(self, per_second: int) -> bool:
        now = self._clock().mono
        self._level = min(float(per_second), self._level + (now - self._at) * per_second)
        self._at = now
        return self._level > 0

    def take(self, size: int) -> None:
        self._level -= size
