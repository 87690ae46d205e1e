"""Event streams taken apart while they pass: whole events where they are small, pieces of those that are not. Pure; bounded memory.

WHATWG HTML, 9.2: lines end in CR LF, LF or CR, an empty line ends an event.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

HELD_EVENT = 64 * 1024
"""Bytes: up to here an event is held until it is whole."""
LONGEST_EVENT = 8 << 20
"""Bytes of an event that is held however long, since it may have to be rewritten."""
_END = re.compile(rb"(?:\n|\r\n?+)(?:\n|\r\n?)")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_COMMENTS = re.compile(rb"(?::[^\r\n]*(?:\r\n|\n|\r(?!\Z)))+")
_BOM = b"\xef\xbb\xbf"
_LONGEST_END = 4


class EventTooLong(Exception):
    """An event that has to be rewritten is longer than LONGEST_EVENT."""


class Part(NamedTuple):
    """What came of a stream."""

    text: bytes
    whole: bool
    """It is one event, from its first line to the empty one. Else a piece of a long event, or comments."""


MustHold = Callable[[bytes], bool]


def never(_: bytes) -> bool:
    """A MustHold."""
    return False


def always(_: bytes) -> bool:
    """A MustHold."""
    return True


class Splitter:
    """Parts put together again are the stream, byte for byte."""

    def __init__(self, must_hold: MustHold = never) -> None:
        self._must_hold = must_hold
        """Asked once of an event that outgrows HELD_EVENT, with what has come of it."""
        self._held = bytearray()
        """The event that has begun."""
        self._holding = False
        """It has to be whole, however long."""
        self._tail: bytes | None = None
        """While a long event passes: its last bytes, in which its end may have begun."""

    @property
    def held(self) -> int:
        """Bytes."""
        return len(self._held)

    def feed(self, piece: bytes) -> list[Part]:
        """Raises EventTooLong."""
        parts: list[Part] = []
        at = 0
        if self._tail is not None:
            at = self._pass(self._tail, piece, parts)
        elif self._held:
            at = self._complete(piece, parts)
        while at < len(piece):
            end = _END.search(piece, at)
            if end is None:
                self._held += piece[at:]
                self._look(parts)
                break
            parts.append(Part(piece[at : end.end()], whole=True))
            at = end.end()
        return parts

    def end(self) -> list[Part]:
        """What is left where the stream ends: an event without its empty line, which some readers take all the same."""
        text = bytes(self._held)
        self._held.clear()
        return [Part(text, whole=True)] if text else []

    def _complete(self, piece: bytes, parts: list[Part]) -> int:
        """Adds to the event that is held. How much of the piece is used up."""
        before = len(self._held)
        self._held += piece
        end = _END.search(self._held, max(0, before - _LONGEST_END))
        if end is None:
            self._look(parts)
            return len(piece)
        parts.append(Part(bytes(self._held[: end.end()]), whole=True))
        self._held.clear()
        self._holding = False
        return end.end() - before

    def _look(self, parts: list[Part]) -> None:
        """Has what is held to be held any longer?"""
        if len(self._held) > HELD_EVENT:
            self._holding = self._holding or self._must_hold(bytes(self._held))
            if self._holding and len(self._held) <= LONGEST_EVENT:
                return
            if self._holding:
                raise EventTooLong
            self._tail = bytes(self._held[-_LONGEST_END:])
        elif self._held[-1] not in b"\r\n" or not _COMMENTS.fullmatch(self._held):
            return
        parts.append(Part(bytes(self._held), whole=False))
        self._held.clear()

    def _pass(self, tail: bytes, piece: bytes, parts: list[Part]) -> int:
        """More of a long event. How much of the piece belongs to it."""
        end = _END.search(tail + piece)
        used = len(piece) if end is None else max(0, end.end() - len(tail))
        if used:
            parts.append(Part(piece[:used], whole=False))
        self._tail = (tail + piece[-_LONGEST_END:])[-_LONGEST_END:] if end is None else None
        return used


def data_of(event: bytes) -> bytes:
    """What its `data` lines say."""
    return b"\n".join(_value(line) for line in _lines(event) if _name(line) == b"data")


def kind_of(event: bytes) -> bytes:
    """What its `event` line says, the last one where there are several."""
    return next((_value(line) for line in reversed(_lines(event)) if _name(line) == b"event"), b"")


def is_numbered(event: bytes) -> bool:
    """Has it an id, so that its reader can resume behind it?"""
    return any(_name(line) == b"id" for line in _lines(event))


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data, all its other lines as they are."""
    lines, said = [], False
    for match in _LINE.finditer(event):
        line, ending = match.groups()
        if _name(line.removeprefix(_BOM)) != b"data":
            lines.append(line + ending)
        elif not said:
            lines += [b"data: " + text + (ending or b"\n") for text in data.split(b"\n")]
            said = True
    return b"".join(lines)


def event_of(data: bytes) -> bytes:
    """An event of ours. `data` has no line breaks."""
    return b"event: message\ndata: " + data + b"\n\n"


def _lines(event: bytes) -> list[bytes]:
    return [match[1] for match in _LINE.finditer(event.removeprefix(_BOM))]


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0]


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].removeprefix(b" ")
