"""One tool's queue: who goes when, in which order, and who is told at once that it will be too late."""

import asyncio
from math import inf

import pytest

from gateway.bounds import UNPACED, Pace, Rate
from gateway.state import pacing
from gateway.state.bucket import Bucket
from gateway.state.pacing import GRAIN, LONGEST_PAUSE, Pacer, Pacers, Place
from tests.unit.fake_time import START, fake_loop, in_fake_time, now, settled

TOOL = "search.read"
FIVE_A_SECOND = Pace(Rate(5, 1))
TWO_AT_ONCE = Pace(max_concurrency=2)


class Line:
    """Attempts that line up at one pacer, by name, and when each had its turn (seconds since the start)."""

    def __init__(self, pace: Pace = UNPACED) -> None:
        self.pacer = Pacer(pace)
        self.turns: dict[str, float] = {}
        self.places: dict[str, Place] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str, until: float = inf) -> None:
        for name in names:
            self.tasks[name] = asyncio.create_task(self._wait(name, until))
            await settled()

    async def _wait(self, name: str, until: float) -> None:
        self.places[name] = self.pacer.enter(until, now()) or await self.pacer.line_up(until)
        self.turns[name] = round(now() - START, 2)

    def gone(self) -> list[str]:
        """In the order in which they had their turns."""
        return list(self.turns)

    async def all(self) -> dict[str, float]:
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.turns


def names(count: int) -> list[str]:
    return [f"{number:03}" for number in range(count)]


@in_fake_time
async def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_the_order_of_arrival() -> None:
    line = Line(Pace(Rate(5, 3)))
    await line.join(*names(8))
    assert line.gone() == names(3)
    assert line.pacer.waiting == 5
    assert await line.all() == dict(zip(names(8), [0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1.0], strict=True))


@in_fake_time
async def test_a_turn_is_known_at_once_and_comes_true() -> None:
    line, told = Line(Pace(Rate(4, 2))), {}
    for name in names(12):
        told[name] = round(line.pacer.turn(now()), 2)
        await line.join(name)
    assert await line.all() == told
    await asyncio.sleep(0.1)
    assert line.pacer.turn(now()) == pytest.approx(0.15), "the bucket tells fractions of a turn as well"


@in_fake_time
async def test_what_was_not_used_is_saved_up_to_the_burst_and_no_further() -> None:
    line = Line(Pace(Rate(5, 3)))
    await line.join(*names(3))
    await asyncio.sleep(100)
    await line.join("a", "b", "c", "d")
    assert line.gone()[3:] == ["a", "b", "c"]


@in_fake_time
async def test_no_more_are_at_work_than_there_are_places_and_the_next_has_the_first_free_one() -> None:
    line = Line(TWO_AT_ONCE)
    await line.join("a", "b", "c", "d")
    assert line.gone() == ["a", "b"]
    assert line.pacer.turn(now()) == 0, "rate and pause hold nobody up"
    assert not line.pacer.is_open(now())
    line.places["b"].leave()
    line.places["b"].leave()
    await settled()
    assert line.gone() == ["a", "b", "c"]
    line.places["a"].leave()
    await settled()
    assert line.gone() == ["a", "b", "c", "d"]


@in_fake_time
async def test_whoever_comes_later_never_overtakes_the_one_whose_turn_has_just_come() -> None:
    line = Line(Pace(max_concurrency=1))
    await line.join("first", "second")
    line.places["first"].leave()
    # The place is free, and the second has been woken but has not run yet.
    assert line.pacer.enter(inf, now()) is None
    assert not line.pacer.is_open(now())
    await line.join("third")
    assert line.gone() == ["first", "second"]


@in_fake_time
async def test_one_that_leaves_the_queue_uses_nothing_and_holds_nobody_up() -> None:
    line = Line(FIVE_A_SECOND)
    await line.join("a", "b", "c", "d", "e")
    line.tasks["c"].cancel()
    await settled()
    assert line.pacer.waiting == 3
    assert await line.all() == {"a": 0, "b": 0.2, "d": 0.4, "e": 0.6}


@in_fake_time
async def test_the_head_may_leave_in_the_very_moment_of_its_turn() -> None:
    line = Line(Pace(max_concurrency=1))
    await line.join("a", "b", "c")
    line.places["a"].leave()  # wakes b
    line.tasks["b"].cancel()  # before it has run
    await settled()
    assert line.gone() == ["a", "c"]
    assert line.tasks["b"].cancelled()


