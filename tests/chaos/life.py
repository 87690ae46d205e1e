"""The gateway's process: started, ended in order or with kill -9, its disk filled; whatever it logs, the oracle is told."""

import asyncio
import json
import resource
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from typing import Any

from tests.chaos.oracle import Down, Line, Oracle
from tests.scenarios.installation import ANYWHERE, PATIENCE, Installation


class Life:
    """One process after the other, on the same files."""

    def __init__(self, installation: Installation, oracle: Oracle) -> None:
        self._installation = installation
        self._oracle = oracle
        self._process: Process | None = None
        self._full_since: float | None = None

    async def begin(self) -> None:
        """On ports that the system chooses."""
        installation = self._installation
        installation.data = installation.admin = ANYWHERE
        self._process = await installation.spawn("serve")
        self._started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._readers = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_errors())]
        async with asyncio.timeout(PATIENCE):
            started = await self._started
        installation.data, installation.admin = started["listen"], started["admin_listen"]
        now = asyncio.get_running_loop().time()
        self._oracle.restarts.append(now)
        if self._oracle.downs and self._oracle.downs[-1].end == float("inf"):
            self._oracle.downs[-1] = self._oracle.downs[-1]._replace(end=now)

    async def kill(self) -> None:
        """With kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """In order."""
        await self._end(signal.SIGTERM)

    def fill_disk(self, room: int) -> None:
        """The process's files can grow to so many bytes and no further."""
        if self._process is not None and self._full_since is None:
            self._full_since = asyncio.get_running_loop().time()
            self._limit(room)

    def free_disk(self) -> None:
        """There is room again."""
        if self._full_since is not None:
            self._limit(resource.RLIM_INFINITY)
            self._oracle.full.append((self._full_since, asyncio.get_running_loop().time()))
            self._full_since = None

    def _limit(self, room: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # it was killed meanwhile
                hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (room, hard))

    async def _end(self, signalled: signal.Signals) -> None:
        process, killed = self._process, signalled is signal.SIGKILL
        if process is None or process.returncode is not None:
            return
        began = asyncio.get_running_loop().time()
        self._oracle.downs.append(Down(began, float("inf"), killed))
        process.send_signal(signalled)
        async with asyncio.timeout(PATIENCE):
            code = await process.wait()
            await asyncio.gather(*self._readers)
        if code != (-signal.SIGKILL if killed else 0):
            self._oracle.faults.append(f"ended with {code} after {signalled.name}")
        self.free_disk()
        self._process = None

    async def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            if not text.endswith(b"\n"):
                return  # killed in the middle of a line
            line = json.loads(text)
            if line["event"] == "gateway_started":
                self._started.set_result(line)
            elif line["event"] == "tool_call":
                self._note(line)
            elif line["event"] in ("internal_error", "log_dropped"):
                self._oracle.faults.append(text.decode())

    def _note(self, line: dict[str, Any]) -> None:
        call = f"c{int(line['trace_id'], 16) - 1}"
        if call in self._oracle.lines:
            self._oracle.faults.append(f"{call} stands in the log twice")
        charged = round((line["cost_usd"] or 0) * 1_000_000)
        self._oracle.lines[call] = Line(line["reason"], line["attempts"], charged)

    async def _read_errors(self) -> None:
        """A gateway has nothing to say there while it runs: it would be a traceback."""
        assert self._process is not None
        assert self._process.stderr is not None
        text = (await self._process.stderr.read()).decode()
        if text:
            self._oracle.faults.append(f"standard error: {text}")
            if not self._started.done():
                self._started.set_exception(AssertionError(text))
