"""What agents use by hour and day: exact, over restarts and whatever is done to the wall clock."""

from gateway.model import Moment, RunKey
from gateway.state.agents import DAY, Agents, SavedCount, seconds_of_day_left
from gateway.state.journal import Charge
from tests.unit.made_up import NOON, a_charge, later

RUN = RunKey("scout", "r1")
TODAY = int(NOON.wall // DAY)
HOUR = 3600


def charge(agents: Agents, now: Moment, times: int = 1, spend: int = 0, tool: str = "search.read") -> Charge:
    made = a_charge(RUN, now=now, spend=spend, tool=tool)
    for _ in range(times):
        agents.charge(made)
    return made


def used(agents: Agents, now: Moment) -> tuple[int, int, int]:
    """Actions of the hour, micro-USD and calls of search.read of the day."""
    today = agents.today("scout", now)
    return agents.actions("scout", now).used, today.spend, today.calls.of("search.read")


class Kept:
    """A store, as far as counts go: absolute rows by their three names."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], int] = {}

    def save(self, agents: Agents, now: Moment) -> None:
        for agent, name, period, value in agents.changed(now):
            self.rows[agent, name, period] = value
            if not value:
                del self.rows[agent, name, period]

    def restarted(self, now: Moment) -> Agents:
        agents = Agents()
        agents.restore((SavedCount(*names, value) for names, value in self.rows.items()), now)
        return agents


def restarted(agents: Agents, saved_at: Moment, now: Moment) -> Agents:
    store = Kept()
    store.save(agents, saved_at)
    return store.restarted(now)


def test_hour_and_day_count_each_agent_on_its_own() -> None:
    agents = Agents()
    charge(agents, NOON, 2, spend=5)
    charge(agents, later(10), tool="notes.write")
    agents.run_started("scout", NOON)
    assert used(agents, later(10)) == (3, 10, 2)
    assert agents.runs("scout", later(10)).used == 1
    assert agents.actions("other", NOON).used == agents.runs("other", NOON).used == 0
    assert agents.today("other", NOON).spend == 0
    assert agents.names() == ["scout"]


def test_a_call_leaves_the_hour_at_most_a_second_late_and_it_is_known_when() -> None:
    agents = Agents()
    charge(agents, later(0.7))
    hour = agents.actions("scout", later(HOUR + 0.7))
    assert hour.used == 1
    wait = agents.wait(hour, 1, later(HOUR + 0.7))
    assert wait is not None
    assert 0 < wait <= 1
    assert agents.actions("scout", later(HOUR + 0.7 + wait)).used == 0


def test_a_refund_goes_to_the_hour_and_the_day_of_its_call() -> None:
    agents = Agents()
    midnight = later(seconds_of_day_left(NOON))
    before = charge(agents, later(-1, midnight), spend=7)
    charge(agents, later(1, midnight), spend=3)
    agents.give_back(before)
    assert used(agents, later(1, midnight)) == (1, 3, 1), "today's money is not yesterday's"
    assert used(agents, later(-1, midnight)) == (1, 0, 0)
    agents.give_back(a_charge(RunKey("nobody", "x")))
    assert agents.names() == ["scout"]


def test_a_day_ends_at_midnight_utc() -> None:
    agents = Agents()
    midnight = later(seconds_of_day_left(NOON))
    assert midnight.wall % DAY == 0
    charge(agents, NOON, spend=5)
    assert used(agents, later(-0.001, midnight))[1:] == (5, 1)
    assert used(agents, midnight)[1:] == (0, 0)


def test_a_wall_clock_that_jumps_neither_shortens_nor_lengthens_an_hour() -> None:
    for jump in (-(10**9), -HOUR, HOUR, 10**9):
        agents = Agents()
        charge(agents, NOON, 5)
        there = Moment(NOON.mono + HOUR, NOON.wall + jump)
        charge(agents, there, 2)
        assert agents.actions("scout", there).used == 7
        back = later(HOUR + 1.0)
        assert agents.actions("scout", back).used == 2
        assert agents.wait(agents.actions("scout", back), 1, back) == HOUR


def test_a_wall_clock_set_forward_and_back_finds_the_days_counts_again() -> None:
    agents = Agents()
    charge(agents, NOON, 3, spend=5)
    for seconds, jump in enumerate((10 * DAY, -10 * DAY, 3650 * DAY), 1):
        there = Moment(NOON.mono + seconds * 90, NOON.wall + jump)
        agents.expire(there)
        assert used(agents, there)[1:] == (0, 0), "another day, as the wall clock has it"
        charge(agents, there, spend=1)
        agents.expire(later(seconds * 90))
        assert used(agents, later(seconds * 90))[1:] == (15, 3), "and back"


def test_a_clock_that_stood_wrong_for_years_locks_nobody_out_once_it_is_right() -> None:
    for wrong in (NOON.wall + 3650 * DAY, 0.0):
        agents = Agents()
        start = Moment(NOON.mono, wrong)
        charge(agents, start, 5, spend=5)
        right = restarted(agents, start, Moment(7.0, NOON.wall))
        assert used(right, Moment(7.0, NOON.wall))[1:] == (0, 0)
        assert right.actions("scout", Moment(7.0 + HOUR + 2, NOON.wall + HOUR + 2)).used == 0


def test_a_restart_keeps_the_counts_and_takes_the_outage_off_the_hour() -> None:
    agents = Agents()
    charge(agents, NOON, 3, spend=5)
    charge(agents, later(100), 2)
    agents.run_started("scout", NOON)
    # A new process has a monotonic clock of its own.
    there = Moment(mono=7.0, wall=NOON.wall + 2000)
    new = restarted(agents, later(100), there)
    assert used(new, there) == (5, 15, 5)
    assert new.runs("scout", there).used == 1
    assert new.actions("scout", later(HOUR - 2000, there)).used == 5
    assert new.actions("scout", later(HOUR - 2000 + 1, there)).used == 2
    assert new.actions("scout", later(HOUR - 2000 + 101, there)).used == 0


def test_a_clock_set_back_over_a_restart_gives_nothing_back_and_holds_nobody_longer_than_an_hour() -> None:
    for jump in (-(10**9), -DAY, -30.0):
        agents = Agents()
        charge(agents, NOON, 5)
        there = Moment(7.0, NOON.wall + jump)
        new = restarted(agents, NOON, there)
        assert new.actions("scout", later(HOUR, there)).used == 5
        assert new.actions("scout", later(HOUR + 2, there)).used == 0


def test_a_jump_within_the_process_is_no_outage_at_the_next_restart() -> None:
    """Saved seconds are the count clock's; the clock row says how far the wall clock has gone from it."""
    for jump in (2 * HOUR, -2 * HOUR, 3 * DAY):
        agents, store = Agents(), Kept()
        charge(agents, NOON, 5)
        store.save(agents, NOON)
        jumped = Moment(NOON.mono + 10, NOON.wall + 10 + jump)
        store.save(agents, jumped)
        there = Moment(7.0, jumped.wall + 20)
        new = store.restarted(there)
        assert new.actions("scout", there).used == 5
        store.save(new, there)
        assert new.actions("scout", later(HOUR - 31, there)).used == 5
        assert new.actions("scout", later(HOUR - 28, there)).used == 0


def test_only_what_changed_is_saved_and_only_once() -> None:
    agents = Agents()
    charge(agents, NOON, 2, spend=5)
    agents.run_started("scout", NOON)
    second = int(NOON.wall)
    assert sorted(agents.changed(NOON)) == [
        ("scout", "actions", second, 2),
        ("scout", "calls:search.read", TODAY, 2),
        ("scout", "runs", second, 1),
        ("scout", "spend", TODAY, 10),
        ("scout", "touched", TODAY, second),
    ]
    assert agents.changed(NOON) == []
    made = charge(agents, later(1))
    agents.give_back(made)
    assert sorted(agents.changed(later(1))) == [
        ("scout", "actions", second + 1, 0),
        ("scout", "calls:search.read", TODAY, 2),
        ("scout", "spend", TODAY, 10),
        ("scout", "touched", TODAY, second + 1),
    ]


def test_what_counts_no_more_is_forgotten_and_leaves_no_row() -> None:
    agents, store = Agents(), Kept()
    charge(agents, NOON, 3, spend=5)
    agents.run_started("scout", NOON)
    store.save(agents, NOON)
    for seconds in (HOUR + 2, 2 * DAY + 61, 2 * DAY + 122):
        agents.expire(later(seconds))
        store.save(agents, later(seconds))
    assert store.rows == {}
    agents.expire(later(2 * DAY + 200))
    assert agents.names() == []


def test_days_are_forgotten_however_often_the_gateway_is_restarted() -> None:
    store, agents, now = Kept(), Agents(), NOON
    for _ in range(10):
        charge(agents, now, spend=5)
        store.save(agents, now)
        now = Moment(7.0, now.wall + DAY)
        agents = store.restarted(now)
        agents.expire(now)
        store.save(agents, now)
    assert len({period for _, name, period in store.rows if name == "spend"}) <= 4


def test_rows_of_a_later_version_do_no_harm() -> None:
    agents = Agents()
    rows = [SavedCount("scout", "tokens", TODAY, 5), SavedCount("scout", "actions", int(NOON.wall), -1)]
    agents.restore(rows, NOON)
    assert used(agents, NOON) == (0, 0, 0)
