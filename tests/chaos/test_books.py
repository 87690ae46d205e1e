"""Books that agree with whatever they are shown would be worth nothing: each single untruth in them is found."""

from collections import Counter
from collections.abc import Callable

import pytest

from gateway.state.rollout import is_chosen
from tests.chaos.books import Name, differences
from tests.chaos.oracle import Down, Heard, Line, Offered, Oracle, Seen
from tests.chaos.policy import BROKEN, MAX_ACTIONS, PERCENT, PRICES

WRITE, PRICE = "notes.write", PRICES["notes.write"]
RUN = next(run for run in ("scout-1", "scout-2", "scout-3") if not is_chosen("scout", run, PERCENT))


class Story:
    """Three calls: one that ran, its repeat with the same key, and one that was refused; and what the gateway saved of them."""

    def __init__(self) -> None:
        self.oracle = Oracle(
            offered={f"c{n}": Offered(10.0 * n, "scout", RUN, WRITE, "" if n == 2 else "key") for n in range(3)},
            seen=[Seen(0.1, "c0", 200, "/notes")],
            heard={"c0": Heard(0.2, "ok", "c0"), "c1": Heard(10.2, "dedup", "c0"), "c2": Heard(20.2, "kill_switch")},
            lines={"c0": Line("ok", 1, PRICE), "c1": Line("dedup", 0, 0), "c2": Line("kill_switch", 0, 0)},
        )
        run, agent = {(RUN, "calls"): 1, (RUN, "usd"): PRICE}, {"actions": 1, "spend": PRICE, f"calls:{WRITE}": 1}
        self.saved: Counter[Name] = Counter({("scout", *name): count for name, count in run.items()})
        self.shown = self.saved.copy()
        self.saved.update({("scout", name): count for name, count in (agent | {"runs": 1, "started": 1}).items()})

    def charge_once_more(self) -> None:
        """As saved, and as shown."""
        more: dict[Name, int] = {
            (RUN, "calls"): 1,
            (RUN, "usd"): PRICE,
            ("actions",): 1,
            ("spend",): PRICE,
            (f"calls:{WRITE}",): 1,
        }
        for name, value in more.items():
            self.saved["scout", *name] += value
            if len(name) == 2:
                self.shown["scout", *name] += value

    def differences(self) -> list[str]:
        return differences(self.oracle, self.shown, self.saved)


def count_once_more(*name: str) -> Callable[[Story], None]:
    def change(story: Story) -> None:
        story.saved["scout", *name] += 1

    return change


def forget_the_charge(story: Story) -> None:
    story.oracle.lines["c0"] = Line("ok", 1, 0)


def log_no_attempt(story: Story) -> None:
    story.oracle.lines["c0"] = Line("ok", 0, PRICE)


def lose_a_line(story: Story) -> None:
    del story.oracle.lines["c2"]


def tell_the_caller_otherwise(story: Story) -> None:
    story.oracle.heard["c2"] = Heard(20.2, "max_usd")


def perform_it_again(story: Story) -> None:
    story.oracle.seen.append(Seen(10.1, "c1", 200, "/notes"))
    story.oracle.heard["c1"] = Heard(10.2, "ok", "c1")
    story.oracle.lines["c1"] = Line("ok", 1, PRICE)
    story.charge_once_more()


def run_a_write_twice(story: Story) -> None:
    story.oracle.seen.append(Seen(0.15, "c0", 503, "/notes"))
    story.oracle.lines["c0"] = Line("ok", 2, PRICE)


def show_another_count(story: Story) -> None:
    story.shown["scout", RUN, "usd"] -= 1


def send_it_the_candidates_way(story: Story) -> None:
    story.oracle.seen[0] = Seen(0.1, "c0", 200, BROKEN)


def overdraw(story: Story) -> None:
    story.saved["billing", "actions"] = MAX_ACTIONS + 1


def fail(story: Story) -> None:
    story.oracle.heard["c2"] = Heard(20.2, "internal_error")
    story.oracle.lines["c2"] = Line("internal_error", 0, 0)


def test_a_true_story_has_no_difference() -> None:
    assert Story().differences() == []


@pytest.mark.parametrize(
    "change",
    [
        *(count_once_more(name) for name in ("actions", "spend", f"calls:{WRITE}", "runs", "started")),
        *(count_once_more(RUN, name) for name in ("calls", "usd")),
        forget_the_charge,
        log_no_attempt,
        lose_a_line,
        tell_the_caller_otherwise,
        perform_it_again,
        run_a_write_twice,
        show_another_count,
        send_it_the_candidates_way,
        overdraw,
        fail,
    ],
)
def test_one_untruth_is_found(change: Callable[[Story], None]) -> None:
    story = Story()
    change(story)
    assert story.differences()


def test_what_kill_9_may_have_taken_from_the_log_is_known_only_so_far() -> None:
    story = Story()
    lose_a_line(story)
    story.oracle.downs.append(Down(21.0, 22.0, killed=True))
    assert story.differences() == []
    story.charge_once_more()
    assert story.differences() == []
    story.saved["scout", "actions"] += 1
    assert story.differences()


@pytest.mark.parametrize(
    ("down", "full", "found"), [(2.0, None, 0), (4.0, None, 1), (4.0, (1.0, 4.5), 0), (9.0, (4.0, 5.0), 1)]
)
def test_an_answer_may_be_lost_only_to_an_end_that_came_before_it_was_written(
    down: float, full: tuple[float, float] | None, found: int
) -> None:
    story = Story()
    perform_it_again(story)
    story.oracle.downs.append(Down(down, down + 1, killed=True))
    story.oracle.full += [] if full is None else [full]
    assert len(story.differences()) == found


@pytest.mark.parametrize(
    ("full", "killed", "found"), [((19.0, 22.0), True, False), ((1.0, 2.0), True, True), ((19.0, 22.0), False, True)]
)
def test_what_was_given_back_on_a_full_disk_may_be_charged_after_a_kill(
    full: tuple[float, float], killed: bool, found: bool
) -> None:
    story = Story()
    story.oracle.downs.append(Down(21.9 if killed else 30.0, 31.0, killed))
    story.oracle.full += [full, (50.0, 51.0)]
    story.charge_once_more()
    assert bool(story.differences()) is found


def test_nobody_is_charged_while_there_is_no_process() -> None:
    story = Story()
    lose_a_line(story)
    story.oracle.heard["c2"] = Heard(20.2, "no answer")
    story.oracle.downs.append(Down(19.9, 21.0, killed=True))
    assert story.differences() == []
    story.charge_once_more()
    assert story.differences()
