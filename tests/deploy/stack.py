"""A gateway as users run it: its own process, started by the command, reached over sockets. Not for tests of one door or one guard."""

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gateway.settings import Address

POLICY = """
tools:
  allowlist: [search.read, slow, flaky]
  definitions:
    search.read: {effect: read}
"""
READY_WITHIN = 20
"""Seconds; a machine under load is slow to start a process."""
TOKEN = "a-token-for-tests"


_tried = itertools.count(os.getpid() * 200)  # tests in another process at the same time look elsewhere


def free_address() -> Address:
    """For who must know the port before anyone listens there: one of those that the system gives to nobody who lets it choose."""
    while True:
        port = 10_000 + next(_tried) % 22_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return Address("127.0.0.1", port)


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would configure a gateway, an agent or make."""
    ours = ("GATEWAY_", "AGENT_", "TOOL_BASE_URL", "HOST", "PORT", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables


def ask(address: Address, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """One request; the parsed JSON answer. Raises OSError where nothing answers."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@dataclass
class GatewayProcess:
    """`python -m gateway serve` in a folder of its own. A context manager: leaving it ends the process."""

    folder: Path
    upstream: str = "http://127.0.0.1:9"
    policy: str = POLICY
    environment: dict[str, str] | None = None
    before: list[str] = field(default_factory=list)
    """What starts it in another way."""

    def __enter__(self) -> Self:
        self.data, self.admin = free_address(), free_address()
        policies = self.folder / "policies"
        policies.mkdir(parents=True)
        (policies / "policy.yaml").write_text(self.policy)
        settings = {
            "GATEWAY_POLICY": str(policies),
            "GATEWAY_LISTEN": str(self.data),
            "GATEWAY_ADMIN_LISTEN": str(self.admin),
            "GATEWAY_ADMIN_TOKEN": TOKEN,
            "GATEWAY_UPSTREAM": self.upstream,
            "GATEWAY_STATE": "memory:",
            "GATEWAY_LOG": str(self.folder / "log"),
        }
        command = [*self.before, sys.executable, "-m", "gateway", "serve"]
        env = clean_environment(**settings | (self.environment or {}))
        self.process = subprocess.Popen(command, env=env, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        try:
            wait_until_ready(self.admin, self.process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)  # without the wait for an agent still at work
        self.process.communicate(timeout=20)

    def operate(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return ask(self.admin, method, path, body, Authorization=f"Bearer {TOKEN}")


def within_seconds(condition: Callable[[], bool]) -> None:
    """Asks again and again: what another process does sets no event of ours."""
    deadline = time.monotonic() + READY_WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_ready(admin: Address, process: subprocess.Popen[str]) -> None:
    """Asks /readyz until it is 200. Fails where the process ends before, with what it said."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()}")
        try:
            if ask(admin, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"not ready within {READY_WITHIN} s")