@in_fake_time
async def test_a_head_that_leaves_gives_its_turn_at_the_rate_to_the_next() -> None:
    line = Line(FIVE_A_SECOND)
    await line.join("a", "b", "c")
    await asyncio.sleep(0.15)
    line.tasks["b"].cancel()
    assert await line.all() == {"a": 0, "c": 0.2}


@in_fake_time
async def test_a_pause_holds_everybody_then_lets_one_go_and_two_more_for_each_that_is_answered() -> None:
    line = Line()
    line.pacer.pause(START + 30)
    await line.join(*names(10))
    assert line.gone() == []
    assert line.pacer.turn(now()) == 30
    await asyncio.sleep(29.9)
    assert line.gone() == []
    await asyncio.sleep(0.2)
    assert line.gone() == names(1)
    line.places["000"].answered()
    await settled()
    assert line.gone() == names(3)
    line.places["001"].answered()
    line.places["002"].answered()
    await settled()
    assert line.gone() == names(7)
    for name in names(7)[3:]:
        line.places[name].answered()
    await settled()
    assert line.gone() == names(10)


@in_fake_time
async def test_a_reply_need_not_be_through_for_the_next_to_go_after_a_pause_nor_one_that_failed_to_count_as_answered() -> (
    None
):
    line = Line()
    line.pacer.pause(START + 1)
    await line.join("stream", "failed", "killed", "d")
    await asyncio.sleep(1.1)
    line.places["stream"].answered()  # and goes on and on
    await settled()
    assert line.gone() == ["stream", "failed", "killed"]
    line.places["failed"].leave()
    await settled()
    assert line.gone()[3:] == ["d"], "its place is another's, and that is all"
    await line.join("e")
    assert line.pacer.waiting == 1


@in_fake_time
async def test_an_answer_that_asks_for_another_pause_lets_nobody_go() -> None:
    line = Line()
    line.pacer.pause(START + 1)
    await line.join("a", "b", "c")
    await asyncio.sleep(1.1)
    line.places["a"].answered()
    line.pacer.pause(START + 2)  # as the attempt loop does: both in one breath
    await settled()
    assert line.gone() == ["a"]
    await asyncio.sleep(1)
    assert line.gone() == ["a", "b"]


@in_fake_time
async def test_an_answer_that_comes_in_the_next_pause_says_nothing_of_its_end() -> None:
    line = Line()
    line.pacer.pause(START + 1)
    await line.join("a", "b", "c")
    await asyncio.sleep(1.1)
    line.pacer.pause(START + 3)  # by an attempt of before the first pause
    line.places["a"].answered()
    await asyncio.sleep(2)
    assert line.gone() == ["a", "b"]


@in_fake_time
async def test_once_nobody_waits_any_more_the_pause_is_forgotten() -> None:
    line = Line()
    line.pacer.pause(START + 1)
    await asyncio.sleep(1.1)
    await line.join("a", "b")
    assert line.gone() == ["a"], "a crowd that was told when to come back is a herd, too"
    line.places["a"].answered()
    await settled()
    line.places["b"].answered()
    await line.join(*names(5))
    assert line.pacer.waiting == 0


@in_fake_time
async def test_of_two_pauses_the_longer_one_holds() -> None:
    line = Line()
    line.pacer.pause(START + 30)
    line.pacer.pause(START + 3)
    assert line.pacer.paused(now()) == 30


@in_fake_time
async def test_a_pause_fills_the_bucket_meanwhile() -> None:
    line = Line(Pace(Rate(1, 2)))
    await line.join("a", "b")
    line.pacer.pause(START + 10)
    assert line.pacer.turn(now()) == 10
    await line.join("c", "d")
    assert line.pacer.turn(now()) == 11, "two go when the pause ends, the third a second later"


@in_fake_time
async def test_those_who_cannot_wait_for_the_end_of_a_pause_are_told_when_it_begins() -> None:
    line = Line(Pace(Rate(1, 1)))
    await line.join("a", "long")
    await line.join("short", "other", until=START + 5)
    line.pacer.pause(START + 60)
    await settled()
    assert isinstance(line.tasks["short"].exception(), TimeoutError)
    assert isinstance(line.tasks["other"].exception(), TimeoutError)
    assert await line.all() == {"a": 0, "long": 60}


@in_fake_time
async def test_a_head_whose_turn_a_reload_puts_off_beyond_its_deadline_is_told_then() -> None:
    line = Line(Pace(Rate(1, 1)))
    await line.join("a", until=START + 5)
    await line.join("b", until=START + 5)
    line.pacer.adopt(Pace(Rate(0.1, 1)))
    await settled()
    assert isinstance(line.tasks["b"].exception(), TimeoutError)


