"""A gateway process inside a namespace, and its three doors as a client inside knocks on them."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.deploy.stack import TOKEN, clean_environment
from tests.doors.wire import PATIENCE, Answer
from tests.egress.world import End, Namespace, World

POLICY: dict[str, dict[str, Any]] = {
    "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 1_000_000, "AGENT_MAX_STEPS": 1_000_000, "AGENT_MAX_SECONDS": 3600}},
    "tools": {
        "allowlist": ["http.*"],
        "retries": {"max": 1, "backoff_ms": [1]},
        "definitions": {"http.get": {"retries": {"max": 0}}, "http.connect": {"retries": {"max": 0}}},
    },
    "observability": {"result_sample_rate": 1.0, "max_log_bytes_per_second": 1 << 30},
}


@dataclass
class Inside:
    """`data` and `admin` are where it listens, as seen inside."""

    folder: Path
    process: subprocess.Popen[bytes]
    data: End
    admin: End

    @property
    def own(self) -> tuple[End, End]:
        return self.data, self.admin

    def lines(self, event: str) -> list[dict[str, Any]]:
        return _lines(self.folder, event)

    async def logged(self, calls: set[str]) -> list[dict[str, Any]]:
        """The log's lines of these calls, once they are all written."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [line for line in self.lines("tool_call") if line["call_id"] in calls]) < len(calls):  # noqa: ASYNC110  what another process writes sets no event of ours
                await asyncio.sleep(0.05)
        return found


@contextmanager
def gateway(inside: Namespace, folder: Path, egress: dict[str, Any], **tools: Any) -> Iterator[Inside]:
    """Serving under these egress rules until the end."""
    policies = folder / "policies"
    policies.mkdir(parents=True)
    policy = POLICY | {"egress": egress, "tools": POLICY["tools"] | tools}
    (policies / "policy.yaml").write_text(json.dumps(policy))
    environment = clean_environment(
        GATEWAY_POLICY=str(policies),
        GATEWAY_LISTEN="127.0.0.1:0",
        GATEWAY_ADMIN_LISTEN="127.0.0.1:0",
        GATEWAY_ADMIN_TOKEN=TOKEN,
        GATEWAY_STATE="memory:",
        GATEWAY_LOG=str(folder / "log.jsonl"),
    )
    command = [*inside.enter(), sys.executable, "-m", "gateway", "serve"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        started = _started(folder, process)
        yield Inside(folder, process, _end(started["listen"]), _end(started["admin_listen"]))
    finally:
        process.send_signal(signal.SIGINT)  # without the wait for an agent still at work
        process.communicate(timeout=PATIENCE)


def _started(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + 2 * PATIENCE
    while not (lines := _lines(folder, "gateway_started")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lines[0]


def _lines(folder: Path, event: str) -> list[dict[str, Any]]:
    log = folder / "log.jsonl"
    written = log.read_text().split("\n")[:-1] if log.exists() else []
    return [line for line in map(json.loads, written) if line["event"] == event]


def _end(url: str) -> End:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return End(host, int(port))


async def ask(there: World, gate: Inside, request: bytes) -> Answer:
    """One request on a connection of its own."""
    wire = await there.dial(gate.data)
    try:
        await wire.say(request)
        return await wire.answer(bodyless=request.startswith(b"CONNECT"))
    finally:
        wire.leave()


async def fetch(there: World, gate: Inside, url: str, tool: str = "http.get") -> Answer:
    """Through the fetch door."""
    body = json.dumps({"url": url}).encode()
    head = f"POST /tools/{tool} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return await ask(there, gate, head.encode() + body)


async def fetch_by_query(there: World, gate: Inside, url: str) -> Answer:
    """Through the fetch door, without a body."""
    return await ask(
        there, gate, f"GET /tools/http.get?url={quote(url, safe='')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )


async def proxied(there: World, gate: Inside, url: str, host: str = "allowed.example") -> Answer:
    """Through the egress door, in absolute form, with a Host of one's own."""
    line = b"GET " + url.encode("utf-8", "surrogatepass") + b" HTTP/1.1\r\n"
    return await ask(there, gate, line + f"Host: {host}\r\n\r\n".encode())


async def connect(there: World, gate: Inside, authority: str) -> Answer:
    """Through the egress door, for a tunnel, which is left at once."""
    line = b"CONNECT " + authority.encode("utf-8", "surrogatepass") + b" HTTP/1.1\r\n"
    return await ask(there, gate, line + b"Host: allowed.example\r\n\r\n")
