"""Records by key that outlive the process and go when their time is up: what locks and leases are kept in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import orjson

from gateway.state.stores import StoreError

MOST_RECORDS = 10_000
MOST_BYTES = 16 << 20
"""Of all records, as they are written down."""
SWEPT = 4
"""Records whose time is up that a new one takes along: each is one more write."""
PutNote = Callable[[str, str | None], Awaitable[None]]
Fields = dict[str, Any]


class FullError(Exception):
    """One clause: there is no room for another."""


class Record(NamedTuple):
    """One, and when it goes (Unix seconds)."""

    until: float
    fields: Fields
    size: int
    """Bytes, as it is written down."""


class Shelf:
    """Constructed with the notes of the state store; `prefix` is its part of them. Raises StoreError where one cannot be read."""

    def __init__(self, prefix: str, notes: Mapping[str, str], put_note: PutNote) -> None:
        self.lock = asyncio.Lock()
        """Held by whoever changes something, from the look at what is there."""
        self._prefix = prefix
        self._put_note = put_note
        self._records = {
            name.removeprefix(prefix): _read(name, note) for name, note in notes.items() if name.startswith(prefix)
        }
        self._size = sum(record.size for record in self._records.values())
        self._due: list[tuple[float, str]] = []
        self._line_up()

    def find(self, key: str, now: float) -> Fields | None:
        """None where there is none any more."""
        record = self._records.get(key)
        return None if record is None or record.until <= now else record.fields

    async def put(self, key: str, until: float, fields: Fields, now: float) -> None:
        """In place of the earlier one. Raises StoreError and FullError, with nothing changed."""
        await self._sweep(now)
        note = orjson.dumps({"until": until, "fields": fields}).decode()
        before = self._records.get(key)
        size = self._size + len(note) - (0 if before is None else before.size)
        if size > MOST_BYTES or (before is None and len(self._records) >= MOST_RECORDS):
            raise FullError(f"{MOST_RECORDS} keys, or {MOST_BYTES} bytes of them, are kept already")
        await self._put_note(self._prefix + key, note)
        self._records[key], self._size = Record(until, fields, len(note)), size
        heappush(self._due, (until, key))

    async def _sweep(self, now: float) -> None:
        """Raises StoreError."""
        for _ in range(SWEPT):
            while self._due and self._due[0][0] <= now and self._lasts(self._due[0][1], now):
                heappop(self._due)  # it has been given more time, or is gone
            if not self._due or self._due[0][0] > now:
                break
            key = self._due[0][1]
            await self._put_note(self._prefix + key, None)
            heappop(self._due)
            self._size -= self._records.pop(key).size
        if len(self._due) > 2 * len(self._records) + 100:
            self._line_up()

    def _lasts(self, key: str, now: float) -> bool:
        record = self._records.get(key)
        return record is None or record.until > now

    def _line_up(self) -> None:
        self._due = [(record.until, key) for key, record in self._records.items()]
        heapify(self._due)


def _read(name: str, note: str) -> Record:
    try:
        match orjson.loads(note):
            case {"until": int() | float() as until, "fields": dict() as fields}:
                return Record(until, fields, len(note))
    except ValueError:
        pass
    remedy = "use the gateway that wrote it, or move the state away to start without"
    raise StoreError(f"GATEWAY_STATE: {name!r}, kept for /v1, cannot be read: {remedy}")