@in_fake_time
async def test_a_reload_is_worth_no_burst_and_starves_nobody() -> None:
    line = Line(Pace(Rate(1, 10)))
    await line.join(*names(10))
    for reload in range(50):
        line.pacer.adopt(Pace(Rate(1, 20)))
        assert line.pacer.is_open(now()) == (reload >= 10)
        line.pacer.adopt(Pace(Rate(1, 10)))
        await asyncio.sleep(0.1)
    await line.join(*names(20)[10:])
    assert line.gone() == names(15), "five seconds are worth five, however often the policy was read"


@in_fake_time
async def test_what_was_free_stays_free_as_far_as_it_fits() -> None:
    line = Line(Pace(Rate(1, 10)))
    await line.join("a", "b", "c", "d")
    line.pacer.adopt(Pace(Rate(1, 3)))
    await line.join(*names(5))
    assert line.gone()[4:] == names(3)


@in_fake_time
async def test_those_who_wait_keep_their_order_under_the_new_rate() -> None:
    line = Line(Pace(Rate(0.1, 1)))
    await line.join("a", "b", "c")
    await asyncio.sleep(5)
    line.pacer.adopt(Pace(Rate(2, 1)))
    await line.join("d")
    assert await line.all() == {"a": 0, "b": 5.25, "c": 5.75, "d": 6.25}, "half of b's turn had come"


@in_fake_time
async def test_a_rate_that_is_lifted_releases_the_queue_in_its_order() -> None:
    line = Line(Pace(Rate(0.1, 1)))
    await line.join("a", "b", "c", "d")
    line.pacer.adopt(UNPACED)
    assert await line.all() == {"a": 0, "b": 0, "c": 0, "d": 0}
    assert line.gone() == ["a", "b", "c", "d"]


@in_fake_time
async def test_places_come_and_go_with_the_policy() -> None:
    line = Line(Pace(max_concurrency=1))
    await line.join("a", "b", "c", "d")
    line.pacer.adopt(Pace(max_concurrency=3))
    await settled()
    assert line.gone() == ["a", "b", "c"]
    line.pacer.adopt(Pace(max_concurrency=1))
    line.places["a"].leave()
    line.places["b"].leave()
    await settled()
    assert line.gone() == ["a", "b", "c"]
    line.places["c"].leave()
    await settled()
    assert line.gone() == ["a", "b", "c", "d"]


@in_fake_time
async def test_without_waiters_there_is_no_timer() -> None:
    line, loop = Line(Pace(Rate(1, 1), 1)), fake_loop()
    await line.join("a")
    assert loop.timers == 0
    await line.join("b")
    assert loop.timers == 0, "its place is what it waits for"
    line.places["a"].leave()
    await settled()
    assert loop.timers == 1
    await line.join("c")
    assert loop.timers == 1
    line.tasks["b"].cancel()
    line.tasks["c"].cancel()
    await settled()
    assert loop.timers == 0


@in_fake_time
async def test_what_is_measured_only_holds_nobody_up_and_tells_who_would_have_been_late() -> None:
    line = Line(Pace(Rate(1, 1), held=False))
    await line.join(*names(8), until=START + 5)
    assert len(line.gone()) == 8
    assert line.pacer.turn(now()) == pytest.approx(5), "those who would have been refused are not counted"
    line.pacer.pause(START + 60)
    await line.join("after the pause began")
    assert line.pacer.waiting == 0
    line.pacer.adopt(Pace(Rate(1, 1), 1, held=False))
    assert not line.pacer.is_open(now()), "places are held all the same"


@in_fake_time
async def test_aiolimiters_bucket_counts_as_it_is_asked() -> None:
    bucket = Bucket(Rate(5, 10))
    for _ in range(4):
        bucket.pour()
        await bucket.acquire()
    assert bucket.free() == pytest.approx(2)
    assert bucket.has_capacity(2)
    assert not bucket.has_capacity(2.01)
    assert bucket.room_in(ahead=1) == 0
    assert bucket.room_in(ahead=2) == pytest.approx(0.2)
    assert bucket.room_in(ahead=2, after=0.1) == pytest.approx(0.2)
    assert bucket.room_in(ahead=2, after=1) == 1
    await asyncio.sleep(0.2)
    assert bucket.has_capacity(3 - 1e-9)


@in_fake_time
async def test_a_timer_that_fires_a_moment_early_is_no_reason_to_wait_again() -> None:
    line = Line(FIVE_A_SECOND)
    await line.join("a")
    await asyncio.sleep(0.2 - GRAIN / 2)
    assert line.pacer.enter(inf, now()) is not None


