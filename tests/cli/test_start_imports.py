"""What `serve` loads before it answers: every module here is time and memory of each pod."""

import subprocess
import sys

import pytest

SERVED = """
import sys
from gateway.cli.serve import load_by_need
load_by_need("aiohttp")
load_by_need("yaml")
import gateway.app
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", SERVED + code], check=True, capture_output=True, text=True).stdout


def test_nothing_is_loaded_that_only_other_commands_mistakes_and_payloads_need() -> None:
    loaded = set(python("print(*sys.modules)").split())
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
            "gateway.observers.redaction.redact",
            "gateway.state.stores.valkey",
            "yaml.resolver",
            "yaml.dumper",
            "difflib",
            "valkey",
        }
    )


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
