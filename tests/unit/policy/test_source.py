import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.model import Event, KillSwitch, Moment, Scope
from gateway.policy.document.problems import PolicyError
from gateway.policy.snapshot import Candidate, Snapshot
from gateway.policy.source import MOST_LOOKS, POLL_SECONDS, SETTLE_SECONDS, PolicySource, check

T = TypeVar("T")

ONE = "tools: {allowlist: [one]}\n"
TWO = "tools: {allowlist: [two]}\n"
BAD = "tools: {allowlist: 3}\n"
PATIENCE = 20
"""Seconds until a change that is not seen fails the test. Machines under load are slow; the promise itself is one second."""


class Watcher:
    """A PolicySource and everything it said; `until` waits for the next word that fits."""

    def __init__(
        self,
        path: Path,
        environ: dict[str, str] | None = None,
        clock: Callable[[], Moment] = lambda: Moment(1.0, 1000.0),
    ) -> None:
        self.events: list[Event] = []
        self.snapshots: list[Snapshot] = []
        self.candidates: list[Candidate | None] = []
        self.switches: list[tuple[KillSwitch, ...]] = []
        self._said = asyncio.Event()
        self.source = PolicySource(
            str(path),
            environ=environ or {},
            upstream=None,
            own_listeners=frozenset(),
            budgets={},
            emit=self._hear(self.events),
            clock=clock,
            on_snapshot=self._hear(self.snapshots),
            on_candidate=self._hear(self.candidates),
            on_file_switches=self._hear(self.switches),
        )

    def _hear(self, words: list[T]) -> Callable[[T], None]:
        def hear(word: T) -> None:
            words.append(word)
            self._said.set()

        return hear

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._said.clear()
                await self._said.wait()

    def allows(self, tool: str) -> bool:
        return self.source.snapshot.plan("default", tool).allowed

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


@asynccontextmanager
async def watching(path: Path, environ: dict[str, str] | None = None) -> AsyncIterator[Watcher]:
    watcher = Watcher(path, environ)
    watcher.source.load()
    task = asyncio.create_task(watcher.source.watch())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(ONE)
    return tmp_path / "policies"


def move(path: Path, to: Path) -> None:
    path.rename(to)


def turn_into_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.write_text("")


def edit_in_place(folder: Path, text: str) -> None:
    (folder / "policy.yaml").write_text(text)


def rename_over(folder: Path, text: str) -> None:
    (folder.parent / "new").write_text(text)
    (folder.parent / "new").rename(folder / "policy.yaml")


def mount_like_kubernetes(folder: Path, text: str) -> None:
    """A ConfigMap: policy.yaml → ..data/policy.yaml, ..data → a dated folder, swapped by one rename."""
    dated = folder / f"..{len(list(folder.iterdir()))}"
    dated.mkdir()
    (dated / "policy.yaml").write_text(text)
    (folder / "..tmp").symlink_to(dated.name)
    (folder / "..tmp").rename(folder / "..data")
    if not (folder / "policy.yaml").is_symlink():
        (folder / "policy.yaml").unlink()
        (folder / "policy.yaml").symlink_to("..data/policy.yaml")


@pytest.mark.parametrize("change", [edit_in_place, rename_over, mount_like_kubernetes])
async def test_every_way_of_changing_the_file_is_seen(folder: Path, change: Callable[[Path, str], None]) -> None:
    change(folder, ONE)
    async with watching(folder) as watcher:
        assert watcher.allows("one")
        change(folder, TWO)
        await watcher.until(lambda: watcher.allows("two"))
        assert not watcher.allows("one")
        assert watcher.snapshots[-1] is watcher.source.snapshot
        first, second = watcher.told("policy_loaded")
        assert second.fields["previous"] == first.fields["version"] != second.fields["version"]
        change(folder, ONE)
        await watcher.until(lambda: watcher.allows("one"))


