"""Large policies are compiled in a process of their own: what it says is what this one would say, and its troubles are not ours."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.model import Moment
from gateway.policy import judging
from gateway.policy.compiled import Compiled, CompiledPolicy
from gateway.policy.folder import JudgedPolicy, Location, Surroundings, judge_policy
from gateway.policy.judging import SMALL, Judge, Question
from gateway.policy.watched import AGAIN_SECONDS
from tests.unit.policy.policy_texts import said
from tests.unit.policy.test_golden import ENVIRON, OWN, cases
from tests.unit.policy.test_source import Watcher

LARGE = SMALL + 1
PADDING = "# of no meaning\n" * (SMALL // 16 + 1)
"""Makes any policy a large one."""
ONE = PADDING + "tools: {allowlist: [one]}\n"
TWO = PADDING + "tools: {allowlist: [two]}\n"
STAND_STILL = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); "
PATIENCE = 20
T = TypeVar("T")


def question(folder: Path) -> Question[JudgedPolicy]:
    where = Location.of(str(folder))
    return partial(judge_policy, where, Surroundings(ENVIRON, own_listeners=OWN), now=5.0)


def put(case: Path, folder: Path) -> Path:
    if case.is_dir():
        shutil.copytree(case, folder)
    else:
        folder.mkdir()
        shutil.copy(case, folder / "policy.yaml")
    return folder


def everything(compiled: Compiled) -> dict[str, object]:
    """All that calls can see of a policy."""
    snapshot = CompiledPolicy(compiled)
    agents, tools = (*snapshot.agents(), "nobody"), (*snapshot.tools(), "made.up", "http.get")
    plans = {(agent, tool): said(snapshot.plan(agent, tool)) for agent in agents for tool in tools}
    for plan in plans.values():
        plan["arguments"] = plan["arguments"] is not None
    plain = {
        key: value
        for key, value in compiled._asdict().items()
        if key not in ("general", "agents", "tool_rules", "definitions", "routes", "written", "size")
    }
    routes = compiled.routes
    shelves = {**routes._exact, **routes._prefixes}
    found = {path: [routes.find(method, path) for method in ("GET", "POST", "PUT")] for path in shelves}
    return {**plain, "plans": plans, "routes": found, "agents": agents, "policy": compiled.policy()}


@pytest.mark.parametrize("case", cases("good"), ids=lambda path: path.name)
def test_the_other_process_compiles_to_the_very_same(case: Path, tmp_path: Path) -> None:
    folder, judge = put(case, tmp_path / "policies"), Judge()
    here, there = (judge.ask(question(folder), size) for size in (0, LARGE))
    assert here.verdict.compiled is not None
    assert there.verdict.compiled is not None
    assert everything(there.verdict.compiled) == everything(here.verdict.compiled)
    assert there.seen == here.seen
    assert there.remark is None


@pytest.mark.parametrize("case", cases("bad")[::15], ids=lambda path: path.name)
def test_the_other_process_tells_the_very_same_problems(case: Path, tmp_path: Path) -> None:
    folder, judge = put(case, tmp_path / "policies"), Judge()
    here, there = (judge.ask(question(folder), size) for size in (0, LARGE))
    assert (there.verdict.problems, there.seen) == (here.verdict.problems, here.seen)


def test_the_other_process_loads_nothing_that_serves() -> None:
    """It starts in a tenth of a second because it holds so little."""
    told = "import sys; sys.path[:] = sys.argv[1:]; import gateway.policy.judging; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", told, *sys.path], capture_output=True, check=True)
    loaded = set(ran.stdout.decode().split())
    assert "gateway.policy.compile" in loaded
    assert loaded.isdisjoint({"aiohttp", "asyncio", "uvloop", "click", "jsonschema_rs", "re2", "pydantic"})


def is_there(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def stands_still(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def whatever_is_shown_of(process: int) -> bytes:
    return b"".join(Path(f"/proc/{process}/{file}").read_bytes() for file in ("cmdline", "environ"))


class Clock:
    """Stands still unless it is set."""

    def __init__(self) -> None:
        self.mono = 1.0

    def __call__(self) -> Moment:
        return Moment(self.mono, 1000.0)


class Troubled(Watcher):
    """A watcher of a large policy whose other processes stand still until they are told to go on, or ended."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.clock = Clock()
        super().__init__(folder, environ, clock=self.clock)
        self.folder = folder
        self.source.load()

    def write(self, text: str) -> None:
        (self.folder / "policy.yaml").write_text(text)

    @asynccontextmanager
    async def caught(self, work: Coroutine[Any, Any, T]) -> AsyncIterator[tuple[int, "asyncio.Task[T]"]]:
        """The process that this work starts, before it has begun, and the task that waits for it."""
        processes = self.source._judge._processes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(judging, "_PROCESS", STAND_STILL + judging._PROCESS)
            task = asyncio.create_task(work)
            async with asyncio.timeout(PATIENCE):
                while not processes:  # noqa: ASYNC110  a thread sets no event of ours
                    await asyncio.sleep(0.001)
                (process,) = processes
                while not stands_still(process.pid):  # noqa: ASYNC110  nor does a process
                    await asyncio.sleep(0.001)
        yield process.pid, task
        await asyncio.gather(task, return_exceptions=True)

    async def reload(self, sent: signal.Signals | None) -> tuple[str, ...]:
        """Reloads; its process is sent this instead of being left alone."""
        async with self.caught(self.source.reload()) as (process, reloading):
            if sent is not None:
                os.kill(process, sent)
            return await reloading


