"""Every kind of bad file put in place of a policy in force: the old one stays, and the event loop hardly notices."""

import asyncio
import gc
import shutil
import time
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import pytest

from gateway.model import Moment
from gateway.policy.document.problems import MOST_LINES
from gateway.policy.document.yaml_loader import LARGEST, MOST_VALUES
from gateway.policy.source import PolicySource
from tests.unit.policy.test_golden import ENVIRON, OWN, cases, expected

GOOD = "tools: {allowlist: [search.read]}\nkill_switch: {disable_tools: [notes.write]}\n"
MOST_STALL = 0.5
"""Seconds. The promise is 0.05, and what this is to catch took many seconds."""


def several(count: int, item: str, between: str = ", ") -> str:
    return between.join(item.replace("#", str(n)) for n in range(count))


HUGE: dict[str, Callable[[], str]] = {
    "larger than a policy may be": lambda: "a" * (LARGEST + 1),
    "one long text": lambda: "mode: " + "a" * (LARGEST - 100),
    "one long key": lambda: "a" * (LARGEST - 100) + ": 1",
    "one long comment": lambda: "#" + "a" * (LARGEST - 100),
    "blank lines": lambda: "\n" * (LARGEST - 100) + "x",
    "a number of millions of digits": lambda: "mode: " + "9" * (LARGEST - 100),
    "a control character at the end": lambda: "mode: " + "a" * (LARGEST - 100) + "\x01",
    "many values": lambda: "x: [" + "1, " * (MOST_VALUES - 10) + "]",
    "too many values": lambda: "x: [" + "1, " * MOST_VALUES + "]",
    "many dates": lambda: "x: [" + "2026-01-01, " * 50_000 + "]",
    "many unknown keys": lambda: several(MOST_VALUES // 2 - 1, "unknown_#: 1", "\n"),
    "many duplicate keys": lambda: "a: 1\n" * 49_000,
    "many anchors": lambda: several(49_000, "k#: &a# 1", "\n"),
    "many aliases": lambda: "x: &a 1\ny: [" + "*a, " * 90_000 + "]",
    "many bad names": lambda: "tools: {allowlist: [" + several(90_000, "'a b#'") + "]}",
    "good names, then bad ones": lambda: f"tools: {{allowlist: [{several(45_000, 'a#')}, {several(45_000, 'b#.')}]}}",
    "many misspelt tools": lambda: "tools: {definitions: {" + several(24_000, "t#: {efect: read}") + "}}",
    "many tools without an upstream": lambda: "tools: {definitions: {" + several(24_000, "t#: {upstream: u}") + "}}",
    "many of both": lambda: (
        f"tools: {{definitions: {{{several(12_000, 't#: {upstream: u}')}}}}}\n"
        f"upstreams: {{{several(12_000, 'u#: {url: http://a}')}}}"
    ),
    "deep": lambda: "[" * 1_000_000,
    "a pattern that takes long": lambda: (
        "tools: {definitions: {a: {arguments: {pattern: '" + "\\w{1,10}" * 8_000 + "'}}}}"
    ),
    "many patterns": lambda: (
        "tools: {definitions: {a: {arguments: {properties: {" + several(15_000, "p#: {pattern: '\\w{1,99}'}") + "}}}}}"
    ),
    "many unknown keywords": lambda: "tools: {definitions: {a: {arguments: {" + several(45_000, "k#: 1") + "}}}}",
}


class Reloader:
    """A PolicySource on a folder of its own, in force with GOOD."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put_back()
        self.source = PolicySource(
            str(folder),
            environ=ENVIRON,
            upstream=None,
            own_listeners=OWN,
            budgets={},
            emit=lambda event: None,
            clock=lambda: Moment(1.0, 1000.0),
            on_snapshot=lambda snapshot: None,
            on_candidate=lambda candidate: None,
            on_file_switches=lambda switches: None,
        )
        self.source.load()

    def put_back(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "policy.yaml").write_text(GOOD)

    def put(self, case: Path) -> None:
        shutil.rmtree(self.folder)
        if case.is_dir():
            shutil.copytree(case, self.folder)
        else:
            self.folder.mkdir()
            shutil.copy(case, self.folder / "policy.yaml")


@pytest.fixture
def reloader(tmp_path: Path) -> Reloader:
    return Reloader(tmp_path / "policies")


async def test_every_kind_of_bad_file_leaves_the_old_policy_in_force(reloader: Reloader) -> None:
    bad = cases("bad")
    assert len(bad) >= 100
    for case in bad:
        reloader.put(case)
        of_the_policy = [line for line in expected(case) if line.startswith("policy.yaml:")]
        before = reloader.source.snapshot
        told = await reloader.source.reload()
        assert tuple(line.removeprefix(f"{reloader.folder}/") for line in told) == expected(case), case.name
        if of_the_policy:
            assert reloader.source.snapshot is before, case.name
        reloader.put_back()
        assert await reloader.source.reload() == (), case.name
        assert reloader.source.snapshot.plan("default", "search.read").allowed


class Stall(NamedTuple):
    """The longest that nothing else ran on the loop while it reloaded."""

    work: float
    """Seconds of this process: what other processes take from it does not count."""
    stood: float
    """Seconds by the clock."""
    of: float
    """Seconds that it all took."""

    @property
    def bearable(self) -> bool:
        """A busy machine may have the loop stand still for a part of the time, but not for most of it, as whoever blocks it does."""
        return self.work < MOST_STALL and (self.stood < MOST_STALL or self.stood < self.of / 2)


async def largest_stall(reload: Coroutine[object, object, object]) -> Stall:
    began = last = perf_counter()
    worked, work, stood = process_time(), 0.0, 0.0
    reloading = asyncio.create_task(reload)
    while not reloading.done():
        await asyncio.sleep(0.001)
        now, used = perf_counter(), process_time()
        work, stood = max(work, used - worked), max(stood, now - last)
        last, worked = now, used
    await reloading
    return Stall(work, stood, last - began)


async def busily() -> None:
    until = process_time() + 2 * MOST_STALL
    while process_time() < until:
        pass


async def asleep() -> None:
    time.sleep(2 * MOST_STALL)  # noqa: ASYNC251  as it must not be


@pytest.mark.parametrize("blocking", [busily, asleep])
async def test_whoever_holds_up_the_loop_is_seen(blocking: Callable[[], Coroutine[object, object, None]]) -> None:
    assert not (await largest_stall(blocking())).bearable


@pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE.keys())
async def test_a_file_made_to_take_long_is_refused_without_holding_up_the_loop(
    huge: Callable[[], str], reloader: Reloader
) -> None:
    before = reloader.source.snapshot
    (reloader.folder / "policy.yaml").write_text(huge())
    stall = await largest_stall(reloader.source.reload())
    assert 1 <= len(reloader.source.problems) <= MOST_LINES + 1
    assert max(map(len, reloader.source.problems)) < 500
    assert reloader.source.snapshot is before
    assert stall.bearable, stall


async def test_a_policy_that_is_replaced_goes_at_once(reloader: Reloader) -> None:
    """Not only when the garbage collector finds it: reloads would pile policies up."""
    old = weakref.ref(reloader.source.snapshot)
    reloader.source.snapshot.plan("default", "search.read")
    (reloader.folder / "policy.yaml").write_text("tools: {allowlist: []}\n")
    gc.disable()
    try:
        await reloader.source.reload()
        assert old() is None
    finally:
        gc.enable()
