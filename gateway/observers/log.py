"""The log: records and events go into bounded queues, a thread of its own redacts and writes them. A call is never delayed by it.

The queues need no lock: the event loop alone appends and counts up, the writer alone takes and counts down.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.model import Decision, Event, Moment, Record
from gateway.observers import lines
from gateway.observers.redaction.redact import SURPLUS, Redactor
from gateway.observers.sample import Sampler, failed
from gateway.observers.sink import Sink
from gateway.policy.snapshot import Observability

KINDS = ("payload", "ok", "denial", "error", "event")
"""What can be dropped: a line's payloads alone, or a whole line."""
QUEUE_BYTES = 8 * 1024 * 1024
"""For call lines. As it fills, payloads are left out first, then lines of good calls, then those of denials and errors."""
PAYLOAD_SHARE, OK_SHARE = 0.5, 0.75
_LINE_BYTES = 1024
"""What a queued line without its payloads counts: generous for its tuple and texts."""
_EVENTS = 2048
"""Events that wait at most. They are small and rare: policy, kill switch, breaker, runs that end."""
_APART = ("kill_switch", "policy_", "rollout", "breaker", "gateway_", "state_", "run_finished")
_BATCH_BYTES = 32 * 1024
_BLANK = b" \t\r\n"
_SMALLEST = 16
"""With fewer max_logged_bytes than this no payload is worth a key."""
_GATHER_SECONDS = 0.1
"""Lines are written in batches this far apart, so that the writer seldom competes with the event loop."""
_TURN_SECONDS = 0.0005
"""A thread that computes keeps the interpreter for 5 ms unless it gives it up. After each line would be too often: changing
threads costs more than the line does.
"""
_REPORT_SECONDS = 10.0
"""log_dropped lines are at least this far apart."""


class _Window(NamedTuple):
    """The first bytes of a payload, and whether there were more."""

    text: bytes
    cut: bool


class _Payload(NamedTuple):
    args: _Window
    target: str
    result: _Window
    limit: int


class _Line(NamedTuple):
    number: int
    kind: str
    size: int
    meta: tuple[object, ...]
    payload: _Payload | None


class _Told(NamedTuple):
    number: int
    kind: str
    size: int
    event: Event


