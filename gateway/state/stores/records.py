"""The journal's form on disk: a change of the counts as a few dozen bytes with length and checksum, and back. No IO here."""

from functools import lru_cache
from math import isfinite
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from gateway.denial import Reason
from gateway.model import RunKey

HEADER = b"TGATEJ1\n"
"""How every file begins. Another version of the form has another number."""

CHARGE, REFUND, STEP, END = b"C", b"R", b"S", b"E"
_WORDS = {CHARGE: 1, REFUND: 1, STEP: 1, END: 2}
"""How many each kind has."""

_FRAME = Struct("<II")
"""Length and CRC-32 of what follows."""
_FIXED = Struct("<cddqi")
"""Kind, the run's start, the change's instant, micro-USD, announced step (0: none). Then agent, run id, words."""
_frame: Final = _FRAME.pack
_pack: Final = _FIXED.pack
_crc32: Final = crc32
_REASONS = frozenset(Reason)
_BETWEEN = "\0"
"""Stands in no name."""


class Entry(NamedTuple):
    """One record, read."""

    kind: bytes
    key: RunKey
    began: float
    """Unix time of the run's start: tells an anonymous window from the one before."""
    at: float
    """Unix time."""
    spend: int
    step: int | None
    words: tuple[str, ...]
    """The tool of a charge or refund; of an end why later calls are refused, and its stop_reason."""


def record(kind: bytes, key: RunKey, began: float, at: float, spend: int, step: int, words: str) -> bytes:
    """`words` are joined by NUL."""
    agent, run = key
    names = f"{agent}\0{run}\0{words}"
    # surrogatepass: whatever a name holds, writing it down must not fail.
    encoded = names.encode() if names.isascii() else names.encode("utf-8", "surrogatepass")
    payload = _pack(kind, began, at, spend, step) + encoded
    return _frame(len(payload), _crc32(payload)) + payload


def entries(data: bytes) -> tuple[list[Entry], int]:
    """A file's whole records, and how many bytes are left after them: of a record that was not written whole, or of damage.

    Nothing after the first record that does not fit its checksum is believed: a length that is wrong points anywhere. Nor is what
    no gateway of this version writes, however well it fits.
    """
    found: list[Entry] = []
    if not data.startswith(HEADER):
        return found, len(data)
    start = len(HEADER)
    while start + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, start)
        payload = data[start + _FRAME.size : start + _FRAME.size + length]
        if length < _FIXED.size or len(payload) < length or crc32(payload) != checksum:
            break
        entry = _entry(payload)
        if entry is None:
            break
        found.append(entry)
        start += _FRAME.size + length
    return found, len(data) - start


def _entry(payload: bytes) -> Entry | None:
    kind, began, at, spend, step = _FIXED.unpack_from(payload)
    try:
        key, words = _names(payload[_FIXED.size :])
    except ValueError:
        return None
    known = len(words) == _WORDS.get(kind) and (kind != END or words[0] in _REASONS)
    if not known or not isfinite(began) or not isfinite(at) or spend < 0 or step < 0:
        return None
    return Entry(kind, key, began, at, spend, step or None, words)


@lru_cache(maxsize=16384)  # a run makes many calls
def _names(names: bytes) -> tuple[RunKey, tuple[str, ...]]:
    """Raises ValueError."""
    agent, run, *words = names.decode("utf-8", "surrogatepass").split(_BETWEEN)
    return RunKey(agent, run), tuple(words)
