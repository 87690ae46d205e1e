"""Runs `tool-gateway` as its users do: a process of its own, with an environment of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TOKEN = "a-token-only-operators-know"


class Said(NamedTuple):
    """What a finished command left."""

    code: int
    out: str
    err: str


class Home(NamedTuple):
    """A working directory with its settings, and a gateway in it as far as one is started."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> Said:
        """A command, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def call(self, tool: str) -> bytes:
        """An agent's call: the answer as it comes."""
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(60)
            agent.connect(self.environ["GATEWAY_LISTEN"].removeprefix("unix:"))
            agent.sendall(f"GET /tools/{tool} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: agent.recv(65536), b""))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A gateway that runs meanwhile, started and ended in order."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"],
            cwd=self.folder,
            env=dict(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            log = self.environ.get("GATEWAY_LOG")
            started = _lines(self.folder / log, process) if log else process.stdout
            assert started is not None
            for line in started:
                if '"gateway_started"' in line:
                    break
            yield
            process.terminate()
            _, err = process.communicate(timeout=30)
            assert (process.returncode, err) == (0, "")
        finally:
            process.kill()
            process.communicate()


def _lines(log: Path, process: "subprocess.Popen[str]") -> Iterator[str]:
    """As they are written, while the process runs."""
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.01)
    with log.open() as file:
        while process.poll() is None:
            if line := file.readline():
                yield line
            else:
                time.sleep(0.01)


def home(folder: Path, sockets: Path) -> Home:
    """Both planes on Unix sockets: no port to collide with."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "GATEWAY_LISTEN": f"unix:{sockets}/data.sock",
        "GATEWAY_ADMIN_LISTEN": f"unix:{sockets}/admin.sock",
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_DRAIN_SECONDS": "0",
    }
    return Home(folder, environ)
