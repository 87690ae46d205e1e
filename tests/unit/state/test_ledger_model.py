"""The Ledger against a model of it that anybody can follow: whatever calls, reloads, restarts and clocks do, both say the same."""

from collections import Counter
from typing import NamedTuple

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.denial import Denial, Reason
from gateway.model import Budgets, Moment, RunKey
from gateway.state.agents import SavedCount
from gateway.state.ledger import REMEMBERED, Changes, Ledger
from gateway.state.run import Reservation, Run, SavedRun, is_window
from tests.unit.made_up import a_charge

KEYS = [RunKey("a", "1"), RunKey("a", "2"), RunKey("b", "1"), RunKey("a", ""), RunKey("b", "")]
TOOLS = ["search.read", "notes.write"]
keys = st.sampled_from(KEYS)
REFUSED = Denial(Reason.TOOL_NOT_ALLOWED, "No.")
LATER = Denial(Reason.CIRCUIT_OPEN, "Later.", retry_after=1)


class Known:
    """What the model knows of a run: times on a clock that no restart and no operator touches."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.calls = 0
        self.by_tool: Counter[str] = Counter()
        self.spend = 0
        self.steps: int | None = None
        self.stop_reason: str | None = None
        self.ended: float | None = None


class Made(NamedTuple):
    """An admitted call that was not given back, or a run that was started."""

    number: int
    agent: str
    counted_at: float
    """By the count clock."""
    day: int
    tool: str = ""
    spend: int = 0


class LedgerAndModel(RuleBasedStateMachine):
    """`time` is the true time. Monotonic and wall clocks are at an offset to it, which changes at restarts and by an operator.

    The count clock is the true time, too, until a restart has to take the wall clock's word for how long it took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.mono_offset = 500.0
        self.wall_offset = 1e9
        self.budgets = Budgets(max_steps=5, max_tool_calls=3, max_seconds=60)
        self.ledger = Ledger()
        self.ledger.restore([], self.now)
        self.known: dict[RunKey, Known] = {}
        self.reservations: list[tuple[Reservation, Known, Made]] = []
        self.store: dict[RunKey, SavedRun] = {}
        self.made = 0
        self.calls: list[Made] = []
        self.started: list[Made] = []
        self.repeats: Counter[tuple[RunKey, str]] = Counter()
        self.rows: dict[tuple[str, str, int], int] = {}
        self.count_offset = 1e9
        self.gone: set[Made] = set()
        self.leaving: set[Made] = set()
        self.blur = 1.0
        """Seconds that a count may stay too long. Each restart may round once more."""

    @property
    def now(self) -> Moment:
        return Moment(self.time + self.mono_offset, self.time + self.wall_offset)

    @property
    def day(self) -> int:
        return int(self.now.wall // 86_400)

    def open(self, key: RunKey) -> tuple[Known, bool]:
        known = self.known.get(key)
        if known is None or (is_window(key) and self.time - known.started >= self.budgets.max_seconds):
            self.known.pop(key, None)  # so that the new one is the latest
            known = self.known[key] = Known(self.time)
            if not is_window(key):
                self.started.append(Made(len(self.started), key.agent, self.time + self.count_offset, self.day))
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

    @rule(shift=st.sampled_from([-1e6, -100, 100, 1e6]))
    def set_the_clock(self, shift: float) -> None:
        self.wall_offset += shift

    @rule(key=keys, step=st.none() | st.integers(1, 9), tool=st.sampled_from(TOOLS), spend=st.sampled_from([0, 3, 500]))
    def reserve(self, key: RunKey, step: int | None, tool: str, spend: int) -> None:
        charge = a_charge(key, step=step, now=self.now, tool=tool, spend=spend, args_hash=tool)
        reservation = self.ledger.reserve(charge, self.budgets)
        known, started = self.open(key)
        assert reservation.started == started
        known.calls += 1
        known.by_tool[tool] += 1
        known.spend += spend
        if step is not None:
            known.steps = max(known.steps or 0, step)
        self.made += 1
        made = Made(-self.made, key.agent, self.time + self.count_offset, self.day, tool, spend)
        self.calls.append(made)
        self.repeats[key, tool] += not is_window(key)
        self.reservations.append((reservation, known, made))

    @rule(data=st.data(), denial=st.sampled_from([None, REFUSED, LATER]))
    def refund(self, data: st.DataObject, denial: Denial | None) -> None:
        if self.reservations:
            index = data.draw(st.integers(0, len(self.reservations) - 1))
            reservation, known, made = self.reservations.pop(index)
            known.calls -= 1
            known.by_tool[made.tool] -= 1
            known.spend -= made.spend
            self.calls.remove(made)
            key = reservation.charge.key
            if denial is LATER and self.repeats[key, made.tool]:
                self.repeats[key, made.tool] -= 1
            self.ledger.refund(reservation, denial)
            self.ledger.refund(reservation, denial)

    @rule(key=keys, tool=st.sampled_from(TOOLS), denial=st.sampled_from([REFUSED, LATER]))
    def refuse(self, key: RunKey, tool: str, denial: Denial) -> None:
        self.ledger.refused(key, tool, denial)
        known = self.known.get(key)
        over = is_window(key) or (known is not None and known.ended is not None)
        self.repeats[key, tool] += denial is REFUSED and not over

    @rule(key=keys)
    def add_step(self, key: RunKey) -> None:
        self.ledger.add_step(key, self.budgets, self.now)
        known, _ = self.open(key)
        known.steps = (known.steps or 0) + 1

    @rule(
        key=keys,
        how=st.sampled_from(
            ["finish", "kill_switch", "max_steps", "max_tool_calls", "max_usd", "loop_detected", "max_calls"]
        ),
    )
    def end(self, key: RunKey, how: str) -> None:
        if how == "finish":
            run = self.ledger.finish(key, how, self.now)
        elif how == "kill_switch":
            run = self.ledger.stop(key, self.now)
        else:
            run = self.ledger.exhaust(key, Reason(how), self.now)
        known = self.known.get(key)
        ends = known is not None and known.ended is None and not is_window(key) and how != "max_calls"
        assert (run is not None) == ends
        if known is not None and ends:
            self.has_ended(key, known, how)

    def has_ended(self, key: RunKey, known: Known, how: str) -> None:
        known.ended, known.stop_reason = self.time, how
        if how != "loop_detected":
            self.forget_repeats(key)

    def forget_repeats(self, key: RunKey) -> None:
        for tool in TOOLS:
            del self.repeats[key, tool]

    @rule()
    def expire(self) -> None:
        ended = {run.key for run in self.ledger.expire(self.now, lambda agent: self.budgets)}
        for key, known in [*self.known.items()]:
            over = self.time - known.started >= self.budgets.max_seconds
            forgotten = known.ended is not None and self.time - known.ended >= REMEMBERED
            vanished = known.ended is None and is_window(key) and over and self.looked_at(key)
            if forgotten or vanished:
                del self.known[key]
                self.forget_repeats(key)
            elif key in ended:
                assert over
                self.has_ended(key, known, "max_seconds")
            else:
                assert known.ended is not None or not over or not self.looked_at(key)

    def looked_at(self, key: RunKey) -> bool:
        """A budget lowered by a reload is noticed by the next call, and by `expire` when the earlier one would have ended it."""
        run, seconds = self.run(key), self.ledger._due._due.items()
        return run is None or not any(run in runs for second, runs in seconds if second > self.now.mono)

    @rule(at_end=st.just(False))
    def save(self, at_end: bool) -> None:
        changes: Changes = self.ledger.changed(self.now, at_end=at_end)
        assert {run.key for run in changes.saved}.isdisjoint(changes.forgotten)
        for run in changes.saved:
            self.store[run.key] = run
        for key in changes.forgotten:
            self.store.pop(key, None)
        for agent, name, period, value in changes.counts:
            self.rows[agent, name, period] = value
            if not value:
                del self.rows[agent, name, period]

    @rule(pause=st.sampled_from([0, 5, 100]), mono=st.sampled_from([0, 7, 1e6]), shift=st.sampled_from([0, -1e6, 100]))
    def restart(self, pause: float, mono: float, shift: float) -> None:
        """Orderly: all is saved. The clock may have been set meanwhile; then ages are checked for their direction only."""
        self.save(at_end=True)
        before = {key: (run.elapsed(self.now), run.ended) for key in KEYS if (run := self.run(key))}
        latest = max((second for _, name, second in self.rows if name in ("actions", "runs")), default=0)
        count_clock = max(self.time + self.count_offset + pause + shift, latest)
        self.time += pause
        self.count_offset = count_clock - self.time
        self.blur += 1
        self.mono_offset = mono - self.time
        self.wall_offset += shift
        self.ledger = Ledger()
        self.ledger.restore(
            self.store.values(), self.now, [SavedCount(*names, value) for names, value in self.rows.items()]
        )
        self.repeats.clear()
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
            assert run.spend == known.spend
            assert all(run.calls_of(tool) == (known.by_tool[tool] if known.ended is None else 0) for tool in TOOLS)
            assert (run.ended is None) == (run.stop_reason is None) == (run.ended_by is None)

    @invariant()
    def the_loop_guard_is_told_right(self) -> None:
        for (key, tool), times in self.repeats.items():
            assert self.ledger.repeats.of(key, tool) == times

    @invariant()
    def agents_have_used_what_they_have_used(self) -> None:
        for agent in ("a", "b"):
            self.within_the_hour(self.ledger.agents.actions(agent, self.now).used, agent, self.calls)
            self.within_the_hour(self.ledger.agents.runs(agent, self.now).used, agent, self.started)
            today = self.ledger.agents.today(agent, self.now)
            made = [call for call in self.calls if call.agent == agent and call.day == self.day]
            assert today.spend == sum(call.spend for call in made)
            assert dict(today.calls.made()) == Counter(call.tool for call in made)

    def within_the_hour(self, used: int, agent: str, made: list[Made]) -> None:
        """What has left stays gone, also where the count clock stands still afterwards."""
        now = self.time + self.count_offset
        own = [each for each in made if each.agent == agent and each not in self.gone]
        self.gone.update(each for each in own if now - each.counted_at > 3600 + self.blur)
        self.leaving.update(each for each in own if now - each.counted_at >= 3600 - self.blur + 1)
        assert sum(each not in self.leaving for each in own) <= used <= sum(each not in self.gone for each in own)


TestLedgerAndModel = LedgerAndModel.TestCase
TestLedgerAndModel.settings = settings(stateful_step_count=40)
