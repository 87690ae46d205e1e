"""Every block of every page is run or judged: by the test that is named here, which knows the page, or by a function of this file.

A new block without an entry fails, as does an entry whose block has gone. Lines that only a running gateway can show are in test_lines.py.
"""

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway.cli.commands import commands
from gateway.cli.judged import judge
from gateway.denial import ANSWERS, Reason
from gateway.doors.mcp.refusals import DENIAL, REASON
from gateway.model import Door
from gateway.settings import read_settings

ROOT = Path(__file__).parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text("utf-8")
    for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "deploy/*/*.md")
    for page in sorted(ROOT.glob(pattern))
}
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def policy(text: str) -> None:
    """`check` takes it: whole, or as a part of the smallest policy there is."""
    written = yaml.safe_load(text)
    written.setdefault("tools", {}).setdefault("allowlist", [])
    settings = read_settings({"GATEWAY_UPSTREAM": "http://127.0.0.1:9"})
    file = Path(os.environ["PYTEST_SNIPPET_FOLDER"]) / "policy.yaml"
    file.write_text(yaml.safe_dump(written))
    assert judge(str(file), settings, without_secrets=True).problems == ()


def refusal_in_mcp(text: str) -> None:
    """An answer with the members and the words that the door writes."""
    result = json.loads(text)["result"]
    (content,), meta = result["content"], result["_meta"]
    reason = Reason(meta[REASON])
    assert result["isError"] is True
    assert content["text"].startswith(f"{reason}: ")
    told = meta[DENIAL]
    answer = ANSWERS[reason]
    assert (told["status"], told["stop_reason"], told["retryable"]) == (answer.status, str(reason), False)


def setting(text: str) -> None:
    """`NAME=value` that the start takes."""
    name, _, value = text.strip().partition("=")
    assert read_settings({name: value}).state == value


def target_of_make(text: str) -> None:
    """It is in the Makefile; tests/deploy/test_make.py says what it does."""
    words = text.split()
    assert words[0] == "make"
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def doors(text: str) -> None:
    """A picture: every door stands in it."""
    drawn = re.findall(r"^(\w+(?: \w+)?)\b", text, re.MULTILINE)
    assert {name.replace(" ", "_") for name in drawn} == {str(door) for door in Door}


