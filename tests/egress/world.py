"""A network of the test's own in which every address leads to one interface: whatever a gateway dials there is seen and heard."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.upstreams.addresses import Address
from tests.doors.wire import PATIENCE, Wire
from tests.egress.names import NameServer

NAME_SERVER = "127.0.0.53"
FILES = {
    "resolv.conf": f"nameserver {NAME_SERVER}\noptions timeout:5 attempts:1\n",
    "hosts": "127.0.0.1 localhost\n::1 ip6-localhost\n",
    "nsswitch.conf": "hosts: files dns\n",
}
PORTS = (80, 443)
"""Where somebody listens, at every address."""
REDIRECT = "/?to="
"""Begins the path of a page that redirects to what follows, in hex."""
OUTGOING = 4
"""PACKET_OUTGOING: what crosses the loopback interface is seen twice, once like this."""


class End(NamedTuple):
    """One end of a connection."""

    host: str
    port: int


class Namespace:
    """Its processes and sockets. The caller's own process stays where it is."""

    def __init__(self, process: subprocess.Popen[bytes], asked: socket.socket) -> None:
        self._process = process
        self._asked = asked

    def socket(
        self, family: int, kind: int, protocol: int = 0, bind: tuple[str | int, ...] | None = None
    ) -> socket.socket:
        """A socket that lives inside, listening where it is a bound stream."""
        self._asked.send(json.dumps({"family": family, "kind": kind, "protocol": protocol, "bind": bind}).encode())
        _, (descriptor,), _, _ = socket.recv_fds(self._asked, 16, 1)
        made = socket.socket(fileno=descriptor)
        made.setblocking(False)
        return made

    def enter(self) -> list[str]:
        """What runs a command inside."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._process.pid), "--net", "--mount", *user, f"--wd={Path.cwd()}"]


@contextmanager
def namespace(folder: Path) -> Iterator[Namespace]:
    """Skips the test where the machine grants nobody a network of its own."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    holder = [sys.executable, str(Path(__file__).with_name("holder.py")), str(theirs.fileno()), str(folder)]
    command = ["unshare", *as_root, "--net", "--mount", *holder]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    theirs.close()
    try:
        if ours.recv(16) != b"ready":
            _, problem = process.communicate(timeout=PATIENCE)
            pytest.skip(f"no network namespace to be had here: {(problem.decode().splitlines() or ['?'])[-1]}")
        yield Namespace(process, ours)
    finally:
        ours.close()
        process.communicate(timeout=PATIENCE)


@dataclass
class World:
    """Who was dialled. Every address of both families answers on PORTS: with a page that names it, or as the path asks."""

    inside: Namespace
    names: NameServer = field(default_factory=NameServer)
    accepted: list[End] = field(default_factory=list)
    """Where connections were accepted, in order: what the caller had dialled."""
    hosts: list[str] = field(default_factory=list)
    """The Host of each request heard."""
    syns: Counter[End] = field(default_factory=Counter)
    """Every TCP connection begun by anybody, answered or not."""

    _hearing: set[asyncio.Task[None]] = field(default_factory=set)

    async def left(self) -> None:
        """Returns when no connection is open any more."""
        if self._hearing:
            _, open_still = await asyncio.wait(self._hearing, timeout=PATIENCE)
            assert not open_still

    async def dial(self, end: End) -> Wire:
        """As a client inside."""
        made = self.inside.socket(socket.AF_INET, socket.SOCK_STREAM)
        await asyncio.get_running_loop().sock_connect(made, end)
        return Wire(*await asyncio.open_connection(sock=made))

    def dialled(self, *known: End) -> set[End]:
        """Where connections were begun to, apart from these."""
        return set(self.syns) - set(known)

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)
        host, port = writer.get_extra_info("sockname")[:2]
        end = End(_plain(host), port)
        self.accepted.append(end)
        try:
            first = await reader.read(1)
            if first == b"\x16":  # the ClientHello of whoever tunnels here
                writer.write(f"hello from {end.host}".encode())
                await reader.read()
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.hosts += [line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")]
            path = head.split(" ")[1]
            if path == "/cut":
                return
            writer.write(_redirect(path) if path.startswith(REDIRECT) else _page(end))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def sniff(self, packets: socket.socket) -> None:
        while True:
            try:
                packet, (_, ethertype, direction, *_) = packets.recvfrom(128)
            except BlockingIOError:
                return
            if direction == OUTGOING and (end := _syn(ethertype, packet)) is not None:
                self.syns[end] += 1


@asynccontextmanager
async def world(inside: Namespace) -> AsyncIterator[World]:
    """Listening, answering names and sniffing."""
    loop = asyncio.get_running_loop()
    made = World(inside)
    every_packet = socket.htons(3)  # ETH_P_ALL
    with (
        inside.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every_packet) as packets,
        inside.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=(NAME_SERVER, 53)) as questions,
    ):
        loop.add_reader(packets, made.sniff, packets)
        loop.add_reader(questions, made.names.read, questions)
        servers = [
            await asyncio.start_server(
                made.hear, sock=inside.socket(socket.AF_INET6, socket.SOCK_STREAM, bind=("::", port))
            )
            for port in PORTS
        ]
        try:
            yield made
            await made.left()
            made.sniff(packets)
            seen, lost = struct.unpack("II", packets.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
            assert seen
            assert not lost
        finally:
            loop.remove_reader(packets)
            loop.remove_reader(questions)
            for server in servers:
                server.close()


def _syn(ethertype: int, packet: bytes) -> End | None:
    """Where a packet begins a TCP connection to."""
    if ethertype == 0x0800 and packet[9] == socket.IPPROTO_TCP:
        host, segment = ip_address(packet[16:20]), packet[(packet[0] & 15) * 4 :]
    elif ethertype == 0x86DD and packet[6] == socket.IPPROTO_TCP:
        host, segment = ip_address(packet[24:40]), packet[40:]
    else:
        return None
    syn, ack = segment[13] & 0x02, segment[13] & 0x10
    return End(str(host), int.from_bytes(segment[2:4])) if syn and not ack else None


def _plain(host: str) -> str:
    address: Address = ip_address(host)
    return str(address.ipv4_mapped or address) if address.version == 6 else host


def _page(end: End) -> bytes:
    body = f"{end.host} {end.port}".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


def _redirect(path: str) -> bytes:
    location = bytes.fromhex(path.removeprefix(REDIRECT))
    return b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % location
