"""The processes under test: how each is started, pinned to its core, asked for its CPU time and memory, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

TOOL = "search.read"
PATH = f"/tools/{TOOL}"
"""The bare proxy forwards the same path unchanged."""
POLICY = f"tools:\n  allowlist: [{TOOL}]\n  definitions:\n    {TOOL}: {{effect: read, path: {PATH}}}\n"
BUDGETS = {"AGENT_MAX_TOOL_CALLS": "1000000", "AGENT_MAX_STEPS": "1000000", "AGENT_MAX_SECONDS": "604800"}
TICK = 1 / os.sysconf("SC_CLK_TCK")


class Subject:
    """A running process that listens on `port`."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.port = port
        self.process = process

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pin(core: int | None, process: int = 0) -> None:
    """To one core, this process or another, before it has threads. Where the system cannot, the figures say less."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {core})


def start(name: str, port: int, command: list[str], environ: Mapping[str, str], core: int | None) -> Subject:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **environ},
        stderr=subprocess.DEVNULL if name.startswith("bare") else None,
    )
    pin(core, process.pid)
    return Subject(name, port, process)


def bare(upstream: str, loop: str, core: int | None) -> Subject:
    port = free_port()
    return start(f"bare aiohttp proxy, {loop}", port, ["bench.bare_proxy", str(port), upstream, loop], {}, core)


def gateway(upstream: str, folder: Path, core: int | None) -> Subject:
    """As shipped: SQLite state, one log line a call to a file. Only the budgets are raised, or the rounds would end with them."""
    port, admin = free_port(), free_port()
    (folder / "policy.yaml").write_text(POLICY)
    environ = {
        **BUDGETS,
        "GATEWAY_POLICY": str(folder),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "GATEWAY_ADMIN_TOKEN": "bench-token-of-no-value",
        "GATEWAY_UPSTREAM": upstream,
        "GATEWAY_STATE": f"sqlite:{folder / 'gateway.db'}",
        "GATEWAY_LOG": str(folder / "log.jsonl"),
        "GATEWAY_DRAIN_SECONDS": "0",
        "GATEWAY_DRAIN_IDLE_SECONDS": "0",
    }
    return start("gateway", port, ["gateway", "serve"], environ, core)


def wait_until_open(subject: Subject, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", subject.port), 1.0):
            return
        time.sleep(0.01)
    raise SystemExit(f"{subject.name} does not listen after {seconds:g} s")


@contextlib.contextmanager
def running(*subjects: Subject) -> Iterator[None]:
    try:
        for subject in subjects:
            wait_until_open(subject)
        yield
    finally:
        for subject in subjects:
            subject.stop()


def cores() -> tuple[int | None, int | None]:
    """One for the subject, one for load and upstream; (None, None) where there are not two to choose from."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        print("fewer than two cores: subject and load share one, and the ratios say less")
        return None, None
    *_, ours, theirs = sorted(os.sched_getaffinity(0))
    return theirs, ours
