"""Reading from sockets in small pieces, whichever side of the gateway they are on: what is read and not yet passed on is held in memory."""

import asyncio
from typing import Final

PIECE: Final = 16 * 1024
"""Bytes a read. uvloop reads up to 256 KB at once: with many slow readers on the other side that is what fills memory."""
READ_AHEAD = 4 * 1024
"""Bytes read but not taken by anyone before a socket is left alone (aiohttp doubles it, and a piece may come on top)."""

_piece: Final = memoryview(bytearray(PIECE))  # one for all: it is copied out before the loop reads again


class SmallReads(asyncio.BufferedProtocol):
    """Stands between a transport and the protocol it reads for."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.connection_made = protocol.connection_made  # type: ignore[method-assign]  # nothing to add: one call less
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
        self._data_received = protocol.data_received

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the protocol's signature
        return _piece

    def buffer_updated(self, nbytes: int) -> None:
        self._data_received(_piece[:nbytes].tobytes())
