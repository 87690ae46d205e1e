"""Bytes both ways between two connections, handed on at once and in bounded memory. What they say is not looked at here."""

import asyncio
import socket
import struct

PIECE = 64 * 1024
"""Bytes a read, and all that one slow reader can leave with us. Larger than the pieces of small_reads.py, which wait for their reader in
other places as well; larger still is hardly faster (docs/performance.md).
"""
MOST_KEPT = 48 * 1024
"""Bytes read before the ends are joined, from which on a socket is left alone."""
_RESET = struct.pack("ii", 1, 0)

_piece = memoryview(bytearray(PIECE))  # one for all: it is copied out before the loop reads again


class End(asyncio.BufferedProtocol):
    """One end of a tunnel: the protocol of one of its two connections. What it reads before it is joined to the other end is kept."""

    __slots__ = ("_loop", "_lost", "_other", "end", "full", "heard", "kept", "passed", "transport")

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._other: End | None = None
        self._lost: asyncio.Future[None] | None = loop.create_future()
        self.kept = bytearray()
        self.passed = 0
        """Bytes handed to the other end."""
        self.heard = loop.time()
        """Loop time of the last of them, or of its peer's end."""
        self.end: asyncio.Future[None] = loop.create_future()
        """Done once its peer sends no more."""
        self.full = False
        """Its peer has yet to take what was written to it."""

    @property
    def ended(self) -> bool:
        """Its peer has said that it sends no more, or its connection is gone."""
        return self.end.done()

    @property
    def lost(self) -> bool:
        """Its connection is gone."""
        return self._lost is None

    @property
    def joined(self) -> bool:
        return self._other is not None

    def join(self, other: "End") -> None:
        """From now on what it reads goes to the other end, beginning with what was kept."""
        self._other = other
        self.heard = self._loop.time()
        kept, self.kept = bytes(self.kept), bytearray()
        if kept:
            self._pass(kept, other)
        if self.ended:
            self._pass_end(other)
        elif not other.full:
            self.transport.resume_reading()

    async def gone(self) -> None:
        """Waits until the connection is. May be cancelled, and asked again."""
        if self._lost is not None:
            await asyncio.shield(self._lost)

    def stirred(self) -> None:
        """More is kept, or no more will come. For those who wait for that before they join it."""

    def cut(self) -> None:
        """Ends the connection so that what came through it cannot look whole (RST, not FIN). Safe to call twice."""
        if self.lost:
            return
        wire = self.transport.get_extra_info("socket")
        if wire.family != socket.AF_UNIX:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio's signature has less than what every loop hands over
        self.transport.set_write_buffer_limits(0)  # whoever writes is stopped until all is with the kernel

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the protocol's signature
        return _piece

    def buffer_updated(self, nbytes: int) -> None:
        piece = bytes(_piece[:nbytes])
        if self._other is not None:
            self._pass(piece, self._other)
            return
        self.kept += piece
        if len(self.kept) >= MOST_KEPT:
            self.transport.pause_reading()
        self.stirred()

    def eof_received(self) -> bool:
        if not self.ended:  # uvloop says it again where reading is taken up behind it
            self.end.set_result(None)
            self.heard = self._loop.time()
            if self._other is not None:
                self._pass_end(self._other)
            self.stirred()
        return True  # the other direction may finish

    def connection_lost(self, exc: Exception | None) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost.set_result(None)
        if not self.ended:
            self.end.set_result(None)
        self.stirred()
        if self._other is not None and (exc is not None or not self._other.transport.is_closing()):
            self._other.cut()

    def pause_writing(self) -> None:
        self.full = True
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if self._other is not None and not self._other.ended:
            self._other.transport.resume_reading()

    def _pass(self, piece: bytes, other: "End") -> None:
        self.passed += len(piece)
        self.heard = self._loop.time()
        other.transport.write(piece)

    def _pass_end(self, other: "End") -> None:
        """Both have ended: what was written still goes out, then both connections are closed."""
        if other.ended:
            self.transport.close()
            other.transport.close()
        elif not other.lost:
            other.transport.write_eof()


class BothWays:
    """A tunnel: open to its target, and joined to its caller once the caller's first bytes have been found to be for that target."""

    __slots__ = ("_caller", "_target")

    def __init__(self, target: End) -> None:
        self._target = target
        self._caller: End | None = None

    @property
    def heard(self) -> float:
        return self._target.heard if self._caller is None else max(self._target.heard, self._caller.heard)

    @property
    def bytes_in(self) -> int:
        return 0 if self._caller is None else self._caller.passed

    @property
    def bytes_out(self) -> int:
        return self._target.passed

    def join(self, caller: End) -> None:
        """Lets the bytes through. At most once."""
        self._caller = caller
        if caller.lost or self._target.lost:
            self.close()
            return
        self._target.join(caller)
        caller.join(self._target)

    async def half_closed(self) -> None:
        if self._caller is not None:
            await asyncio.wait((self._target.end, self._caller.end), return_when=asyncio.FIRST_COMPLETED)

    async def gone(self) -> None:
        await self._target.gone()
        if self._caller is not None:
            await self._caller.gone()

    def close(self) -> None:
        self._target.cut()
        if self._caller is not None:
            self._caller.cut()
