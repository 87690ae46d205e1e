"""Exactly N, once over, never renewed: each rule of the Ledger by an example."""

import pytest

from gateway.denial import Reason
from gateway.model import Budgets, Moment, Remaining, RunKey
from gateway.state import ledger as ledger_module
from gateway.state.ledger import REMEMBERED, Ledger
from gateway.state.run import Run, stop_reason_of
from tests.unit.made_up import BUDGETS, NOON, a_charge, later

RUN = RunKey("scout", "r1")
WINDOW = RunKey("scout", "")


def found(ledger: Ledger, key: RunKey = RUN, now: Moment = NOON) -> Run:
    run = ledger.find(key, BUDGETS, now)
    assert run is not None
    return run


def charge(ledger: Ledger, times: int, key: RunKey = RUN, now: Moment = NOON) -> None:
    for _ in range(times):
        ledger.reserve(a_charge(key, now=now), BUDGETS)


def expire(ledger: Ledger, now: Moment, budgets: Budgets = BUDGETS) -> list[RunKey]:
    return [run.key for run in ledger.expire(now, lambda agent: budgets)]


def restarted(ledger: Ledger, saved_at: Moment, now: Moment) -> Ledger:
    """What a new process knows at `now` of what the old one saved."""
    new = Ledger()
    new.restore(ledger.changed(saved_at).saved, now)
    return new


def test_the_first_call_starts_the_run_and_only_the_first() -> None:
    ledger = Ledger()
    assert ledger.reserve(a_charge(RUN), BUDGETS).started
    assert not ledger.reserve(a_charge(RUN, now=later(1)), BUDGETS).started
    assert found(ledger).started == NOON
    assert found(ledger).tool_calls == 2
    assert ledger.live == 1


def test_a_run_of_one_agent_is_not_a_run_of_another() -> None:
    ledger = Ledger()
    charge(ledger, 3)
    assert ledger.find(RunKey("other", "r1"), BUDGETS, NOON) is None


def test_a_refund_gives_one_call_back_and_only_once() -> None:
    ledger = Ledger()
    charge(ledger, 2)
    reservation = ledger.reserve(a_charge(RUN), BUDGETS)
    ledger.refund(reservation)
    ledger.refund(reservation)
    assert found(ledger).tool_calls == 2


def test_a_refund_of_the_last_window_does_not_lower_the_present_one() -> None:
    ledger = Ledger()
    old = ledger.reserve(a_charge(WINDOW), BUDGETS)
    charge(ledger, 1, WINDOW, later(60))
    ledger.changed(later(60))
    ledger.refund(old)
    assert found(ledger, WINDOW, later(60)).tool_calls == 1
    assert ledger.changed(later(60)).saved == []


def test_an_announced_step_raises_the_count_and_never_lowers_it() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    assert found(ledger).steps is None
    for step in (3, 2, 7, 1):
        ledger.reserve(a_charge(RUN, step=step), BUDGETS)
    assert found(ledger).steps == 7
    assert ledger.add_step(RUN, BUDGETS, NOON).steps == 8


def test_a_step_of_any_size_can_be_stored() -> None:
    ledger = Ledger()
    ledger.reserve(a_charge(RUN, step=10**30), BUDGETS)
    assert found(ledger).steps == 2**31 - 1
    assert ledger.add_step(RUN, BUDGETS, NOON).steps == 2**31 - 1


def test_a_step_alone_starts_a_run() -> None:
    ledger = Ledger()
    assert ledger.add_step(RUN, BUDGETS, NOON).steps == 1
    assert found(ledger).tool_calls == 0


def test_a_run_ends_once() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    run = ledger.finish(RUN, "finish", later(5))
    assert run is not None
    assert (run.stop_reason, run.ended_by, run.elapsed(later(99))) == ("finish", Reason.RUN_FINISHED, 5)
    assert ledger.finish(RUN, "again", later(6)) is None
    assert ledger.stop(RUN, later(6)) is None
    assert ledger.exhaust(RUN, Reason.MAX_TOOL_CALLS, later(6)) is None
    assert found(ledger).stop_reason == "finish"
    assert ledger.live == 0


def test_what_is_not_known_cannot_end() -> None:
    assert Ledger().finish(RUN, "finish", NOON) is None


def test_a_window_never_ends() -> None:
    ledger = Ledger()
    charge(ledger, 1, WINDOW)
    assert ledger.finish(WINDOW, "finish", NOON) is None
    assert ledger.exhaust(WINDOW, Reason.MAX_TOOL_CALLS, NOON) is None
    assert ledger.live == 1


@pytest.mark.parametrize("reason", [Reason.MAX_SECONDS, Reason.MAX_STEPS, Reason.MAX_TOOL_CALLS])
def test_a_refusal_for_a_spent_budget_ends_the_run(reason: Reason) -> None:
    ledger = Ledger()
    charge(ledger, 1)
    run = ledger.exhaust(RUN, reason, NOON)
    assert run is not None
    assert (run.stop_reason, run.ended_by) == (reason.value, reason)