async def test_a_bad_file_changes_nothing_and_is_reported_once(folder: Path) -> None:
    async with watching(folder) as watcher:
        edit_in_place(folder, BAD)
        await watcher.until(lambda: bool(watcher.source.problems))
        assert watcher.allows("one")
        line = "policy.yaml:1:9 tools.allowlist: expected a list, got 3"
        assert list(watcher.source.problems) == [line]
        (rejected,) = watcher.told("policy_rejected")
        assert rejected.fields == {
            "file": "policy.yaml",
            "line": 1,
            "column": 9,
            "key": "tools.allowlist",
            "problem": "expected a list, got 3",
            "problems": [line],
        }
        assert await watcher.source.reload() == (line,)
        edit_in_place(folder, TWO)
        await watcher.until(lambda: watcher.allows("two"))
        assert not watcher.source.problems
        assert len(watcher.told("policy_rejected")) == 1


@pytest.mark.parametrize("spoil", [Path.unlink, turn_into_a_fifo, empty])
async def test_a_file_that_goes_or_turns_into_something_else_is_a_bad_file(
    folder: Path, spoil: Callable[[Path], object]
) -> None:
    async with watching(folder) as watcher:
        spoil(folder / "policy.yaml")
        await watcher.until(lambda: bool(watcher.source.problems))
        assert watcher.allows("one")
        assert "policy.yaml:1:1 " in watcher.source.problems[0]


async def test_reload_reads_at_once_and_tells_the_problems(folder: Path) -> None:
    watcher = Watcher(folder)
    watcher.source.load()
    edit_in_place(folder, TWO)
    assert await watcher.source.reload() == ()
    assert watcher.allows("two")
    edit_in_place(folder, BAD)
    assert len(await watcher.source.reload()) == 1
    assert watcher.allows("two")


async def test_a_secret_file_that_changes_is_read_again(folder: Path) -> None:
    secret = folder.parent / "token"
    secret.write_text("first\n")
    edit_in_place(folder, f"agents: {{a: {{token: '${{file:{secret}}}'}}, default: {{}}}}\n")
    async with watching(folder) as watcher:
        version = watcher.source.snapshot.version
        assert watcher.source.snapshot.agent_of_token("first") == "a"
        secret.write_text("second\n")
        await watcher.until(lambda: watcher.source.snapshot.agent_of_token("second") == "a")
        assert watcher.source.snapshot.agent_of_token("first") is None
        assert watcher.source.snapshot.version == version
        secret.unlink()
        await watcher.until(lambda: bool(watcher.source.problems))
        assert watcher.source.snapshot.agent_of_token("second") == "a"


async def test_the_kill_switch_file_comes_changes_and_goes(folder: Path) -> None:
    file = folder / "kill_switch.yaml"
    async with watching(folder) as watcher:
        assert watcher.switches == [()]
        file.write_text("disable_writes: true\nreason: look\n")
        await watcher.until(lambda: len(watcher.switches) == 2)
        (switch,) = watcher.switches[-1]
        assert (switch.scope, switch.reason, switch.who) == (Scope("writes"), "look", "kill_switch.yaml")
        file.write_text("kill_switch: {disable_all: true}\n")
        await watcher.until(lambda: len(watcher.switches) == 3)
        assert [switch.scope for switch in watcher.switches[-1]] == [Scope("all")]
        file.unlink()
        await watcher.until(lambda: len(watcher.switches) == 4)
        assert watcher.switches[-1] == ()
        assert watcher.told("policy_rejected") == []
        assert len(watcher.told("policy_loaded")) == 1


@pytest.mark.parametrize("spoilt", ["", "disable_all: maybe\n", "disable_all: [\n"])
async def test_a_kill_switch_file_that_cannot_be_read_keeps_its_switches(folder: Path, spoilt: str) -> None:
    file = folder / "kill_switch.yaml"
    file.write_text("disable_all: true\n")
    async with watching(folder) as watcher:
        file.write_text(spoilt)
        await watcher.until(lambda: bool(watcher.source.problems))
        assert len(watcher.switches) == 1
        (rejected,) = watcher.told("policy_rejected")
        assert rejected.fields["file"] == "kill_switch.yaml"


