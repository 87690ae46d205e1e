"""What `--help` says, word for word: whoever changes it sees in a review how it reads. (help/COMMAND.txt; `REWRITE_HELP=1` writes them.)"""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.commands import commands

HELP = Path(__file__).parent / "help"
COMMANDS = [
    "",
    "check",
    "completion",
    "explain",
    "kill",
    "restore",
    "rollout",
    "rollout rollback",
    "rollout status",
    "schema",
    "simulate",
    "status",
    "tail",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_as_it_was_reviewed(command: str) -> None:
    said = CliRunner().invoke(commands, [*command.split(), "--help"], prog_name="tool-gateway", terminal_width=80)
    assert said.exit_code == 0
    file = HELP / f"{command.replace(' ', '-') or 'tool-gateway'}.txt"
    if os.environ.get("REWRITE_HELP"):
        file.write_text(said.stdout, "utf-8")
    assert said.stdout == file.read_text("utf-8")


def test_nothing_of_it_is_left_over() -> None:
    assert {file.stem for file in HELP.iterdir()} == {name.replace(" ", "-") or "tool-gateway" for name in COMMANDS}


@pytest.mark.parametrize("command", [[], ["rollout"]])
def test_without_a_command_the_help_is_told(command: list[str]) -> None:
    said = CliRunner().invoke(commands, command, prog_name="tool-gateway")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith("Usage: tool-gateway ")