@pytest.mark.parametrize(
    "reason", [Reason.KILL_SWITCH, Reason.AGENT_DISABLED, Reason.TOOL_NOT_ALLOWED, Reason.OVERLOADED]
)
def test_any_other_refusal_leaves_the_run_alive(reason: Reason) -> None:
    ledger = Ledger()
    charge(ledger, 1)
    assert ledger.exhaust(RUN, reason, NOON) is None
    assert ledger.live == 1


def test_a_run_expires_at_its_last_second_and_not_before() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    assert expire(ledger, later(59.999)) == []
    assert expire(ledger, later(60)) == [RUN]
    assert expire(ledger, later(61)) == []
    assert found(ledger).stop_reason == "max_seconds"


def test_a_reload_that_raises_the_seconds_lets_a_live_run_go_on() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    more = Budgets(25, 12, 120)
    assert expire(ledger, later(60), more) == []
    assert expire(ledger, later(119), more) == []
    assert expire(ledger, later(120), more) == [RUN]


def test_an_old_window_vanishes_silently_and_the_next_call_opens_a_new_one() -> None:
    ledger = Ledger()
    charge(ledger, 12, WINDOW)
    assert found(ledger, WINDOW, later(59)).tool_calls == 12
    assert ledger.find(WINDOW, BUDGETS, later(60)) is None
    assert ledger.reserve(a_charge(WINDOW, now=later(60)), BUDGETS).started
    assert found(ledger, WINDOW, later(60)).tool_calls == 1
    assert ledger.live == 1
    assert expire(ledger, later(119)) == []
    assert expire(ledger, later(120)) == []
    assert ledger.live == 0
    assert [*ledger.runs()] == []


def test_an_ended_run_is_remembered_for_a_day() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    ledger.finish(RUN, "finish", later(10))
    expire(ledger, later(10 + REMEMBERED - 1))
    assert ledger.find(RUN, BUDGETS, NOON) is not None
    expire(ledger, later(10 + REMEMBERED))
    assert ledger.find(RUN, BUDGETS, NOON) is None
    assert ledger.changed(NOON).forgotten == [RUN]


def test_a_hundred_thousand_due_runs_are_expired_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "EXPIRED_AT_ONCE", 2)
    ledger = Ledger()
    for n in range(5):
        charge(ledger, 1, RunKey("scout", str(n)))
    assert [len(expire(ledger, later(60))) for _ in range(4)] == [2, 2, 1, 0]


def test_runs_that_ended_early_are_not_held_until_their_time_would_have_been_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_module, "EXPIRED_AT_ONCE", 2)
    ledger, week = Ledger(), Budgets(25, 12, 604_800)
    for n in range(9):
        ledger.reserve(a_charge(RunKey("scout", str(n))), week)
        if n != 4:
            ledger.finish(RunKey("scout", str(n)), "finish", NOON)
    assert expire(ledger, later(1), week) == []
    assert len(ledger._due) == 1
    assert expire(ledger, later(604_800), week) == [RunKey("scout", "4")]


def test_a_full_ledger_takes_no_new_run_and_evicts_none() -> None:
    ledger = Ledger(max_live=2)
    charge(ledger, 1, RunKey("scout", "a"))
    charge(ledger, 1, WINDOW)
    assert ledger.is_full(RUN)
    assert not ledger.is_full(RunKey("scout", "a"))
    assert not ledger.is_full(WINDOW), "its next window takes its place"
    ledger.finish(RunKey("scout", "a"), "finish", NOON)
    assert not ledger.is_full(RUN)


def test_what_remains_never_falls_below_zero_and_seconds_are_whole() -> None:
    ledger = Ledger()
    assert ledger.remaining(RUN, BUDGETS, NOON) == Remaining(12, 25, 60)
    ledger.reserve(a_charge(RUN, step=4), BUDGETS)
    assert ledger.remaining(RUN, BUDGETS, later(18.2)) == Remaining(11, 21, 41)
    charge(ledger, 20)
    ledger.reserve(a_charge(RUN, step=99), BUDGETS)
    assert ledger.remaining(RUN, BUDGETS, later(99)) == Remaining(0, 0, 0)


def test_a_window_has_no_seconds_to_report() -> None:
    assert Ledger().remaining(WINDOW, BUDGETS, NOON).seconds is None


def test_a_spent_budget_shows_as_stop_reason_before_the_run_has_ended() -> None:
    ledger = Ledger()
    charge(ledger, 11)
    run = found(ledger)
    assert stop_reason_of(run, BUDGETS, NOON) is None
    charge(ledger, 1)
    assert stop_reason_of(run, BUDGETS, NOON) == "max_tool_calls"
    assert stop_reason_of(run, Budgets(25, 40, 60), NOON) is None, "a raised budget lets it go on"
    assert stop_reason_of(run, BUDGETS, later(60)) == "max_seconds"
    ledger.reserve(a_charge(RUN, step=25), BUDGETS)
    assert stop_reason_of(run, Budgets(25, 40, 60), NOON) == "max_steps"
    ledger.exhaust(RUN, Reason.MAX_TOOL_CALLS, NOON)
    assert stop_reason_of(run, Budgets(99, 99, 99), NOON) == "max_tool_calls", "an ended run stays ended"


