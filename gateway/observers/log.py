"""The log: records and events go into bounded queues, a thread of its own redacts and writes them. A call is never delayed by it.

The queues need no lock: the event loop alone appends and counts up, the writer alone takes and counts down.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

from gateway.model import Event, Moment, Record
from gateway.observers.entries import KINDS, LINE_BYTES, Entry, Payload, Sampled, Told, Window, kind, size_of
from gateway.observers.lines import LONGEST_LINE, META
from gateway.observers.redaction.scrubber import SURPLUS
from gateway.observers.sample import Sampler, failed
from gateway.observers.sink import Sink
from gateway.observers.wording import Wording
from gateway.policy.snapshot import Observability

QUEUE_BYTES: Final = 8 * 1024 * 1024
"""For call lines. As it fills, payloads are left out first, then lines of good calls, then those of denials and errors."""
PAYLOAD_SHARE, OK_SHARE = 0.5, 0.75
_FULL: Final = QUEUE_BYTES - LINE_BYTES
_FULL_FOR_OK: Final = int(QUEUE_BYTES * OK_SHARE) - LINE_BYTES
"""What may be queued already where one more line comes."""
_EVENTS = 2048
"""Events that wait at most. They are small and rare: policy, kill switch, breaker, runs that end."""
_IN_A_QUEUE_OF_THEIR_OWN = ("kill_switch", "policy_", "rollout", "breaker", "gateway_", "state_", "run_finished")
_BATCH_BYTES = 32 * 1024
_GATHER_SECONDS = 0.025
"""Lines are written in batches this far apart, so that the writer seldom competes with the event loop. Before the first one what redacts is
loaded: by then the start is over.
"""
_REPORT_SECONDS = 10.0
"""log_dropped lines are at least this far apart."""


class Log:
    """An Observer. `start` raises OSError where the file cannot be opened; after that nothing here fails a caller."""

    def __init__(
        self, path: str, *, observability: Observability, sample_key: bytes, clock: Callable[[], Moment]
    ) -> None:
        self._sink = Sink(path)
        self._clock = clock
        self._sampler = Sampler(sample_key)
        self._observability = observability
        self._lines: deque[Entry] = deque()
        self._events: deque[Told] = deque()
        self._added = 0
        self._taken = 0
        self._refused = _zeros()  # counted by the loop
        self._lost = _zeros()  # counted by the writer
        self._reported: Counter[str] = Counter()
        self._reported_at = float("-inf")
        self._wording = Wording(observability, clock, self._lost)
        self._wake = threading.Event()
        self._asleep = True
        """The writer waits to be woken, or is about to."""
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="log", daemon=True)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Since the start, by each of KINDS."""
        return {kind: self._refused[kind] + self._lost[kind] for kind in KINDS}

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, of QUEUE_BYTES."""
        return self._added - self._taken

    @property
    def problem(self) -> str | None:
        """Why lines cannot be written just now (`No space left on device`); None while all is well."""
        return self._sink.problem or self._wording.problem

    def configure(self, observability: Observability) -> None:
        """For a reload. Lines that wait are redacted by the new rules."""
        self._wording.configure(observability)
        self._observability = observability

    def start(self) -> None:
        self._sink.open()
        self._writer.start()

    def reopen(self) -> None:
        """For SIGHUP: the next line goes to whatever is at the path then."""
        self._sink.reopen = True

    def close(self, timeout: float) -> None:
        """Writes what waits, for at most `timeout` seconds; blocks the caller that long, even where nobody reads."""
        self._sink.stop_at = time.monotonic() + timeout * 0.9
        self._closing.set()
        self._wake.set()
        if self._writer.ident is not None:
            self._writer.join(timeout)
        if not self._writer.is_alive():
            self._sink.close()

    def call_ended(self, record: Record) -> None:
        """On the call's path: a look-up, a slice, an append."""
        full = self._added - self._taken
        if full > _FULL_FOR_OK and (full > _FULL or not failed(record)):
            self._refused[kind(record)] += 1
            return
        if self._sampler.wants(record, self._observability) and self._has_room(full):
            payload = self._windows(record)
            size = LINE_BYTES + len(payload.args.text) + len(payload.target) + len(payload.result.text)
            self._added += size
            self._lines.append(Sampled(record[:META], payload, size))
        else:
            self._added += LINE_BYTES
            self._lines.append(record[:META])
        if self._asleep:
            self._rouse()

    def happened(self, event: Event) -> None:
        if event.name.startswith(_IN_A_QUEUE_OF_THEIR_OWN):
            if len(self._events) >= _EVENTS:
                self._refused["event"] += 1
                return
            self._events.append(Told(event, self._added))
        else:
            if self._added - self._taken > _FULL_FOR_OK:
                self._refused["event"] += 1
                return
            self._added += LINE_BYTES
            self._lines.append(Told(event, self._added))
        self._rouse()

    def _rouse(self) -> None:
        self._asleep = False
        self._wake.set()

    def _has_room(self, full: int) -> bool:
        """May this line carry its payload? Counts one that it leaves out."""
        if full < QUEUE_BYTES * PAYLOAD_SHARE:
            return True
        self._refused["payload"] += 1
        return False

    def _windows(self, record: Record) -> Payload:
        limit = min(self._observability.max_logged_bytes, LONGEST_LINE)
        window = limit + SURPLUS
        args, result = record.args[:window], record.result[:window]
        return Payload(
            Window(args, len(args) < max(len(record.args), record.bytes_in)),
            record.target,
            Window(result, len(result) < max(len(record.result), record.bytes_out)),
            limit,
        )

    # From here on: the writer thread.

    def _run(self) -> None:
        while True:
            self._wake.wait(_REPORT_SECONDS)
            self._closing.wait(_GATHER_SECONDS)
            self._wake.clear()
            self._asleep = True  # before the queues are looked at: whoever comes behind that look rouses it again
            closing = self._closing.is_set()
            self._drain()
            if closing or self._sink.late:
                self._abandon()
                return

    def _drain(self) -> None:
        more = True
        while more and not self._sink.late:
            batch = _Batch()
            more = self._fill(batch)
            self._write(batch)

    def _fill(self, batch: "_Batch") -> bool:
        """Puts lines that wait into the batch, until it is full. False: no more wait."""
        while batch.size < _BATCH_BYTES and not self._sink.late:
            entry = self._next()
            if entry is None:
                return False
            batch.add(entry, self._rendered(entry))
        return True

    def _next(self) -> Entry | None:
        """The older head of the two queues."""
        if self._events and (not self._lines or self._events[0].after <= self._taken):
            return self._events.popleft()
        if not self._lines:
            return None
        entry = self._lines.popleft()
        self._taken += size_of(entry)
        return entry

    def _write(self, batch: "_Batch") -> None:
        due = self._closing.is_set() or time.monotonic() - self._reported_at >= _REPORT_SECONDS
        if due and self._unreported():
            told = Told(Event("log_dropped", self._clock(), {"dropped": self._report()}), 0)
            batch.add(told, self._wording.line(told))
        if batch.size and not self._sink.put(b"".join(batch.lines)):
            self._lost.update(map(kind, batch.entries))

    def _unreported(self) -> bool:
        return self._refused + self._lost != self._reported

    def _report(self) -> dict[str, int]:
        """What was dropped since the last report, by kind."""
        total = self._refused + self._lost
        fresh = total - self._reported
        self._reported, self._reported_at = total, time.monotonic()
        return dict(sorted(fresh.items()))

    def _abandon(self) -> None:
        while (entry := self._next()) is not None:
            self._lost[kind(entry)] += 1

    def _rendered(self, entry: Entry) -> bytes:
        try:
            return self._wording.line(entry)
        except Exception:  # noqa: BLE001  one line that cannot be rendered must not end the log
            self._lost[kind(entry)] += 1
            return b""


def _zeros() -> Counter[str]:
    """Every key from the start: one thread may add up what another counts only while no key comes or goes."""
    return Counter(dict.fromkeys(KINDS, 0))


class _Batch:
    """Lines that are written together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.entries: list[Entry] = []
        self.size = 0

    def add(self, entry: Entry, line: bytes) -> None:
        if line:
            self.lines.append(line)
            self.entries.append(entry)
            self.size += len(line)
