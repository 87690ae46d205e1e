"""A way to the store on which what is asked, what is replied, or any byte takes its time."""

import asyncio
from contextlib import suppress
from typing import Self


class SlowWay:
    """Listens on `port` and passes on what it hears, so many bytes a second; what comes back, after `delay` seconds, what goes there, after
    `delay_there`.
    """

    def __init__(self, store: int) -> None:
        self.delay = 0.0
        self.delay_there = 0.0
        self.rate = 1e9
        self.port = 0
        self._store = store
        self._ways: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._store)
        for way in (self._pass(reader, back, there=True), self._pass(there, writer, there=False)):
            self._ways.add(asyncio.create_task(way))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        try:
            with suppress(OSError):
                while piece := await reader.read(65536):
                    delay = self.delay_there if there else self.delay
                    due = max(due + len(piece) / self.rate, loop.time() + delay)  # in their order
                    loop.call_at(due, _write, writer, piece)
        finally:
            writer.close()


def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    if not writer.is_closing():
        writer.write(piece)