def test_runs_are_listed_the_latest_first() -> None:
    ledger = Ledger()
    for name in ("a", "b", "c"):
        charge(ledger, 1, RunKey("scout", name))
    ledger.finish(RunKey("scout", "b"), "finish", NOON)
    assert [run.key.id for run in ledger.runs()] == ["c", "b", "a"]


def test_changes_are_told_once() -> None:
    ledger = Ledger()
    charge(ledger, 2)
    assert [run.tool_calls for run in ledger.changed(NOON).saved] == [2]
    assert ledger.changed(NOON) == ([], [], [])
    ledger.finish(RUN, "finish", NOON)
    assert [run.stop_reason for run in ledger.changed(NOON).saved] == ["finish"]


def test_a_restart_keeps_what_was_used_and_the_time_that_passed() -> None:
    ledger = Ledger()
    ledger.reserve(a_charge(RUN, step=3), BUDGETS)
    charge(ledger, 4, now=later(5))
    # A new process has a monotonic clock of its own.
    new = restarted(ledger, later(10), Moment(mono=7.0, wall=NOON.wall + 30))
    run = found(new)
    assert (run.tool_calls, run.steps, run.ended) == (5, 3, None)
    assert run.elapsed(Moment(8.0, 0)) == 31
    assert run.started.wall == NOON.wall
    assert new.live == 1


@pytest.mark.parametrize("jump", [-(10**9), -3600.0, -25.0])
def test_a_wall_clock_set_back_over_a_restart_takes_no_second_back(jump: float) -> None:
    ledger = Ledger()
    charge(ledger, 1)
    new = restarted(ledger, later(20), Moment(7.0, NOON.wall + 20 + jump))
    assert found(new).elapsed(Moment(7.0, 0)) == 20


def test_a_wall_clock_set_forward_over_a_restart_ends_the_run_rather_than_renew_it() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    now = Moment(7.0, NOON.wall + 10**9)
    new = restarted(ledger, later(20), now)
    assert expire(new, now) == [RUN]
    assert found(new).stop_reason == "max_seconds"


def test_a_wall_clock_that_jumps_within_the_process_changes_no_run() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    for jump in (-(10**9), 10**9):
        assert expire(ledger, Moment(NOON.mono + 59, NOON.wall + jump)) == []
    assert found(ledger).elapsed(Moment(NOON.mono + 59, 0)) == 59


def test_an_ended_run_stays_ended_over_a_restart_and_its_day_goes_on() -> None:
    ledger = Ledger()
    charge(ledger, 1)
    ledger.stop(RUN, later(10))
    now = Moment(7.0, NOON.wall + 3610)
    new = restarted(ledger, later(11), now)
    run = found(new)
    assert (run.stop_reason, run.ended_by, run.elapsed(now), run.since_end(now)) == (
        "kill_switch",
        Reason.KILL_SWITCH,
        10,
        3600,
    )
    assert new.live == 0
    assert new.finish(RUN, "finish", now) is None
    expire(new, later(REMEMBERED - 3601, now))
    assert new.find(RUN, BUDGETS, now) is not None
    expire(new, later(REMEMBERED - 3600, now))
    assert new.find(RUN, BUDGETS, now) is None


def test_runs_that_ended_while_the_process_was_down_are_forgotten_in_order() -> None:
    ledger = Ledger()
    for n, name in enumerate(("late", "early")):
        charge(ledger, 1, RunKey("scout", name))
        ledger.finish(RunKey("scout", name), "finish", later(20 - 10 * n))
    now = Moment(7.0, NOON.wall + REMEMBERED + 15)
    new = restarted(ledger, later(20), now)
    expire(new, now)
    assert [run.key.id for run in new.runs()] == ["late"]


def test_a_window_goes_on_over_a_restart() -> None:
    ledger = Ledger()
    charge(ledger, 12, WINDOW)
    now = Moment(7.0, NOON.wall + 30)
    new = restarted(ledger, later(20), now)
    assert found(new, WINDOW, now).tool_calls == 12
    assert new.find(WINDOW, BUDGETS, later(30, now)) is None


def test_runs_that_ended_are_remembered_up_to_a_bound_and_none_is_forgotten_for_a_new_one() -> None:
    ledger = Ledger(max_live=10, most_kept=3)
    for name in ("r1", "r2", "r3"):
        ledger.reserve(a_charge(RunKey("scout", name)), BUDGETS)
        ledger.finish(RunKey("scout", name), "finish", NOON)
    assert ledger.live == 0
    assert ledger.is_full(RunKey("scout", "r4"))
    assert not ledger.is_full(RunKey("scout", "r1"))
    ledger.expire(later(24 * 3600), lambda _agent: BUDGETS)
    assert not ledger.is_full(RunKey("scout", "r4"))


def test_gathered_charges_count_at_once() -> None:
    ledger = Ledger()
    first = ledger.reserve(a_charge(RUN), BUDGETS, gather=True)
    assert ledger.reserve(a_charge(RUN), BUDGETS, first.run, gather=True).run is first.run
    assert ledger.remaining(RUN, BUDGETS, NOON).tool_calls == 10
    assert ledger.journal.flush()