async def test_a_folder_that_goes_lifts_no_kill_switch(folder: Path) -> None:
    (folder / "kill_switch.yaml").write_text("disable_all: true\n")
    async with watching(folder) as watcher:
        move(folder, folder.parent / "elsewhere")
        await watcher.until(lambda: len(watcher.source.problems) == 2)
        assert len(watcher.switches) == 1
        assert watcher.allows("one")


async def test_a_bad_policy_does_not_delay_the_kill_switch_file(folder: Path) -> None:
    async with watching(folder) as watcher:
        edit_in_place(folder, BAD)
        (folder / "kill_switch.yaml").write_text("disable_all: true\n")
        await watcher.until(lambda: len(watcher.switches) == 2 and bool(watcher.source.problems))


@pytest.mark.parametrize("file", ["policy.yaml", "kill_switch.yaml"])
def test_nothing_starts_on_files_that_are_not_in_order(folder: Path, file: str) -> None:
    (folder / file).write_text("[")
    watcher = Watcher(folder)
    with pytest.raises(PolicyError) as refused:
        watcher.source.load()
    assert refused.value.lines[0].startswith(f"{file}:")
    assert watcher.snapshots == []


def test_a_bad_candidate_stops_no_start(folder: Path) -> None:
    (folder / "candidate.yaml").write_text(BAD)
    watcher = Watcher(folder)
    watcher.source.load()
    assert watcher.source.problems == ("candidate.yaml:1:9 tools.allowlist: expected a list, got 3",)
    assert watcher.candidates == [None]
    assert [event.fields["file"] for event in watcher.told("policy_rejected")] == ["candidate.yaml"]


async def test_a_candidate_comes_changes_and_goes(folder: Path) -> None:
    file = folder / "candidate.yaml"
    async with watching(folder) as watcher:
        assert watcher.candidates == [None]
        file.write_text(TWO)
        await watcher.until(lambda: watcher.source.candidate is not None)
        first = watcher.source.candidate
        assert first is not None
        assert first.snapshot.plan("default", "two").allowed
        assert first.changes == ("tools.allowlist",)
        assert watcher.allows("one")
        file.write_text("tools: {allowlist: [three]}\n")
        await watcher.until(lambda: watcher.source.candidate is not first)
        second = watcher.source.candidate
        assert second is not None
        assert second.content != first.content
        assert second.snapshot.version != first.snapshot.version
        file.unlink()
        await watcher.until(lambda: watcher.candidates[-1] is None)
        assert watcher.source.candidate is None
        assert watcher.source.problems == ()


async def test_a_bad_candidate_leaves_the_policy_for_everybody_and_delays_none(folder: Path) -> None:
    (folder / "candidate.yaml").write_text(TWO)
    async with watching(folder) as watcher:
        assert watcher.source.candidate is not None
        (folder / "candidate.yaml").write_text("mode: report\n")
        edit_in_place(folder, TWO)
        await watcher.until(lambda: watcher.allows("two") and watcher.source.candidate is None)
        await watcher.until(lambda: bool(watcher.source.candidate_problems))
        (line,) = watcher.source.problems
        assert line.startswith("candidate.yaml:1:1 mode: stays as in policy.yaml")


async def test_a_candidate_is_compiled_anew_when_the_policy_under_it_changes(folder: Path) -> None:
    (folder / "candidate.yaml").write_text("egress: {allow_hosts: [a.example]}\n")
    async with watching(folder) as watcher:
        first = watcher.source.candidate
        edit_in_place(folder, TWO)
        await watcher.until(lambda: watcher.source.candidate is not first)
        second = watcher.source.candidate
        assert first is not None
        assert second is not None
        assert second.content == first.content
        assert second.snapshot.plan("default", "two").allowed
        assert not second.snapshot.plan("default", "one").allowed


