"""A gateway installed on disk: policy, state, log and addresses stay, its processes come and go. For what outlives a process."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests.deploy.stack import TOKEN, clean_environment

PATIENCE = 60.0
"""Seconds after which a test fails instead of hanging; a machine under load is slow to start a process."""
ANYWHERE = "http://127.0.0.1:0"
"""The system chooses the port, so that no other test can have taken it."""
POLICY = {
    "tools": {
        "allowlist": ["search.read", "notes.write"],
        "definitions": {"search.read": {"effect": "read"}, "notes.write": {"effect": "write"}},
    }
}


ON_THE_ORDINARY_LANE = """
from gateway.doors.listener import Listener
Listener.lane = property(lambda listener: None, lambda listener, lane: None)
from gateway.cli import main
main()
"""
"""No setting turns the fast lane off: nobody but a test has a use for that."""


class Ended(NamedTuple):
    """How a process or a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Installation:
    """Files are made by the constructor; `begin` starts a process and waits until it is ready."""

    folder: Path
    upstream: str
    environment: dict[str, str] = field(default_factory=dict)
    """Settings beside (or instead of) those that every installation has; "" is unset."""
    data: str = ANYWHERE
    admin: str = ANYWHERE
    """From `begin` on: where the planes really listen."""
    fast: bool = True
    """The processes take calls on the fast lane, once their upstream has an idle connection."""

    def __post_init__(self) -> None:
        self.policies.mkdir(parents=True)
        self.write_policy(POLICY)
        self._processes: list[Process] = []

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def write_policy(self, policy: object, name: str = "policy.yaml") -> None:
        """JSON is YAML."""
        (self.policies / name).write_text(json.dumps(policy))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's whole lines of that event, so far."""
        text = self.log.read_text() if self.log.exists() else ""
        written = [json.loads(line) for line in text.split("\n")[:-1]]
        return [line for line in written if line["event"] == event]

    def settings(self) -> dict[str, str]:
        ours = {
            "GATEWAY_POLICY": str(self.policies),
            "GATEWAY_LISTEN": self.data.removeprefix("http://"),
            "GATEWAY_ADMIN_LISTEN": self.admin.removeprefix("http://"),
            "GATEWAY_ADMIN_TOKEN": TOKEN,
            "GATEWAY_UPSTREAM": self.upstream,
            "GATEWAY_STATE": f"sqlite:{self.folder / 'gateway.db'}",
            "GATEWAY_DRAIN_IDLE_SECONDS": "0",
            "GATEWAY_LOG": str(self.log),
        }
        return clean_environment(**{k: v for k, v in (ours | self.environment).items() if v})

    async def spawn(self, *command: str) -> Process:
        """`tool-gateway` with these arguments, in the installation's folder."""
        ordinary = not self.fast and command[0] == "serve"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *(("-c", ON_THE_ORDINARY_LANE) if ordinary else ("-m", "gateway")), *command),
            env=self.settings(),
            cwd=self.folder,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._processes.append(process)
        return process

    async def run(self, *command: str) -> Ended:
        """A command to its end."""
        return await ended(await self.spawn(*command))

    async def begin(self) -> Process:
        """A gateway process that has started, on ports that the system chose."""
        before = len(self.lines("gateway_started"))
        self.data = self.admin = ANYWHERE
        process = await self.spawn("serve")
        await eventually(lambda: process.returncode is not None or len(self.lines("gateway_started")) > before)
        if process.returncode is not None:
            raise AssertionError(f"ended before it had started: {await ended(process)}")
        started = self.lines("gateway_started")[-1]
        self.data, self.admin = started["listen"], started["admin_listen"]
        return process

    async def readiness(self, url: str) -> int:
        """The status of /readyz on one of the planes."""
        async with aiohttp.ClientSession() as session, session.get(url + "/readyz") as answer:
            return answer.status

    def agent(self) -> aiohttp.ClientSession:
        """For the data plane."""
        return aiohttp.ClientSession(
            self.data, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(PATIENCE)
        )

    def operator(self) -> aiohttp.ClientSession:
        """For the admin plane, with its token."""
        return aiohttp.ClientSession(
            self.admin, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=aiohttp.ClientTimeout(PATIENCE)
        )

    async def destroy(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await ended(process)


async def ended(process: Process, signalled: signal.Signals | None = None) -> Ended:
    """Sends the signal, if any, and waits for the process to end."""
    if signalled is not None:
        process.send_signal(signalled)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def eventually(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Returns as soon as it holds; fails where it does not within so many seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  what another process did sets no event of ours
            await asyncio.sleep(0.005)


async def call(agent: aiohttp.ClientSession, tool: str, run: str | None = None, **options: Any) -> tuple[int, str]:
    """One call of a tool: the status and the gateway's reason."""
    prefix = f"/runs/{run}" if run else ""
    given: dict[str, Any] = {"json": {}, "timeout": aiohttp.ClientTimeout(PATIENCE), **options}
    async with agent.post(f"{prefix}/tools/{tool}", **given) as answer:
        await answer.read()
        return answer.status, answer.headers["Tool-Gateway-Reason"]
