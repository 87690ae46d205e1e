"""A reply that is read to its end before anyone gets it, so that several can have it."""

from collections.abc import AsyncIterator

from gateway.pipeline.progress import Progress
from gateway.state.buffers import Buffers

LARGEST_SHARED = 256 * 1024
"""Bytes: a longer body is not held, neither for those that joined nor for a later call (SPEC 5)."""


class CannotHold(Exception):
    """The reply has outgrown what may be held."""


class Held:
    """Where a reply is put instead of a connection. What it takes of the Buffers is given back with the call's room."""

    def __init__(self, buffers: Buffers, progress: Progress) -> None:
        self.pieces: list[bytes] = []
        self._size = 0
        self._buffers = buffers
        self._progress = progress

    async def write(self, piece: bytes) -> None:
        """Raises CannotHold, and has the piece all the same."""
        self.pieces.append(piece)
        self._size += len(piece)
        more = self._size - self._progress.room
        if self._size > LARGEST_SHARED or (more > 0 and not self._buffers.take(more)):
            raise CannotHold
        self._progress.room += max(0, more)

    async def end(self) -> None:
        """Nothing has to be written."""


async def again(pieces: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body once more from its beginning: the pieces already read, then the rest."""
    for piece in pieces:
        yield piece
    async for piece in rest:
        yield piece
