import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.rollout import WINDOW, Figures, RolledBack, SlidingFigures, has_lost, is_chosen

RUNS = [f"task-{n}" for n in range(4_000)]
names = st.text("ABCxyz019._:-", min_size=1, max_size=40)
percents = st.floats(0, 100)


@pytest.mark.parametrize("percent", [0.5, 1, 10, 33.3, 50, 99])
def test_about_so_many_runs_live_under_the_candidate(percent: float) -> None:
    chosen = sum(is_chosen("scout", run, percent) for run in RUNS)
    spread = 4 * (len(RUNS) * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(chosen - len(RUNS) * percent / 100) <= spread


@given(names, names)
def test_no_run_lives_under_it_at_0_and_every_run_at_100(agent: str, run: str) -> None:
    assert not is_chosen(agent, run, 0)
    assert is_chosen(agent, run, 100)


@given(names, names, percents, percents)
def test_a_larger_share_lets_no_run_go(agent: str, run: str, one: float, other: float) -> None:
    lower, higher = sorted((one, other))
    assert is_chosen(agent, run, higher) or not is_chosen(agent, run, lower)


def test_the_choice_is_the_same_in_every_process_and_for_every_agent_of_a_run() -> None:
    """These very runs: a version that chose others would move live runs when it is installed."""
    chosen = ["task-13", "task-17", "task-28", "task-38", "task-40", "task-46"]
    assert [run for run in RUNS[:60] if is_chosen("scout", run, 10)] == chosen
    assert [run for run in RUNS[:60] if is_chosen("other", run, 10)] == chosen


def test_a_call_without_a_run_goes_by_its_agent() -> None:
    agents = [f"agent-{n}" for n in range(2_000)]
    chosen = [agent for agent in agents if is_chosen(agent, "", 25)]
    assert 400 < len(chosen) < 600
    assert chosen != [agent for agent in agents if is_chosen("scout", agent, 25)]


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=60), st.integers(0, 400))
def test_the_tally_counts_what_a_list_of_all_calls_would(calls: list[tuple[int, bool]], after: int) -> None:
    figures, now, seen = SlidingFigures(), 1_000, []
    for pause, error in calls:
        now += pause
        figures.count(error=error, mono=now + 0.5)
        seen.append((now, error))
        recent = [error for at, error in seen if at > now + 0.5 - WINDOW]
        assert figures.figures(now + 0.5) == (len(recent), sum(recent))
    now += after
    recent = [error for at, error in seen if at > now + 0.5 - WINDOW]
    assert figures.figures(now + 0.5) == (len(recent), sum(recent))


@pytest.mark.parametrize(
    ("candidate", "live", "lost"),
    [
        (Figures(100, 6), Figures(1000, 0), True),
        (Figures(100, 5), Figures(1000, 0), False),  # exactly the margin
        (Figures(100, 55), Figures(1000, 500), False),
        (Figures(100, 56), Figures(1000, 500), True),
        (Figures(100, 0), Figures(1000, 900), False),
        (Figures(49, 49), Figures(1000, 0), False),
        (Figures(50, 50), Figures(50, 0), True),
        (Figures(50, 50), Figures(49, 0), False),
        (Figures(0, 0), Figures(0, 0), False),
    ],
)
def test_a_candidate_has_lost_when_it_errs_more_often_than_the_policy_by_more_than_the_margin(
    candidate: Figures, live: Figures, lost: bool
) -> None:
    assert has_lost(candidate, live, min_calls=50, margin=0.05) is lost


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 1000))
def test_the_margin_itself_is_never_exceeded(calls: int, live_calls: int, permille: int) -> None:
    """In floats some of these would be, by a rounding."""
    ours, theirs = Figures(calls * 1000, calls * permille), Figures(live_calls, 0)
    assert not has_lost(ours, theirs, min_calls=0, margin=permille / 1000)
    one_more = ours._replace(errors=ours.errors + 1)
    assert has_lost(one_more, theirs, min_calls=0, margin=permille / 1000)


def test_without_calls_nothing_is_lost_whatever_the_minimum() -> None:
    assert not has_lost(Figures(5, 5), Figures(0, 0), min_calls=0, margin=0.0)
    assert not has_lost(Figures(0, 0), Figures(5, 0), min_calls=0, margin=0.0)


def test_a_rollback_is_read_as_it_was_written() -> None:
    back = RolledBack(
        "ab" * 32, "feedbeefcafe", 1_790_000_000.25, "too many errors", "ada", Figures(60, 12), Figures(540, 0)
    )
    assert RolledBack.of(back.note()) == back


@pytest.mark.parametrize("note", [None, "", "[", "{}", "[]", '{"content": "x"}', "null", '{"content": 1, "more": 2}'])
def test_a_note_that_is_none_is_no_rollback(note: str | None) -> None:
    assert RolledBack.of(note) is None


def test_the_share_of_errors_of_no_calls_is_none() -> None:
    assert Figures(0, 0).error_share == 0
    assert Figures(4, 1).error_share == 0.25
