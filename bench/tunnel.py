"""CONNECT beside tinyproxy: bytes a second each way, CPU a gigabyte, and the memory of 500 idle tunnels. Goal: at least 60 % of tinyproxy's
bytes a second, and under 30 MB.

python -m bench.tunnel [--rounds 5] [--megabytes 1000]
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.running import Running
from bench.subjects import Command, Missing, Place, gateway_command, gateway_version

PIECE = bytes(1 << 18)
IDLE = 500
SUBJECT_CORE, LOAD_CORE = 0, 1
PATIENCE = 30.0
POLICY = """
tools: {{allowlist: [http.connect]}}
egress: {{allow_hosts: [127.0.0.1], ports: [{port}], allow_private: [127.0.0.0/8]}}
"""
TINYPROXY = "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 1000\nLogLevel Error\nConnectPort {sink}\n"


class Subject(NamedTuple):
    name: str
    version: Callable[[], str]
    command: Callable[[Place], Command] | None
    """None: nothing stands between load and sink."""


class Moved(NamedTuple):
    mb_per_second: float
    cpu_ms_per_gb: float


def our_command(place: Place) -> Command:
    return gateway_command(place, POLICY.format(port=place.tool_port))


def tinyproxy_command(place: Place) -> Command:
    config = place.folder / "tinyproxy.conf"
    config.write_text(TINYPROXY.format(port=place.port, sink=place.tool_port))
    return Command(["tinyproxy", "-d", "-c", str(config)])


def tinyproxy_version() -> str:
    if shutil.which("tinyproxy") is None:
        raise Missing("not installed (bench/apt.txt)")
    return subprocess.run(["tinyproxy", "-v"], capture_output=True, text=True, check=True).stdout.split()[-1]


SUBJECTS = (
    Subject("tool-gateway", gateway_version, our_command),
    Subject("tinyproxy", tinyproxy_version, tinyproxy_command),
    Subject("(no proxy between)", lambda: "", None),
)


# The sink, and the load: each a process of its own


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """A server whose clients begin like HTTP, as the gateway wants it, and say what they want: to be read, or to read so much."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    child = os.fork()
    if not child:
        os.sched_setaffinity(0, {LOAD_CORE})
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    port = int(listener.getsockname()[1])
    listener.close()
    try:
        yield port
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def serve(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        _, way, pieces = until_blank_line(client).split()[1].decode().split("/")
        if way == "down":
            for _ in range(int(pieces)):
                client.sendall(PIECE)
        else:
            swallow(client, int(pieces) * len(PIECE))
            client.sendall(b".")


def until_blank_line(wire: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = wire.recv(1)
        if not byte:
            raise ConnectionResetError
        head += byte
    return head


def swallow(wire: socket.socket, size: int) -> None:
    """So many bytes and no fewer. tinyproxy knows no half-closed connection, so that an end says nothing."""
    buffer = bytearray(1 << 20)
    while size:
        came = wire.recv_into(buffer, min(size, len(buffer)))
        if not came:
            raise ConnectionResetError
        size -= came


def through(subject: Subject, place: Place, wish: str) -> socket.socket:
    """A connection to the sink that has said what it wants."""
    to = f"127.0.0.1:{place.tool_port}"
    wire = socket.create_connection(("127.0.0.1", place.port if subject.command else place.tool_port), PATIENCE)
    if subject.command:
        wire.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
        if until_blank_line(wire).split()[1] != b"200":
            raise ConnectionResetError
    wire.sendall(f"GET {wish} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
    return wire


def move(subject: Subject, place: Place, pieces: int, *, up: bool) -> None:
    with through(subject, place, f"/{'up' if up else 'down'}/{pieces}") as wire:
        if up:
            for _ in range(pieces):
                wire.sendall(PIECE)
        swallow(wire, 1 if up else pieces * len(PIECE))


# What is measured


def speed(subject: Subject, place: Place, running: Running | None, pieces: int, *, up: bool) -> Moved:
    used, began = running.use().cpu_seconds if running else 0.0, time.perf_counter()
    move(subject, place, pieces, up=up)
    took = time.perf_counter() - began
    used = (running.use().cpu_seconds if running else 0.0) - used
    megabytes = pieces * len(PIECE) / 1e6
    return Moved(megabytes / took, used * 1000 / megabytes * 1000)


def memory(subject: Subject, place: Place, running: Running) -> float:
    """MB that 500 idle tunnels add, after one has shown the way."""
    through(subject, place, "/up/1").close()
    time.sleep(1)
    before = running.use().rss_mb
    wires = [through(subject, place, "/up/1") for _ in range(IDLE)]
    time.sleep(1)
    after = running.use().rss_mb
    for wire in wires:
        wire.close()
    return after - before


@contextlib.contextmanager
def started(subject: Subject, port: int) -> Iterator[tuple[Place, Running | None]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "own").mkdir()
        place = Place(free_port(), free_port(), port, folder / "own")
        if subject.command is None:
            yield place, None
            return
        with Running(subject.command(place), SUBJECT_CORE, folder) as running:
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    through(subject, place, "/up/1").close()
                    break
                time.sleep(0.05)
            yield place, running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000)
    options = parser.parse_args()
    pieces = options.megabytes * 1_000_000 // len(PIECE)
    moved: dict[tuple[str, bool], list[Moved]] = {}
    held: dict[str, list[float]] = {}
    versions = {subject.name: subject.version() for subject in SUBJECTS}
    os.sched_setaffinity(0, {LOAD_CORE})
    with sink() as port:
        for number in range(options.rounds):
            for subject in SUBJECTS[number % len(SUBJECTS) :] + SUBJECTS[: number % len(SUBJECTS)]:
                with started(subject, port) as (place, running):
                    for up in (True, False):
                        moved.setdefault((subject.name, up), []).append(speed(subject, place, running, pieces, up=up))
                if running is not None:
                    with started(subject, port) as (place, running):
                        assert running is not None
                        held.setdefault(subject.name, []).append(memory(subject, place, running))
    print(
        "| | to the target, MB/s | from it, MB/s | CPU, ms a GB (to / from) | 500 idle tunnels, MB |\n|---|---|---|---|---|"
    )
    for name, version in versions.items():
        up, down = moved[name, True], moved[name, False]
        rates = [f"{median(each.mb_per_second for each in way):,.0f}" for way in (up, down)]
        cpu = " / ".join(f"{median(each.cpu_ms_per_gb for each in way):,.0f}" for way in (up, down))
        rss = f"{median(held[name]):.1f}" if name in held else ""
        print(f"| {name} {version} | {' | '.join(rates)} | {cpu if rss else ''} | {rss} |")
    for way, words in ((True, "to"), (False, "from")):
        ours, theirs = (moved[name, way] for name in ("tool-gateway", "tinyproxy"))
        ratio = median(a.mb_per_second / b.mb_per_second for a, b in zip(ours, theirs, strict=True))
        print(f"{words} the target: {ratio:.2f} times tinyproxy's bytes a second")


if __name__ == "__main__":
    main()