def layers(text: str) -> None:
    """The import rules, as they are enforced."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    enforced = [{name.strip().removeprefix("gateway.") for name in row.split("|")} for row in contracts[0]["layers"]]
    drawn = [{name.strip() for name in layer.split("|")} for layer in text.split(" > ")]
    at = [next(number for number, row in enumerate(enforced) if layer <= row) for layer in drawn]
    assert at == sorted(set(at))


def as_in_deployment(text: str) -> None:
    """Lines of docs/deployment.md, which has a test that runs or reads each (a cluster and an engine are not at hand)."""
    shell_reads(text)
    known = PAGES["docs/deployment.md"].splitlines()
    assert [line for line in text.splitlines() if line not in known] == []


def shell_reads(text: str) -> None:
    subprocess.run(["sh", "-n"], input=text, text=True, check=True, capture_output=True, timeout=20)


Check = str | Callable[[str], None]
README, MCP, CLI = "tests/deploy/test_readme.py", "tests/mcp/test_quick_start.py", "tests/deploy/test_cli_guide.py"
DEPLOYMENT, EGRESS = "tests/deploy/test_deployment_guide.py", "tests/deploy/test_egress_guide.py"
GOVERNED, ROLLOUT = "tests/deploy/test_governed_guide.py", "tests/deploy/test_rollout_guide.py"
QUICK_START, OPERATIONS = "tests/docs/test_quick_start.py", "tests/docs/test_operations.py"
ADMIN, LINES = "tests/admin/test_guide.py", "tests/docs/test_lines.py"
BY: Mapping[str, list[Check]] = {
    "CONTRIBUTING.md": [target_of_make],
    "README.md": [README, README, MCP, README, README, as_in_deployment, as_in_deployment],
    "docs/admin.md": [ADMIN] * 3,
    "docs/agents.md": [LINES],
    "docs/architecture.md": [doors, layers],
    "docs/cli.md": [CLI] * 19,
    "docs/console.md": ["tests/console/test_guide.py"],
    "docs/deployment.md": [DEPLOYMENT] * 6,
    "docs/egress.md": [EGRESS] * 3,
    "docs/fleet.md": [setting, "tests/fleet/topologies.py"],
    "docs/governed.md": [GOVERNED] * 3,
    "docs/incident.md": ["tests/cli/test_walk.py"] * 22,
    "docs/limits.md": [policy],
    "docs/mcp.md": [policy, refusal_in_mcp],
    "docs/metrics.md": [LINES],
    "docs/operations.md": [OPERATIONS] * 3,
    "docs/queues.md": [policy],
    "docs/quick-start.md": [QUICK_START] * 4,
    "docs/redaction.md": [policy],
    "docs/repeats.md": [LINES],
    "docs/retries.md": [policy],
    "docs/rollout.md": [ROLLOUT] * 4,
    "docs/traces.md": ["tests/traces/test_processes.py"],
}
"""What runs or judges each block of a page, in their order."""
BLOCKS = [
    (page, number, text) for page, whole in PAGES.items() for number, (_, text) in enumerate(BLOCK.findall(whole))
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_SNIPPET_FOLDER", str(tmp_path))


def test_every_block_has_its_entry_and_every_entry_its_block() -> None:
    found = {page: len(BLOCK.findall(whole)) for page, whole in PAGES.items()}
    assert {page: count for page, count in found.items() if count} == {page: len(by) for page, by in BY.items()}


def test_no_fence_is_overlooked() -> None:
    for page, whole in PAGES.items():
        assert len(re.findall(r"^ *```", whole, re.MULTILINE)) == 2 * len(BLOCK.findall(whole)), page
        assert "~~~" not in whole, page


@pytest.mark.parametrize(("page", "number", "text"), BLOCKS, ids=[f"{page}-{number + 1}" for page, number, _ in BLOCKS])
def test_a_block_is_run_by_its_test_or_judged_here(page: str, number: int, text: str) -> None:
    by = BY[page][number]
    if isinstance(by, str):
        assert Path(page).name in (ROOT / by).read_text("utf-8"), f"{by} does not read {page}"
    else:
        by(text)


INLINE = [
    (page, line)
    for page, whole in PAGES.items()
    for line in re.findall(r"(?<!`)`(tool-gateway [^`\n]+)`(?!`)", whole)
    if "COMMAND" not in line
]


def test_there_are_commands_within_sentences() -> None:
    assert len(INLINE) > 30


@pytest.mark.parametrize(("page", "line"), sorted(set(INLINE)))
def test_a_command_within_a_sentence_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    context = click.Context(commands, **commands.context_settings)  # a command keeps the first --help it is asked for
    command: Any = commands.get_command(context, " ".join(words[:2]))  # "init kubernetes" is one
    command = command or (commands if words[0].startswith("-") else commands.get_command(context, words[0]))
    assert command is not None, f"{page}: {line}"
    if isinstance(command, click.Group) and command is not commands and len(words) > 1:
        assert command.get_command(context, words[1]), f"{page}: {line}"
    options = {option for each in command.get_params(context) for option in each.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, f"{page}: {line}"


def test_pods_are_entered_by_the_name_that_the_container_has() -> None:
    manifest = (ROOT / "deploy/kubernetes/sidecar/gateway.yaml").read_text()
    (container,) = yaml.safe_load(manifest)["spec"]["template"]["spec"]["initContainers"]
    named = {name for whole in PAGES.values() for name in re.findall(r"kubectl exec \S+ -c (\S+) --", whole)}
    assert named == {container["name"]}


def test_targets_and_modules_within_sentences_exist() -> None:
    spans = [span for whole in PAGES.values() for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", whole)]
    modules = {words[1] for span in spans if (words := span.split()[1:]) and span.startswith("python -m ")}
    targets = {span for span in spans if re.fullmatch(r"make [a-z]+( [A-Z]+=\S+)?", span)}
    assert len(modules) > 5
    assert len(targets) > 5
    for module in modules:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
    for target in targets:
        target_of_make(target)
