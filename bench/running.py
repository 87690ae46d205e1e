"""One running process with its children: pinned to its core, asked for its CPU time and memory, and ended. Linux only: it reads /proc."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from bench.subjects import Call, Command, Missing, Place, Subject

TICK = 1 / os.sysconf("SC_CLK_TCK")
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Whatever the shell says: modules are compiled at the first start, as an installation does, and not at every one."""
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Use(NamedTuple):
    """Of a process and all its descendants."""

    cpu_seconds: float
    """User and system time so far."""
    rss_mb: float


class Running:
    """A process in a session of its own, by which its descendants are found and ended."""

    def __init__(self, command: Command, core: int, folder: Path) -> None:
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command.argv],
                env={**os.environ, **COMPILED, **command.environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                return

    def use(self) -> Use:
        members = list(self._members())
        return Use(
            sum(int(ticks) for fields in members for ticks in fields[11:15]) * TICK,
            sum(int(fields[21]) for fields in members) * PAGE_MB,
        )

    def _members(self) -> Iterator[list[str]]:
        """The fields of /proc/PID/stat behind the name: 3 is the session, 11 to 14 the CPU times, 21 the resident pages."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # ended meanwhile
                fields = stat.read_text().rpartition(")")[2].split()
                if fields[3] == str(self.process.pid):
                    yield fields

    def wait_for_answer(self, subject: Subject, place: Place, seconds: float = 120.0) -> None:
        """Until it answers the call rightly for the first time. Raises Missing where it ends or does not within `seconds`."""
        until, prepared = time.monotonic() + seconds, False
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if not prepared:
                    subject.prepare(place)
                    prepared = True
                if answers(place.port, subject.call):
                    return
            time.sleep(0.002)
        how = "did not answer rightly" if self.process.returncode is None else f"ended ({self.process.returncode})"
        raise Missing(f"{how}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.output.read_text(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "without a word")


def answers(port: int, call: Call) -> bool:
    """Whether one call is answered 200 with the tool's reply. Raises OSError where it is not answered at all."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", call.path, call.body, dict(call.headers))
        reply = connection.getresponse()
        return reply.status == 200 and call.expected in reply.read()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def cores() -> tuple[int, int]:
    """One for the subject, one for load generator and tool: the same where there is only one."""
    *_, subject, load = (min(os.sched_getaffinity(0)), *sorted(os.sched_getaffinity(0)))
    if subject == load:
        print("only one core: subject and load share it, and the figures say less")
    return subject, load