async def test_a_candidate_compiled_on_a_policy_that_changed_meanwhile_is_not_taken(folder: Path) -> None:
    (folder / "candidate.yaml").write_text("egress: {allow_hosts: [a.example]}\n")
    watcher = Watcher(folder)
    watcher.source.load()
    asked = watcher.source._ask_candidate()
    late = watcher.source._judge.ask(asked.question, 0)
    edit_in_place(folder, TWO)
    await watcher.source.reload()
    told = len(watcher.candidates)
    asked.take(late)
    assert len(watcher.candidates) == told
    await watcher.source.reload()
    assert watcher.source.candidate is not None
    assert watcher.source.candidate.snapshot.plan("default", "two").allowed


async def test_a_candidate_is_laid_over_the_last_good_policy(folder: Path) -> None:
    async with watching(folder) as watcher:
        edit_in_place(folder, BAD)
        await watcher.until(lambda: bool(watcher.source.problems))
        (folder / "candidate.yaml").write_text("egress: {allow_hosts: [a.example]}\n")
        await watcher.until(lambda: watcher.source.candidate is not None)
        assert watcher.source.candidate is not None
        assert watcher.source.candidate.snapshot.plan("default", "one").allowed


async def test_one_file_is_a_policy_without_the_files_beside_it(folder: Path) -> None:
    (folder / "kill_switch.yaml").write_text("disable_all: true\n")
    (folder / "other.yaml").write_text(ONE)
    async with watching(folder / "other.yaml") as watcher:
        assert watcher.switches == [()]
        (folder / "other.yaml").write_text(TWO)
        await watcher.until(lambda: watcher.allows("two"))


def fail(snapshot: Snapshot) -> None:
    raise LookupError("hunter2")


async def test_a_callback_that_fails_does_not_end_the_watching(folder: Path) -> None:
    async with watching(folder) as watcher:
        hear, watcher.source._on_snapshot = watcher.source._on_snapshot, fail
        edit_in_place(folder, BAD.replace("3", "[three]"))
        await watcher.until(lambda: bool(watcher.told("policy_rejected")))
        assert watcher.told("policy_rejected")[0].fields["problem"] == "internal error: LookupError"
        watcher.source._on_snapshot = hear
        edit_in_place(folder, TWO)
        await watcher.until(lambda: watcher.allows("two"))


async def test_a_policy_can_be_checked_without_being_put_in_force(folder: Path) -> None:
    watcher = Watcher(folder)
    watcher.source.load()
    snapshot, problems = await watcher.source.check(TWO.encode())
    assert snapshot is not None
    assert problems == ()
    assert (await watcher.source.check(BAD.encode()))[1] == ("policy.yaml:1:9 tools.allowlist: expected a list, got 3",)
    assert watcher.allows("one")


def test_check_can_leave_secrets_unread(folder: Path) -> None:
    edit_in_place(folder, "agents: {a: {token: '${env:UNSET}'}, default: {}}\n")
    assert check(str(folder), environ={}).problems == ("policy.yaml:1:14 agents.a.token: ${env:UNSET} is not set",)
    assert check(str(folder), environ={}, without_secrets=True).problems == ()


def test_check_of_a_path_that_is_not_there_says_so(folder: Path) -> None:
    assert check(str(folder / "none"), environ={}).problems == (f"{folder}/none:1:1 does not exist",)
    (folder / "empty").mkdir()
    assert check(str(folder / "empty"), environ={}).problems == (f"{folder}/empty/policy.yaml:1:1 does not exist",)


def test_switches_beside_a_single_policy_file_are_warned_about_since_they_stop_nothing(folder: Path) -> None:
    single = folder / "policy.yaml"
    assert not [warning for warning in check(str(single), environ={}).warnings if "ignored" in warning]
    (folder / "kill_switch.yaml").write_text("disable_all: true")
    assert (
        "kill_switch.yaml is ignored: it stops calls in a policy folder, and the policy here is a single file"
        in check(str(single), environ={}).warnings
    )
    assert not [warning for warning in check(str(folder), environ={}).warnings if "ignored" in warning]


def test_waiting_for_a_change_leaves_half_of_the_promised_second_for_reading_it() -> None:
    """Promised are 1 s in all, and 200 ms for writes to settle."""
    settling = MOST_LOOKS * SETTLE_SECONDS
    assert settling <= 0.2
    assert POLL_SECONDS + settling <= 0.5
