"""Where log lines go: stdout or a file. Waits for a slow reader, outlives a full disk and a vanished file."""

import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path

_SLICE = 4096
"""Bytes a write: a pipe that poll calls writable takes PIPE_BUF (4,096 on Linux) without blocking. A file takes all there is."""
_POLL_MS = 200
_RETRY_SECONDS = 0.5
_LOOK_SECONDS = 1.0
"""How often a file's place in its folder is looked at."""


class Sink:
    """Used by the writer thread alone, except for `stop_at` and `reopen`, which any thread may set."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        """Why nothing can be written just now; None while all is well."""
        self.stop_at: float | None = None
        """Monotonic seconds: from then on nothing is waited for."""
        self.reopen = False
        self._fd = 1 if path == "-" else -1
        self._is_file = False
        self._looked = 0.0

    def open(self) -> None:
        """Raises OSError. The file is appended to, and made for its owner alone (0600): it may hold payloads."""
        if self.path == "-":
            return
        # O_NONBLOCK: a FIFO that nobody reads is an error here, and no wait without end.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fresh = os.open(self.path, flags, 0o600)
        self.close()
        self._fd, self._is_file = fresh, stat.S_ISREG(os.fstat(fresh).st_mode)
        with suppress(OSError):  # a file that we may not read, or one that cannot grow
            if self._is_torn():
                os.write(fresh, b"\n")

    def _is_torn(self) -> bool:
        """A process that was killed, or had no room, may have left half a line: ours must not go on from there."""
        size = Path(self.path).stat().st_size if stat.S_ISREG(os.fstat(self._fd).st_mode) else 0
        if not size:
            return False
        with Path(self.path).open("rb") as written:
            written.seek(size - 1)
            return written.read(1) != b"\n"

    def close(self) -> None:
        if self.path != "-" and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def late(self) -> bool:
        """The time to stop has come."""
        return self.stop_at is not None and time.monotonic() >= self.stop_at

    def put(self, lines: bytes) -> bool:
        """Writes whole lines, however long that takes; False where `stop_at` came first."""
        done = 0
        while done < len(lines):
            try:
                if self._look():
                    done = lines.rfind(b"\n", 0, done) + 1  # a new file starts with a whole line
                if self._writable():
                    done += self._write(lines, done)
                    self.problem = None
                elif self.late:
                    return False
            except OSError as error:
                self.problem = error.strerror or type(error).__name__
                if self.late:
                    return False
                time.sleep(_RETRY_SECONDS if self.stop_at is None else 0.02)
        return True

    def _write(self, lines: bytes, done: int) -> int:
        end = len(lines) if self._is_file else lines.rfind(b"\n", done, done + _SLICE) + 1 or done + _SLICE
        try:
            return os.write(self._fd, lines[done:end])
        except BlockingIOError:
            return 0

    def _writable(self) -> bool:
        if self._fd < 0:
            self.open()
        if self._is_file:  # poll calls every file writable
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(_POLL_MS if self.stop_at is None else 20))

    def _look(self) -> bool:
        """True where a file was opened anew: asked to (SIGHUP), or because the old one is no longer at its path."""
        if self.path == "-":
            return False
        now = time.monotonic()
        if not self.reopen and now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        if not self.reopen and not self._vanished():
            return False
        self.reopen = False
        self.open()
        return True

    def _vanished(self) -> bool:
        if self._fd < 0:
            return True
        try:
            there = Path(self.path).stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(self._fd)
        return stat.S_ISREG(mine.st_mode) and not os.path.samestat(there, mine)
