"""Completion: what a shell is offered, asked as the shells ask."""

import subprocess
import sys

import pytest

from tests.cli.command import Home


def offered(home: Home, words: str) -> list[str]:
    """Behind the last of these words, as bash asks."""
    asked = {"_TOOL_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    said = home.run(**asked)
    assert (said.code, said.err) == (0, "")
    return [line.partition(",")[2] for line in said.out.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("tool-gateway s", ["serve", "simulate", "status", "schema"]),
        ("tool-gateway kill ", ["agent:", "all", "run:", "tool:", "writes"]),
        ("tool-gateway kill tool:se", []),
        ("tool-gateway tail --reason !kill_switch,max_t", ["!kill_switch,max_tool_calls"]),
        ("tool-gateway tail --reason !o", ["!ok", "!outcome_unknown", "!overloaded"]),
        ("tool-gateway rollout ", ["rollback", "status"]),
        ("tool-gateway completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_commands_and_words_are_offered_without_a_gateway(here: Home, words: str, offers: list[str]) -> None:
    assert offered(here, words) == offers


def test_names_are_the_running_gateways(running: Home) -> None:
    assert offered(running, "tool-gateway kill tool:se") == ["tool:search.read"]
    assert offered(running, "tool-gateway explain --agent d") == ["default"]
    assert offered(running, "tool-gateway restore ") == []
    running.run("kill", "run:r1", "--reason", "drill")
    assert offered(running, "tool-gateway restore ") == ["run:r1"]


def test_bash_takes_the_script_and_completes_with_it(here: Home) -> None:
    command = here.folder / "tool-gateway"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
    command.chmod(0o755)
    asked = """
        eval "$(tool-gateway completion bash)"
        COMP_WORDS=(tool-gateway kill wr) COMP_CWORD=2
        _tool_gateway_completion tool-gateway
        echo "${COMPREPLY[@]} in $COMP_WORDBREAKS"
    """
    environ = {**here.environ, "PATH": f"{here.folder}:{here.environ['PATH']}"}
    said = subprocess.run(["bash", "-c", asked], env=environ, capture_output=True, text=True, timeout=60)
    assert (said.stderr, said.stdout.startswith("writes in "), ":" in said.stdout) == ("", True, False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(here: Home, shell: str) -> None:
    said = here.run("completion", shell)
    assert (said.code, said.err) == (0, "")
    assert f"_TOOL_GATEWAY_COMPLETE={shell}_complete" in said.out
