"""The Ledger against a model of it that anybody can follow: whatever calls, reloads, restarts and clocks do, both say the same."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model import Budgets, Moment, Reason, RunKey
from gateway.state.ledger import REMEMBERED, Changes, Ledger
from gateway.state.run import Reservation, Run, SavedRun, is_window
from tests.unit.made_up import a_charge

KEYS = [RunKey("a", "1"), RunKey("a", "2"), RunKey("b", "1"), RunKey("a", ""), RunKey("b", "")]
keys = st.sampled_from(KEYS)


class Known:
    """What the model knows of a run: times on a clock that no restart and no operator touches."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.calls = 0
        self.steps: int | None = None
        self.stop_reason: str | None = None
        self.ended: float | None = None


class LedgerAndModel(RuleBasedStateMachine):
    """`time` is the true time. Monotonic and wall clocks are at an offset to it, which changes at restarts and by an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.mono_offset = 500.0
        self.wall_offset = 1e9
        self.budgets = Budgets(max_steps=5, max_tool_calls=3, max_seconds=60)
        self.ledger = Ledger()
        self.known: dict[RunKey, Known] = {}
        self.reservations: list[tuple[Reservation, Known]] = []
        self.store: dict[RunKey, SavedRun] = {}

    @property
    def now(self) -> Moment:
        return Moment(self.time + self.mono_offset, self.time + self.wall_offset)

    def open(self, key: RunKey) -> tuple[Known, bool]:
        known = self.known.get(key)
        if known is None or (is_window(key) and self.time - known.started >= self.budgets.max_seconds):
            self.known.pop(key, None)  # so that the new one is the latest
            known = self.known[key] = Known(self.time)
            return known, True
        return known, False

    @rule(seconds=st.sampled_from([0, 1, 29, 31, 60, REMEMBERED]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(key=keys)
    def wait_until_its_time_is_up(self, key: RunKey) -> None:
        """To the very instant: of its last second, or of its day in memory."""
        if known := self.known.get(key):
            start, span = (
                (known.started, self.budgets.max_seconds) if known.ended is None else (known.ended, REMEMBERED)
            )
            self.time = max(self.time, start + span)

    @rule(seconds=st.sampled_from([10, 60, 120]))
    def reload(self, seconds: float) -> None:
        self.budgets = Budgets(5, 3, seconds)

    @rule(key=keys, step=st.none() | st.integers(1, 9))
    def reserve(self, key: RunKey, step: int | None) -> None:
        reservation = self.ledger.reserve(a_charge(key, step=step, now=self.now), self.budgets)
        known, started = self.open(key)
        assert reservation.started == started
        known.calls += 1
        if step is not None:
            known.steps = max(known.steps or 0, step)
        self.reservations.append((reservation, known))

    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        if self.reservations:
            index = data.draw(st.integers(0, len(self.reservations) - 1))
            reservation, known = self.reservations.pop(index)
            known.calls -= 1
            self.ledger.refund(reservation)
            self.ledger.refund(reservation)

    @rule(key=keys)
    def add_step(self, key: RunKey) -> None:
        self.ledger.add_step(key, self.budgets, self.now)
        known, _ = self.open(key)
        known.steps = (known.steps or 0) + 1

    @rule(key=keys, how=st.sampled_from(["finish", "kill_switch", "max_steps", "max_tool_calls", "rate_limited"]))
    def end(self, key: RunKey, how: str) -> None:
        if how == "finish":
            run = self.ledger.finish(key, how, self.now)
        elif how == "kill_switch":
            run = self.ledger.stop(key, self.now)
        else:
            run = self.ledger.exhaust(key, Reason(how), self.now)
        known = self.known.get(key)
        ends = known is not None and known.ended is None and not is_window(key) and how != "rate_limited"
        assert (run is not None) == ends
        if known is not None and ends:
            known.ended, known.stop_reason = self.time, how

    @rule()
    def expire(self) -> None:
        ended = {run.key for run in self.ledger.expire(self.now, lambda agent: self.budgets)}
        for key, known in [*self.known.items()]:
            over = self.time - known.started >= self.budgets.max_seconds
            forgotten = known.ended is not None and self.time - known.ended >= REMEMBERED
            vanished = known.ended is None and is_window(key) and over and self.looked_at(key)
            if forgotten or vanished:
                del self.known[key]
            elif key in ended:
                assert over
                known.ended, known.stop_reason = self.time, "max_seconds"
            else:
                assert known.ended is not None or not over or not self.looked_at(key)

    def looked_at(self, key: RunKey) -> bool:
        """A budget lowered by a reload is noticed by the next call, and by `expire` when the earlier one would have ended it."""
        run = self.run(key)
        return run is None or run.due <= self.now.mono

    @rule(at_end=st.just(False))
    def save(self, at_end: bool) -> None:
        changes: Changes = self.ledger.changed(self.now, at_end=at_end)
        assert {run.key for run in changes.saved}.isdisjoint(changes.forgotten)
        for run in changes.saved:
            self.store[run.key] = run
        for key in changes.forgotten:
            self.store.pop(key, None)

    @rule(pause=st.sampled_from([0, 5, 100]), mono=st.sampled_from([0, 7, 1e6]), shift=st.sampled_from([0, -1e6, 100]))
    def restart(self, pause: float, mono: float, shift: float) -> None:
        """Orderly: all is saved. The clock may have been set meanwhile; then ages are checked for their direction only."""
        self.save(at_end=True)
        before = {key: (run.elapsed(self.now), run.ended) for key in KEYS if (run := self.run(key))}
        self.time += pause
        self.mono_offset = mono - self.time
        self.wall_offset += shift
        self.ledger = Ledger()
        self.ledger.restore(self.store.values(), self.now)
        self.reservations.clear()
        for key, (elapsed, ended) in before.items():
            run = self.run(key)
            assert run is not None
            passed = run.elapsed(self.now) - elapsed
            assert passed >= -1e-6, "time ran backwards for a run"
            if ended is None:
                known = self.known[key]
                assert abs(passed - max(0, pause + shift)) < 1e-3
                known.started = self.time - run.elapsed(self.now)
            else:
                self.known[key].ended = self.time - run.since_end(self.now)

    def run(self, key: RunKey) -> Run | None:
        """Over or not."""
        return next((run for run in self.ledger.runs() if run.key == key), None)

    @invariant()
    def both_say_the_same(self) -> None:
        assert {run.key for run in self.ledger.runs()} == set(self.known)
        assert self.ledger.live == sum(known.ended is None for known in self.known.values())
        for run in self.ledger.runs():
            known = self.known[run.key]
            assert (run.tool_calls, run.steps, run.stop_reason) == (known.calls, known.steps, known.stop_reason)
            assert (run.ended is None) == (run.stop_reason is None) == (run.ended_by is None)


TestLedgerAndModel = LedgerAndModel.TestCase
TestLedgerAndModel.settings = settings(stateful_step_count=40)
