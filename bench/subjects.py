"""What a subject of the measurements is: how it is started, what it is asked, what its version is. And the gateway as one."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.wire import JSON_HEADERS, REPLY_BODY, REQUEST_BODY

TOOL = "search.read"
PATH = f"/tools/{TOOL}"
"""Where the tool is, and where a subject takes calls to it, unless its own way of naming tools forbids that."""
POLICY = f"tools:\n  allowlist: [{TOOL}]\n  definitions:\n    {TOOL}: {{effect: read, path: {PATH}}}\n"
BUDGETS = {"AGENT_MAX_TOOL_CALLS": "1000000", "AGENT_MAX_STEPS": "1000000", "AGENT_MAX_SECONDS": "604800"}
ROOT = Path(__file__).parents[1]
VENVS = Path(__file__).with_name(".venvs")
SHIPPED = VENVS / "tool-gateway" / "bin"
"""The gateway compiled, as the image has it, and the Python that runs it, its sources, and the aiohttp proxy (BENCH_PYTHON)."""


class Missing(Exception):
    """Why a subject is left out, in one line."""


class Place(NamedTuple):
    """Where one process of a subject runs."""

    port: int
    """To listen on, on 127.0.0.1."""
    admin_port: int
    tool_port: int
    folder: Path
    """Its own, empty: for its configuration, logs and data."""


class Command(NamedTuple):
    argv: list[str]
    environ: Mapping[str, str] = {}


class Call(NamedTuple):
    """The request that is measured. Every reply must contain `expected`."""

    path: str = PATH
    body: bytes = REQUEST_BODY
    headers: Mapping[str, str] = JSON_HEADERS
    expected: bytes = REPLY_BODY


@dataclass(frozen=True)
class Subject:
    name: str
    version: Callable[[], str]
    """Raises Missing where it is not installed."""
    command: Callable[[Place], Command]
    """Writes the configuration and says how to start it."""
    call: Call = field(default_factory=Call)
    prepare: Callable[[Place], None] = lambda _place: None
    """What must be said to the running process before it can pass calls on. Raises OSError while it cannot be said yet."""
    calls_per_second: int = 500
    """The fixed rate at which its latency is measured: one it can serve."""
    most_connections: int = 1000
    """Fewer where a round would end before many calls have."""
    fresh_heads: bool = False
    """Every request has a header that none had before (a trace id), so that nothing can be gained by remembering heads."""
    slow: bool = False
    """Takes part in the first rounds alone."""


def in_venv(folder: str, program: str) -> str:
    """The path of a competitor's program in the environment that `make competitors` made for it. Raises Missing."""
    path = VENVS / folder / "bin" / program
    if not path.exists():
        raise Missing("not installed (make competitors)")
    return str(path)


def version_in_venv(folder: str, package: str) -> str:
    """Raises Missing where it is not installed."""
    site = VENVS / folder / "lib"
    found = sorted(site.glob(f"python*/site-packages/{package.replace('-', '_')}-*.dist-info"))
    if not found:
        raise Missing("not installed (make competitors)")
    return found[-1].name.removesuffix(".dist-info").rpartition("-")[2]


def compiled() -> list[str]:
    """The command of the gateway as it ships. Ends the benchmark where it is not there: without it there is nothing to compare."""
    command = SHIPPED / "tool-gateway"
    if not command.exists():
        raise SystemExit("the gateway is not compiled for the benchmark: make bench/.venvs/tool-gateway/.done")
    return [str(command)]


def sources() -> list[str]:
    """That of the checkout's, in pure Python, by the same interpreter."""
    compiled()
    return [
        str(SHIPPED / "python"),
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import gateway.cli; gateway.cli.main()",
    ]


def gateway_command(place: Place, policy: str = POLICY, command: Callable[[], list[str]] = compiled) -> Command:
    """As shipped: SQLite state, one log line a call to a file. Only the budgets are raised, or the rounds would end with them.

    The policy has a folder of its own, as `init` makes it: files of the state that come and go beside it would be reloads.
    """
    policies = place.folder / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(policy)
    environ = {
        **BUDGETS,
        "GATEWAY_POLICY": str(policies),
        "GATEWAY_LISTEN": f"127.0.0.1:{place.port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{place.admin_port}",
        "GATEWAY_ADMIN_TOKEN": "bench-token-of-no-value",
        "GATEWAY_UPSTREAM": f"http://127.0.0.1:{place.tool_port}",
        "GATEWAY_STATE": f"sqlite:{place.folder / 'gateway.db'}",
        "GATEWAY_LOG": str(place.folder / "log.jsonl"),
        "GATEWAY_DRAIN_SECONDS": "0",
        "GATEWAY_DRAIN_IDLE_SECONDS": "0",
    }
    return Command([*command(), "serve"], environ)


def gateway_version(command: Callable[[], list[str]] = compiled) -> str:
    """And whether it is compiled."""
    return subprocess.run([*command(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


GATEWAY = Subject("tool-gateway", gateway_version, gateway_command)
GATEWAY_SOURCES = Subject(
    "tool-gateway (pure Python)", partial(gateway_version, sources), partial(gateway_command, command=sources)
)
GATEWAY_FRESH_HEADS = Subject("tool-gateway (no two heads alike)", gateway_version, gateway_command, fresh_heads=True)
