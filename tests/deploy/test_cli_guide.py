"""docs/cli.md does what it says: its commands run in their order in one installation, and print what it shows."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Home, home
from tests.cli.conftest import sockets
from tests.cli.guide import shows
from tests.deploy.stack import free_address

__all__ = ["sockets"]

GUIDE = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text("utf-8")
SECTIONS = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", GUIDE, re.DOTALL)
SERVING_FROM = "--run r1"
"""The first command that needs the gateway."""

pytestmark = pytest.mark.needs("curl")


@pytest.fixture
def installation(tmp_path: Path, sockets: Path) -> Home:
    """An empty folder, with the command on PATH."""
    here, commands = home(tmp_path / "here", sockets), tmp_path / "bin"
    here.folder.mkdir()
    commands.mkdir()
    command = commands / "tool-gateway"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
    command.chmod(0o755)
    environ = {name: value for name, value in here.environ.items() if name != "GATEWAY_ADMIN_TOKEN"}
    environ |= {
        "PATH": f"{commands}:{environ['PATH']}",
        "GATEWAY_LISTEN": str(free_address()),
        "GATEWAY_LOG": "var/calls.log",
        "GATEWAY_UPSTREAM": "http://127.0.0.1:9",
    }
    return Home(here.folder, environ)


def pasted(here: Home, line: str) -> str:
    """What a line of the guide prints, run by a shell."""
    command, _, comment = line.replace("127.0.0.1:8080", here.environ["GATEWAY_LISTEN"]).partition("  # ")
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}" if "until Ctrl-C" in comment else command],
        cwd=here.folder,
        env=dict(here.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        told = ""
        if "until Ctrl-C" in comment:
            assert process.stdout is not None
            told = process.stdout.readline() + process.stdout.readline()
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1 if comment == "exits 1" else 0, ""), line
    return told + out


def test_the_guide_can_be_followed_from_its_beginning_to_its_end(installation: Home) -> None:
    before = next(number for number, (commands, _) in enumerate(SECTIONS) if SERVING_FROM in commands)
    assert (before, len(SECTIONS)) == (3, 10)
    for commands, shown in SECTIONS[:before]:
        shows("".join(pasted(installation, line) for line in commands.splitlines()), shown)
    with installation.serving():
        for commands, shown in SECTIONS[before:]:
            shows("".join(pasted(installation, line) for line in commands.splitlines()), shown)


def test_every_command_has_its_place_in_the_guide(installation: Home) -> None:
    listed = re.findall(r"^  ([a-z]+) ", installation.run("--help").out, re.MULTILINE)
    assert len(listed) > 10
    for command in set(listed):
        assert f"tool-gateway {command}" in GUIDE or f"`{command} " in GUIDE, command
