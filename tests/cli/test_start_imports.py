"""What `serve` loads before it answers: every module here is time and memory of each pod."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SERVED = """
import sys
from gateway.cli.serve import load_by_need
load_by_need("aiohttp")
load_by_need("yaml")
import gateway.app
"""
STARTED = """
import asyncio, os, uvloop
import gateway.observers.log
from gateway.settings import read_settings

gateway.observers.log._GATHER_SECONDS = 60.0  # its thread loads what redacts behind the start, which is slow on a busy machine

async def start():
    started = gateway.app.Gateway(read_settings(os.environ), os.environ)
    await started.start()
    print(*sys.modules)
    await started.stop()

asyncio.Runner(loop_factory=uvloop.new_event_loop).run(start())
"""


def python(code: str, **environ: str) -> str:
    environment = {**os.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-c", SERVED + code], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout


@pytest.fixture
def loaded_with(tmp_path: Path) -> Callable[[str], set[str]]:
    """The modules of a gateway that has started with the policy."""

    def loaded(policy: str) -> set[str]:
        (tmp_path / "policy").mkdir()
        (tmp_path / "policy" / "policy.yaml").write_text(policy)
        told = python(
            STARTED,
            GATEWAY_POLICY=str(tmp_path / "policy"),
            GATEWAY_STATE=f"sqlite:{tmp_path / 'gateway.db'}",
            GATEWAY_LOG=str(tmp_path / "log"),
            GATEWAY_LISTEN="127.0.0.1:0",
            GATEWAY_ADMIN_LISTEN="127.0.0.1:0",
            GATEWAY_UPSTREAM="http://127.0.0.1:1",
        )
        return {*told.split()}

    return loaded


def test_nothing_is_loaded_that_only_other_commands_mistakes_and_payloads_need(
    loaded_with: Callable[[str], set[str]],
) -> None:
    loaded = loaded_with("tools: {allowlist: [search.read]}")
    assert {"aiohttp.web_server", "yaml._yaml"} < loaded
    assert loaded.isdisjoint(
        {
            "aiohttp.client",
            "aiohttp.connector",
            "aiohttp.web",
            "aiohttp.web_app",
            "argparse",
            "frozenlist",
            "typing_extensions",
            "jsonschema_rs",
            "prometheus_client",
            "pydantic",
            "click",
            "aiolimiter",
            "importlib.metadata",
            "re2",
            "gateway.admin.openapi",
            "gateway.doors.governed.door",
            "gateway.doors.mcp.door",
            "gateway.observers.redaction.redact",
            "gateway.state.stores.valkey",
            "yaml.resolver",
            "yaml.dumper",
            "difflib",
            "valkey",
        }
    )


@pytest.mark.parametrize(
    ("policy", "door"),
    [
        ("mcp_servers: {notes: {url: http://127.0.0.1:1/mcp}}", "gateway.doors.mcp.door"),
        ("governed: {enabled: true}", "gateway.doors.governed.door"),
    ],
)
def test_a_door_that_the_policy_opens_is_loaded_before_anybody_calls(
    loaded_with: Callable[[str], set[str]], policy: str, door: str
) -> None:
    assert door in loaded_with(policy)


def test_who_asks_for_the_client_all_the_same_gets_it() -> None:
    told = python("import aiohttp; print(aiohttp.ClientSession.__module__, aiohttp.__version__ > '3')")
    assert told == "aiohttp.client True\n"


HEAVY = {
    "asyncio",
    "aiohttp",
    "yaml",
    "orjson",
    "jsonschema_rs",
    "prometheus_client",
    "re2",
    "uvloop",
    "gateway.policy",
}


@pytest.mark.parametrize("command", ["kill", "restore", "status", "tail", "rollout", "completion", "explain"])
def test_what_is_typed_in_a_hurry_loads_nothing_that_only_a_gateway_needs(command: str) -> None:
    loads = f"import sys; from gateway.cli.commands import commands; commands.get_command(None, {command!r}); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", loads], check=True, capture_output=True, text=True)
    assert HEAVY.isdisjoint(told.stdout.split())