class Log:
    """An Observer. `start` raises OSError where the file cannot be opened; after that nothing here fails a caller."""

    def __init__(
        self, path: str, *, observability: Observability, sample_key: bytes, clock: Callable[[], Moment]
    ) -> None:
        self._sink = Sink(path)
        self._clock = clock
        self._sampler = Sampler(sample_key)
        self._observability = observability
        self._redactor = Redactor(observability.redaction)
        self._lines: deque[_Line | _Told] = deque()
        self._events: deque[_Told] = deque()
        self._number = 0
        self._added = 0
        self._taken = 0
        self._refused = _zeros()  # counted by the loop
        self._lost = _zeros()  # counted by the writer
        self._reported: Counter[str] = Counter()
        self._reported_at = float("-inf")
        self._credit = _Credit(clock)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Since the start, by kind: payload, ok, denial, error, event."""
        return self._refused + self._lost

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, of QUEUE_BYTES."""
        return self._added - self._taken

    @property
    def problem(self) -> str | None:
        """Why nothing can be written just now (`No space left on device`); None while all is well."""
        return self._sink.problem

    def configure(self, observability: Observability) -> None:
        """For a reload. Lines that wait are redacted by the new rules."""
        if observability.redaction != self._observability.redaction:
            self._redactor = Redactor(observability.redaction)
        self._observability = observability

    def start(self) -> None:
        self._sink.open()
        self._thread.start()

    def reopen(self) -> None:
        """For SIGHUP: the next line goes to whatever is at the path then."""
        self._sink.reopen = True

    def close(self, timeout: float) -> None:
        """Writes what waits, for at most `timeout` seconds; blocks the caller that long, even where nobody reads."""
        self._sink.stop_at = time.monotonic() + timeout * 0.9
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._sink.close()

    def call_ended(self, record: Record) -> None:
        """On the call's path: a hash, two slices, an append."""
        kind = "ok" if not failed(record) else "denial" if record.decision is not Decision.ALLOW else "error"
        full = self._added - self._taken
        if full + _LINE_BYTES > (QUEUE_BYTES * OK_SHARE if kind == "ok" else QUEUE_BYTES):
            self._refused[kind] += 1
            return
        payload, size = None, _LINE_BYTES
        if self._sampler.wants(record, self._observability):
            if full < QUEUE_BYTES * PAYLOAD_SHARE:
                payload = self._windows(record)
                size += len(payload.args.text) + len(payload.target) + len(payload.result.text)
            else:
                self._refused["payload"] += 1
        self._number += 1
        self._added += size
        self._lines.append(_Line(self._number, kind, size, lines.meta_of(record), payload))
        if not self._wake.is_set():
            self._wake.set()

    def happened(self, event: Event) -> None:
        told = _Told(self._number + 1, "event", _LINE_BYTES, event)
        if event.name.startswith(_APART):
            if len(self._events) >= _EVENTS:
                self._refused["event"] += 1
                return
            self._events.append(told)
        else:
            if self._added - self._taken + _LINE_BYTES > QUEUE_BYTES * OK_SHARE:
                self._refused["event"] += 1
                return
            self._added += _LINE_BYTES
            self._lines.append(told)
        self._number += 1
        self._wake.set()

    def _windows(self, record: Record) -> _Payload:
        limit = min(self._observability.max_logged_bytes, lines.LONGEST_LINE)
        window = limit + SURPLUS
        args, result = record.args[:window], record.result[:window]
        return _Payload(
            _Window(args, len(args) < max(len(record.args), record.bytes_in)),
            record.target,
            _Window(result, len(result) < max(len(record.result), record.bytes_out)),
            limit,
        )

    # From here on: the writer thread.

    def _run(self) -> None:
        while True:
            self._wake.wait(_REPORT_SECONDS)
            self._wake.clear()
            closing = self._closing.is_set()
            self._drain()
            if closing or self._sink.late:
                self._abandon()
                return
            self._closing.wait(_GATHER_SECONDS)

    def _drain(self) -> None:
        batch, turn_ends = _Batch(), time.monotonic() + _TURN_SECONDS
        while not self._sink.late and (entry := self._next()) is not None:
            batch.add(entry.kind, self._rendered(entry))
            if batch.size >= _BATCH_BYTES:
                self._write(batch)
                batch = _Batch()
            if time.monotonic() >= turn_ends:
                time.sleep(0)
                turn_ends = time.monotonic() + _TURN_SECONDS
        self._write(batch)

    def _next(self) -> _Line | _Told | None:
        """The older head of the two queues."""
        if self._events and (not self._lines or self._events[0].number < self._lines[0].number):
            return self._events.popleft()
        if not self._lines:
            return None
        entry = self._lines.popleft()
        self._taken += entry.size
        return entry

    def _write(self, batch: "_Batch") -> None:
        due = self._closing.is_set() or time.monotonic() - self._reported_at >= _REPORT_SECONDS
        if due and self._unreported():
            batch.add("event", self._report())
        if batch.size and not self._sink.put(b"".join(batch.lines)):
            self._lost.update(batch.kinds)

    def _unreported(self) -> bool:
        return self._refused + self._lost != self._reported

    def _report(self) -> bytes:
        total = self._refused + self._lost
        fresh = total - self._reported
        self._reported, self._reported_at = total, time.monotonic()
        return (
            lines.event_line(
                Event("log_dropped", self._clock(), {"dropped": dict(sorted(fresh.items()))}), self._redactor.scrub_text
            )
            + b"\n"
        )

    def _abandon(self) -> None:
        while (entry := self._next()) is not None:
            self._lost[entry.kind] += 1

    def _rendered(self, entry: _Line | _Told) -> bytes:
        try:
            if isinstance(entry, _Told):
                return lines.event_line(entry.event, self._redactor.scrub_text) + b"\n"
            return self._call_line(entry) + b"\n"
        except Exception:  # noqa: BLE001  one line that cannot be rendered must not end the log
            self._lost[entry.kind] += 1
            return b""

    def _call_line(self, entry: _Line) -> bytes:
        redactor, payload = self._redactor, entry.payload
        fields = lines.call_fields(entry.meta, redactor.scrub_name)
        if payload is not None and not self._credit.open(self._observability.max_log_bytes_per_second):
            self._lost["payload"] += 1
            payload = None
        fields["sampled"] = payload is not None
        head = lines.dumps(fields)
        if payload is None:
            return head
        parts = self._payload_parts(payload, lines.LONGEST_LINE - len(head))
        self._credit.take(sum(map(len, parts.values())))
        return head[:-1] + b"".join(b',"' + key.encode() + b'":' + value for key, value in parts.items()) + b"}"

    def _payload_parts(self, payload: _Payload, room: int) -> dict[str, bytes]:
        """target, args and result as JSON, each where there is one, in `room` bytes together with their keys."""
        parts: dict[str, bytes] = {}
        room -= len(',"target":,"args":,"result":')
        if payload.target and payload.limit:
            target = self._redactor.scrub_text(payload.target).encode("utf-8", "backslashreplace")
            parts["target"] = lines.quote(target, min(lines.LONGEST_TARGET, room // 3), goes_on=False)
            room -= len(parts["target"])
        if payload.args.text and payload.limit >= _SMALLEST:
            share = room // 2 if payload.result.text else room
            parts["args"] = self._payload_value(payload.args, min(payload.limit, share))
            room -= len(parts["args"])
        if payload.result.text and payload.limit >= _SMALLEST:
            parts["result"] = self._payload_value(payload.result, min(payload.limit, room))
        return parts

    def _payload_value(self, window: _Window, limit: int) -> bytes:
        if b"\0" in window.text:
            return b'"[binary]"'
        text = window.text.strip(_BLANK)
        scrubbed = self._redactor.scrub(text, stop=limit, cut=window.cut)
        return lines.payload(scrubbed, limit, window.cut or len(text) > limit)


def _zeros() -> Counter[str]:
    """Every key from the start: one thread may add up what another counts only while no key comes or goes."""
    return Counter(dict.fromkeys(KINDS, 0))


class _Batch:
    """Lines that are written together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.kinds: Counter[str] = Counter()
        self.size = 0

    def add(self, kind: str, line: bytes) -> None:
        if line:
            self.lines.append(line)
            self.kinds[kind] += 1
            self.size += len(line)


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
