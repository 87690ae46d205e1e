"""What waits to be written: records of calls, some with the beginnings of their payloads, and events."""

from typing import Any, Final, NamedTuple

from gateway.model import Decision, Event, Record
from gateway.observers.sample import FINE

KINDS = ("payload", "ok", "denial", "error", "event")
"""What can be dropped: a line's payloads alone, or a whole line."""
LINE_BYTES: Final = 1024
"""What a waiting line without its payloads counts: generous for its tuple and texts."""


class Window(NamedTuple):
    """The first bytes of a payload, and whether there were more."""

    text: bytes
    cut: bool


class Payload(NamedTuple):
    """What is kept of a call's payloads, and how many bytes of each the line may show."""

    args: Window
    target: str
    result: Window
    limit: int


Call = tuple[Any, ...]
"""`record[META]`: all that waits of most calls."""


class Sampled(NamedTuple):
    """A call whose payloads are shown."""

    meta: Call
    payload: Payload
    size: int


class Told(NamedTuple):
    """An event."""

    event: Event
    after: int
    """So many bytes were queued before it, all told: its place among the calls."""


Entry = Call | Sampled | Told
_REASON, _DECISION = Record._fields.index("reason"), Record._fields.index("decision")


def size_of(entry: Entry) -> int:
    """Bytes that it counts in the queue."""
    return entry.size if isinstance(entry, Sampled) else LINE_BYTES


def kind(entry: Entry) -> str:
    """Of KINDS, should the entry be dropped. A record is an entry, too."""
    if isinstance(entry, Told):
        return "event"
    meta = entry.meta if isinstance(entry, Sampled) else entry
    if meta[_DECISION] is not Decision.ALLOW:
        return "denial"
    return "ok" if meta[_REASON] in FINE else "error"
