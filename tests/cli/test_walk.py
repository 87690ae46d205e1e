"""The walk of docs/incident.md on the command line: by what the commands say alone, then by the page, then its other incidents."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gateway.observers.recent import KEPT_CALLS
from gateway.observers.trouble import WINDOW
from tests.admin.admin_plane import TOKEN, Operator, started
from tests.admin.incident import FAILING_WRITE, FORBIDDEN_TOOL, SPENDING, Incident, Trouble, incident
from tests.cli.guide import shows

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/incident.md").read_text("utf-8")
BLOCKS = r"```sh\n(.*?)```\n(?:.*?```text\n(.*?)```)?"
OTHERS = {
    title: re.findall(BLOCKS, text, re.DOTALL)
    for title, text in re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


class Shell:
    """Where an operator types: in the folder of the gateway, with what finds it."""

    def __init__(self, folder: Path, operator: Operator) -> None:
        self._folder = folder
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_ADMIN_LISTEN": operator.gateway.admin_url.removeprefix("http://"),
            "GATEWAY_ADMIN_TOKEN": TOKEN,
        }

    async def start(self, line: str) -> asyncio.subprocess.Process:
        command, *words = shlex.split(line)
        assert command == "tool-gateway"
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *words,
            cwd=self._folder,
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def type(self, line: str, *, code: int = 0) -> str:
        """What it prints."""
        process = await self.start(line)
        out, _ = await process.communicate()
        assert process.returncode == code, out.decode()
        return out.decode()

    async def paste(self, block: str) -> str:
        """A block of the page."""
        said = ""
        for line in block.splitlines():
            command, _, comment = line.partition("  # ")
            said += await self.type(command, code=1 if comment == "exits 1" else 0)
        return said


def the(pattern: str, said: str) -> str:
    """What an eye finds."""
    found = re.search(pattern, said, re.MULTILINE)
    assert found, said
    return found[1]


def others(trouble: Trouble) -> list[tuple[str, str]]:
    """An agent and a tool of each that does its work."""
    work = {"support-agent": "search.read", "mail-agent": "notes.write", "ops-agent": "search.read"}
    return [(agent, tool) for agent, tool in work.items() if agent != trouble.agent]


async def goes_as_it_should(scene: Incident, *, stopped: bool) -> None:
    trouble = scene.trouble
    assert await scene.call(trouble.agent, trouble.tool) == ("agent_disabled" if stopped else trouble.reason)
    assert {await scene.call(agent, tool) for agent, tool in others(trouble)} == {"ok"}


@pytest.mark.parametrize("trouble", [FORBIDDEN_TOOL, SPENDING], ids=lambda trouble: trouble.reason)
async def test_help_leads_to_who_why_the_stop_and_its_end_in_four_commands(tmp_path: Path, trouble: Trouble) -> None:
    async with incident(tmp_path, trouble) as scene:
        await scene.until_it_shows()
        shell = Shell(tmp_path, scene.operator)
        first = the(r"Something is wrong:\n +(tool-gateway \w+)", await shell.type("tool-gateway --help"))
        told = await shell.type(first)
        assert f"\nin trouble   {trouble.agent}: " in told
        assert f"{trouble.tool}: {trouble.reason}." in told
        assert len(the(r"^  why        (.+)", told)) > 20
        stopped = await shell.type(the(r"^  stop it    (.+)", told))
        await goes_as_it_should(scene, stopped=True)
        assert f"\n  stopped; restore with: tool-gateway restore agent:{trouble.agent}\n" in await shell.type(first)
        await shell.type(the(r"^Lift it with: (.+)", stopped))
        await goes_as_it_should(scene, stopped=False)


async def test_the_page_can_be_followed_and_its_agent_is_stopped_alone(tmp_path: Path) -> None:
    section = PAGE.partition("## With the command line\n")[2].partition("\n## ")[0]
    [look, stop, restore] = re.findall(BLOCKS, section, re.DOTALL)
    async with incident(tmp_path, FAILING_WRITE) as scene:
        await scene.until_it_shows()
        shell = Shell(tmp_path, scene.operator)
        shows(told := await shell.paste(look[0]), look[1])
        tail = await shell.start(the(r"^  see each   (.+)", told))
        assert tail.stdout is not None
        assert b"tool_error" in await tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        await tail.communicate()
        shows(await shell.paste(stop[0]), stop[1])
        await goes_as_it_should(scene, stopped=True)
        shows(await shell.paste(restore[0]), restore[1])
        await goes_as_it_should(scene, stopped=False)


async def test_the_scopes_stop_what_the_page_says(tmp_path: Path) -> None:
    scopes = re.findall(r"^\| `(\S+)` \| (every .+) \|$", PAGE, re.MULTILINE)
    assert len(scopes) == 5
    async with started(tmp_path) as operator:
        shell = Shell(tmp_path, operator)
        said = await asyncio.gather(*(shell.type(f"tool-gateway kill {scope} --dry-run") for scope, _ in scopes))
        for told, (_, stops) in zip(said, scopes, strict=True):
            assert told.startswith(f"Stops {stops}. ")


def test_it_says_how_far_back_is_looked() -> None:
    assert f"the last {KEPT_CALLS:,} calls, as far as they ended within five minutes" in PAGE
    assert WINDOW == 300


@asynccontextmanager
async def tool_down(folder: Path) -> AsyncIterator[Operator]:
    _write(folder, "tools: {allowlist: [search.read]}\nupstreams: {default: {url: 'http://127.0.0.1:9'}}\n")
    async with started(folder) as operator:
        yield operator


@asynccontextmanager
async def budget_used_up(folder: Path) -> AsyncIterator[Operator]:
    async with incident(folder, SPENDING) as scene:
        await scene.until_it_shows()
        yield scene.operator


@asynccontextmanager
async def forgotten_stop(folder: Path) -> AsyncIterator[Operator]:
    async with started(folder) as operator:
        await operator.post("/v1/kill-switches", {"scope": "all", "reason": "the night shift's drill"})
        yield operator


@asynccontextmanager
async def state_down(folder: Path) -> AsyncIterator[Operator]:
    async with started(folder, GATEWAY_STATE="valkey://127.0.0.1:1/0") as operator:
        yield operator


@asynccontextmanager
async def log_full(folder: Path) -> AsyncIterator[Operator]:
    (folder / "log").symlink_to("/dev/full")
    async with started(folder) as operator:
        while "log_failing" not in (await operator.get("/readyz"))["degraded"]:  # type: ignore[operator]  # a list of words
            await operator.call("/tools/shell.run", 403)
        yield operator
        (folder / "log").unlink()


@asynccontextmanager
async def policy_rejected(folder: Path) -> AsyncIterator[Operator]:
    async with started(folder) as operator:
        _write(folder, "tools: {allowlist: 3}\n")
        await operator.post("/v1/policy/reload", status=422)
        yield operator


@asynccontextmanager
async def candidate_rolled_back(folder: Path) -> AsyncIterator[Operator]:
    _write(folder, "tools: {allowlist: []}\n")
    (folder / "policies/candidate.yaml").write_text("egress: {allow_hosts: [a.example]}\n")
    async with started(folder) as operator:
        await operator.post("/v1/rollout", {"action": "rollback", "reason": "tickets close twice", "who": "ana"})
        yield operator


@asynccontextmanager
async def slow(folder: Path) -> AsyncIterator[Operator]:
    async with incident(folder, FAILING_WRITE) as scene, asyncio.TaskGroup() as callers:
        waiting = [callers.create_task(scene.call("support-agent", "slow")) for _ in range(3)]
        while not (await scene.operator.get("/v1/status"))["queues"]:
            pass
        yield scene.operator
        for caller in waiting:
            caller.cancel()


def _write(folder: Path, policy: str) -> None:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies/policy.yaml").write_text(policy)


CAUSES: dict[str, Callable[[Path], AbstractAsyncContextManager[Operator]]] = {
    "A tool is down": tool_down,
    "A budget is used up": budget_used_up,
    "Everything is refused": forgotten_stop,
    "The state is down": state_down,
    "The log cannot be written": log_full,
    "A policy was rejected": policy_rejected,
    "A candidate was rolled back": candidate_rolled_back,
    "The gateway is slow": slow,
}


def test_every_other_incident_has_a_cause_here() -> None:
    assert list(OTHERS) == list(CAUSES)


@pytest.mark.parametrize("title", CAUSES)
async def test_one_command_tells_what_it_is(tmp_path: Path, title: str) -> None:
    [(command, shown)] = OTHERS[title]
    async with CAUSES[title](tmp_path) as operator:
        shows(await Shell(tmp_path, operator).paste(command), shown)
