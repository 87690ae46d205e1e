"""Run as a program by some user of a pod: tries every way out to OUTSIDE, and prints what became of each as JSON.

python lock_probe.py agent 40123      40123: a source port that the gateway has used for UDP
python lock_probe.py world            is OUTSIDE: answers, and prints a line for all that comes in
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

POD4, POD6 = "10.77.0.1", "fd77::1"
OUTSIDE4, OUTSIDE6 = "10.77.0.2", "fd77::2"
TCP, UDP = 8000, 8053
GATEWAY = 10001
PATIENCE = 5.0
"""Seconds; a packet that is dropped without a word takes as long."""


def say(line: str) -> None:
    """In one piece, whatever other threads say."""
    os.write(1, f"{line}\n".encode())


def tcp(host: str, port: int = TCP) -> str:
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: outside\r\nConnection: close\r\n\r\n")
        return connection.recv(64).split(b"\r\n")[0].decode()


def udp(host: str, source: int = 0) -> str:
    """What a look-up of a name does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.settimeout(PATIENCE)
        asking.bind(("::" if ":" in host else "", source))
        asking.sendto(str(os.getuid()).encode(), (host, UDP))
        return asking.recv(64).decode()


def by_hand() -> str:
    """A packet that no rule for sent packets sees."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)).close()
    return "opened"


def as_the_gateway() -> str:
    os.setuid(GATEWAY)
    return tcp(OUTSIDE4)


def pick() -> str:
    done = subprocess.run(["nft", "flush", "ruleset"], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.returncode, done.stderr)
    return "picked"


def attempt(way: Callable[[], str]) -> str:
    try:
        return way()
    except OSError as error:
        return type(error).__name__


def agent(used_by_the_gateway: int) -> None:
    ways: dict[str, Callable[[], str]] = {
        "tcp4": lambda: tcp(OUTSIDE4),
        "tcp6": lambda: tcp(OUTSIDE6),
        "udp4": lambda: udp(OUTSIDE4),
        "udp6": lambda: udp(OUTSIDE6),
        "udp4 from the gateway's port": lambda: udp(OUTSIDE4, used_by_the_gateway),
        "by hand": by_hand,
        "pick": pick,
        "as the gateway": as_the_gateway,
    }
    say(json.dumps({name: attempt(way) for name, way in ways.items()}))


def world() -> None:
    threads = [
        threading.Thread(target=serve, args=each)
        for each in ((answer_tcp, OUTSIDE4), (answer_tcp, OUTSIDE6), (answer_udp, OUTSIDE4), (answer_udp, OUTSIDE6))
    ]
    for thread in threads:
        thread.start()


def serve(answer: Callable[[str, socket.AddressFamily], None], host: str) -> None:
    answer(host, socket.AF_INET6 if ":" in host else socket.AF_INET)


def answer_tcp(host: str, family: socket.AddressFamily) -> None:
    with socket.create_server((host, TCP), family=family) as listening:
        say(f"ready {host}")
        while True:
            connection, _ = listening.accept()
            say(f"came tcp {host}")
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


def answer_udp(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.bind((host, UDP))
        say(f"ready {host}")
        while True:
            said, peer = listening.recvfrom(64)
            say(f"came udp {host} {said.decode()}")
            listening.sendto(b"answer", peer)


if __name__ == "__main__":
    if sys.argv[1] == "world":
        world()
    else:
        agent(int(sys.argv[2]))
