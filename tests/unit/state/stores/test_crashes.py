"""Whatever is done, wherever the process is killed: the next one has every charge once, no matter how far the journal had been folded."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.model import Budgets, Moment, RunKey
from gateway.state.ledger import Changes, Ledger
from gateway.state.run import Reservation
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.sqlite import SqliteStore
from tests.unit.made_up import a_charge

KEYS = [RunKey("a", "1"), RunKey("a", "2"), RunKey("b", "1"), RunKey("a", ""), RunKey("b", "")]
BUDGETS = Budgets(max_steps=50, max_tool_calls=50, max_seconds=60)
TOOLS = ["search.read", "notes.write"]
MOMENTS = ["before the commit", "after the commit"]


class Killed(BaseException):
    """The process was, at that instant."""


class Doomed(SqliteStore):
    """The real store, whose process is killed while it saves."""

    dies: str | None = None

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._db.execute("PRAGMA synchronous = OFF")  # loss of power is not what this is about

    def save(self, changes: Changes, covered: int) -> None:
        if self.dies == "before the commit":
            raise Killed
        super().save(changes, covered)
        if self.dies == "after the commit":
            raise Killed


class Used:
    """What the model knows of one run or window."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.calls = 0
        self.spend = 0
        self.steps: int | None = None
        self.stop_reason: str | None = None


class CountsAndCrashes(RuleBasedStateMachine):
    """`time` is true time; each process has a monotonic clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.time = 1e9
        self.epoch = 0.0
        self.used: dict[RunKey, Used] = {}
        self.spent: dict[str, int] = {}
        """By agent, today."""
        self.held: list[tuple[Reservation, Used]] = []
        self.begin()

    @property
    def now(self) -> Moment:
        return Moment(self.time - self.epoch, self.time)

    def begin(self) -> None:
        self.store = Doomed(str(self.folder / "gateway.db"))
        self.keeper, self.ledger = Keeper(self.store), Ledger()
        self.keeper.begin(self.ledger, self.keeper.load(), self.now)

    def bury(self) -> None:
        """What the system does after a kill: descriptors are closed, files stay as they are."""
        self.keeper._worker.shutdown()
        journal = self.keeper._journal
        assert journal is not None
        for file in (journal._file, journal._next, *journal._older):
            if file is not None:
                file.close()
        self.store.close()
        self.held.clear()

    def of(self, key: RunKey) -> Used:
        known = self.used.get(key)
        if known is None or (key.id == "" and self.time - known.began >= BUDGETS.max_seconds):
            known = self.used[key] = Used(self.time)
        return known

    @rule(seconds=st.sampled_from([0.001, 1, 59, 60, 61]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(
        key=st.sampled_from(KEYS),
        tool=st.sampled_from(TOOLS),
        spend=st.integers(0, 5),
        step=st.none() | st.integers(1, 9),
    )
    def charge(self, key: RunKey, tool: str, spend: int, step: int | None) -> None:
        reservation = self.ledger.reserve(a_charge(key, tool=tool, spend=spend, step=step, now=self.now), BUDGETS)
        assert reservation.durable
        known = self.of(key)
        known.calls += 1
        known.spend += spend
        self.spent[key.agent] = self.spent.get(key.agent, 0) + spend
        if step is not None:
            known.steps = max(known.steps or 0, step)
        self.held.append((reservation, known))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        reservation, known = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.ledger.refund(reservation)
        known.calls -= 1
        known.spend -= reservation.charge.spend
        self.spent[reservation.charge.key.agent] -= reservation.charge.spend

    @rule(key=st.sampled_from(KEYS))
    def add_step(self, key: RunKey) -> None:
        self.ledger.add_step(key, BUDGETS, self.now)
        known = self.of(key)
        known.steps = (known.steps or 0) + 1

    @rule(key=st.sampled_from(KEYS))
    def finish(self, key: RunKey) -> None:
        if self.ledger.finish(key, "done", self.now):
            self.used[key].stop_reason = "done"

    @rule()
    def fold(self) -> None:
        self.runner.run(self.keeper.flush(self.ledger, self.now))
        assert self.keeper.up

    @rule(moment=st.sampled_from(MOMENTS), charged=st.booleans())
    def be_killed_while_folding(self, moment: str, charged: bool) -> None:
        self.store.dies = moment
        try:
            self.runner.run(self.fold_and_charge(charged))
        except Killed:
            pass
        self.restart()

    async def fold_and_charge(self, charged: bool) -> None:
        folding = asyncio.ensure_future(self.keeper.flush(self.ledger, self.now))
        await asyncio.sleep(0)  # it has rotated, and the worker is at it
        if charged:
            self.charge(KEYS[0], TOOLS[0], 1, None)
        await folding

    @rule(torn=st.integers(0, 40), pause=st.sampled_from([0, 1, 30]))
    def be_killed(self, torn: int, pause: float) -> None:
        """Perhaps in the middle of a write, of a call that was never sent."""
        newest = max(
            self.folder.glob("*.journal.*"), key=lambda path: int(path.suffix[1:]) - (path.stat().st_size == 8)
        )
        with newest.open("ab") as file:
            file.write(b"\x2f\x00\x00\x00torn while it was being written"[:torn])
        self.time += pause
        self.restart()

    def restart(self) -> None:
        self.bury()
        self.epoch = self.time - 77
        self.begin()

    @rule(moment=st.sampled_from(MOMENTS))
    def be_killed_at_the_start(self, moment: str) -> None:
        """While the next process folds what it found."""
        self.bury()
        self.epoch = self.time - 5
        Doomed.dies = moment
        try:
            self.begin()
        except Killed:
            pass
        finally:
            Doomed.dies = None
        self.restart()

    @rule()
    def end_in_order(self) -> None:
        self.runner.run(self.keeper.close(self.ledger, self.now))
        assert [path.name for path in self.folder.iterdir()] == ["gateway.db"]
        self.held.clear()
        self.epoch = self.time - 99
        self.begin()

    @invariant()
    def every_charge_is_there_once(self) -> None:
        runs = {run.key: run for run in self.ledger.runs()}
        assert set(runs) == set(self.used)
        for key, known in self.used.items():
            run = runs[key]
            assert (run.tool_calls, run.spend, run.steps, run.stop_reason, run.started.wall) == (
                known.calls, known.spend, known.steps, known.stop_reason, known.began,
            )  # fmt: skip
            assert run.ended is not None or abs(run.elapsed(self.now) - (self.time - known.began)) < 1e-3
        for agent, spend in self.spent.items():
            assert self.ledger.agents.today(agent, self.now).spend == spend

    def teardown(self) -> None:
        self.bury()
        self.runner.close()
        shutil.rmtree(self.folder)


TestCountsAndCrashes = CountsAndCrashes.TestCase
TestCountsAndCrashes.settings = settings(stateful_step_count=25, max_examples=50)