def loaded_with(watcher: Watcher) -> str:
    """The warnings of the policy in force."""
    return str(watcher.told("policy_loaded")[-1].fields["warnings"])


@pytest.fixture
def troubled(tmp_path: Path) -> Troubled:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(ONE)
    return Troubled(tmp_path / "policies")


async def test_a_process_that_is_killed_leaves_the_old_policy_in_force(troubled: Troubled) -> None:
    troubled.write(TWO)
    line = "policy.yaml:1:1 the process that compiled it ended with signal 9, for want of memory perhaps"
    assert await troubled.reload(signal.SIGKILL) == (line,)
    assert troubled.allows("one")
    assert [event.fields["problems"] for event in troubled.told("policy_rejected")] == [[line]]
    assert await troubled.source.reload() == ()
    assert troubled.allows("two")


async def test_what_could_not_be_judged_is_tried_again_later_and_told_once(troubled: Troubled) -> None:
    watched = troubled.source._policy
    troubled.write(TWO)
    await troubled.reload(signal.SIGKILL)
    assert not watched.differs()
    for _ in range(2):
        troubled.clock.mono += AGAIN_SECONDS
        assert watched.differs()
        await troubled.reload(signal.SIGKILL)
        assert not watched.differs()
    assert len(troubled.told("policy_rejected")) == 1
    troubled.clock.mono += AGAIN_SECONDS
    watching = asyncio.create_task(troubled.source.watch())
    await troubled.until(lambda: troubled.allows("two"))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert not troubled.source.problems


async def test_a_process_that_hangs_is_ended(troubled: Troubled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "LONGEST_SECONDS", 1)
    troubled.write(TWO)
    line = "policy.yaml:1:1 takes longer than 1 seconds to compile: make it smaller"
    assert await troubled.reload(None) == (line,)
    assert troubled.allows("one")
    assert not troubled.source._judge._processes


async def test_a_process_at_work_ends_with_the_watching(troubled: Troubled) -> None:
    troubled.write(TWO)
    async with troubled.caught(troubled.source.watch()) as (process, watching):
        watching.cancel()
    async with asyncio.timeout(PATIENCE):
        while is_there(process):  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.001)
    assert troubled.allows("one")


async def test_secrets_are_in_no_command_line_and_no_environment(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(ONE)
    troubled = Troubled(tmp_path / "policies", {"TOKEN": "hunter2-of-the-tests"})
    troubled.write(TWO + "agents: {a: {token: '${env:TOKEN}'}, default: {}}\n")
    async with troubled.caught(troubled.source.reload()) as (process, reloading):
        shown = whatever_is_shown_of(process)
        os.kill(process, signal.SIGCONT)
        assert await reloading == ()
    assert b"judging" in shown
    assert b"hunter2" not in shown
    assert troubled.source.snapshot.agent_of_token("hunter2-of-the-tests") == "a"
    assert "hunter2" not in repr(troubled.events)


@pytest.mark.parametrize("program", ["", "/nowhere/python", shutil.which("false"), shutil.which("true")])
async def test_where_no_process_can_be_had_the_gateway_compiles_itself_and_says_so(
    troubled: Troubled, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    troubled.write(TWO)
    assert await troubled.source.reload() == ()
    assert troubled.allows("two")
    assert "compiled within the gateway's own process, where calls may have felt it: " in loaded_with(troubled)


async def test_a_small_policy_needs_no_other_process(troubled: Troubled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    troubled.write("tools: {allowlist: [two]}\n")
    assert await troubled.source.reload() == ()
    assert "own process" not in loaded_with(troubled)


async def test_a_small_candidate_of_a_large_policy_is_laid_over_it_in_another_process(troubled: Troubled) -> None:
    many = "tools: {definitions: {" + ", ".join(f"t{n:04}: {{effect: read}}" for n in range(6000)) + "}}\n"
    troubled.write(many)
    (troubled.folder / "candidate.yaml").write_text("tools: {allowlist: [three]}\n")
    assert await troubled.source.reload() == ()
    (troubled.folder / "candidate.yaml").write_text("tools: {allowlist: [two]}\n")
    assert await troubled.reload(signal.SIGCONT) == ()
    assert troubled.source.candidate is not None
    assert troubled.source.candidate.snapshot.plan("default", "two").allowed
    assert "tools.definitions.t0000" in troubled.source.candidate.changes


@pytest.mark.parametrize("sent", [signal.SIGCONT, signal.SIGKILL])
async def test_a_large_policy_can_be_checked_without_being_put_in_force(
    troubled: Troubled, sent: signal.Signals
) -> None:
    async with troubled.caught(troubled.source.check(TWO.encode())) as (process, checking):
        os.kill(process, sent)
        snapshot, problems = await checking
    if sent is signal.SIGCONT:
        assert snapshot is not None
        assert (snapshot.plan("default", "two").allowed, problems) == (True, ())
    else:
        (line,) = problems
        assert line.startswith("policy.yaml:1:1 the process that compiled it ended with signal 9")
    assert troubled.allows("one")