def test_a_tool_without_a_pace_has_no_pacer() -> None:
    pacers = Pacers()
    for pace in (UNPACED, Pace(max_waiting=3), Pace(held=False)):
        assert pacers.of(TOOL, pace, newest=True) is None
    assert pacers.find(TOOL) is None


@in_fake_time
async def test_all_calls_of_a_tool_share_one_pacer_and_other_tools_have_theirs() -> None:
    pacers = Pacers()
    pacer = pacers.of(TOOL, FIVE_A_SECOND, newest=True)
    assert pacer is not None
    assert pacers.of(TOOL, FIVE_A_SECOND, newest=True) is pacer is pacers.find(TOOL)
    assert pacers.of("notes.write", FIVE_A_SECOND, newest=True) is not pacer


@in_fake_time
async def test_the_newest_word_holds_and_a_retry_brings_an_old_one() -> None:
    pacers, new = Pacers(), Pace(Rate(1, 1))
    pacer = pacers.of(TOOL, FIVE_A_SECOND, newest=True)
    assert pacer is not None
    assert pacers.of(TOOL, new, newest=True) is pacer
    pacers.of(TOOL, FIVE_A_SECOND, newest=False)
    assert pacer.pace == new
    pacers.adopt(lambda _: FIVE_A_SECOND, now())
    assert pacer.pace == FIVE_A_SECOND


@in_fake_time
async def test_a_pause_gives_a_tool_a_pacer_until_its_herd_has_passed() -> None:
    pacers = Pacers()
    pacers.pause(TOOL, 30, now())
    pacer = pacers.of(TOOL, UNPACED, newest=True)
    assert pacer is not None
    assert pacer.paused(now()) == 30
    assert pacers.of("notes.write", UNPACED, newest=True) is None, "that tool only"
    await asyncio.sleep(31)
    assert pacers.of(TOOL, UNPACED, newest=True) is pacer
    place = pacer.enter(inf, now())
    assert place is not None
    place.answered()
    assert pacers.of(TOOL, UNPACED, newest=True) is pacer, "one is at work there"
    place.leave()
    assert pacers.of(TOOL, UNPACED, newest=True) is None
    assert pacers.find(TOOL) is None


@in_fake_time
async def test_no_upstream_can_ask_for_more_than_the_longest_pause() -> None:
    pacers = Pacers()
    pacers.pause(TOOL, 1e9, now())
    pacer = pacers.find(TOOL)
    assert pacer is not None
    assert pacer.paused(now()) == LONGEST_PAUSE


@in_fake_time
async def test_a_reload_drops_the_pacers_that_nobody_needs_and_keeps_the_others() -> None:
    pacers = Pacers()
    for tool in ("idle", "busy", "paced"):
        pacers.of(tool, FIVE_A_SECOND, newest=True)
    pacers.pause("paused", 10, now())
    busy = pacers.find("busy")
    assert busy is not None
    place = busy.enter(inf, now())
    pacers.adopt(lambda tool: FIVE_A_SECOND if tool == "paced" else UNPACED, now())
    assert [tool for tool in ("idle", "busy", "paced", "paused") if pacers.find(tool)] == ["busy", "paced", "paused"]
    assert place is not None
    place.leave()
    await asyncio.sleep(11)
    pacers.adopt(lambda tool: FIVE_A_SECOND if tool == "paced" else UNPACED, now())
    assert [tool for tool in ("idle", "busy", "paced", "paused") if pacers.find(tool)] == ["paced"]


@in_fake_time
async def test_pauses_of_invented_names_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MOST_PACERS", 10)
    pacers = Pacers()
    for name in names(100):
        pacers.pause(name, 60, now())
    assert sum(pacers.find(name) is not None for name in names(100)) == 10
    await asyncio.sleep(61)
    pacers.pause(TOOL, 60, now())
    assert pacers.find(TOOL) is not None
    assert not any(pacers.find(name) for name in names(100))


@in_fake_time
async def test_operators_see_who_waits() -> None:
    pacers = Pacers()
    pacer = pacers.of(TOOL, Pace(max_concurrency=1), newest=True)
    pacers.of("notes.write", Pace(max_concurrency=1), newest=True)
    assert pacer is not None
    pacer.enter(inf, now())
    waiting = [asyncio.create_task(pacer.line_up(inf)) for _ in range(3)]
    await settled()
    assert pacers.waiting() == {TOOL: 3}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert pacers.waiting() == {}
