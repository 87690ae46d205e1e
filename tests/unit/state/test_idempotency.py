from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model import Moment
from gateway.state.idempotency import AnswerKey, Answers, KeptAnswer

HOUR = 3600.0
AT = Moment(1000.0, 5000.0)


def later(seconds: float) -> Moment:
    return Moment(AT.mono + seconds, AT.wall + seconds)


def answer(key: str = "k", *, size: int = 10, kept: Moment = AT, agent: str = "a", tool: str = "t") -> KeptAnswer:
    return KeptAnswer(AnswerKey(agent, tool, key), "hash", kept, 200, (("Content-Type", "text/plain"),), b"x" * size)


def keys(answers: Answers, *candidates: str, now: Moment = AT) -> list[str]:
    return [key for key in candidates if answers.find(AnswerKey("a", "t", key), now)]


def store(answers: Answers, rows: dict[int, KeptAnswer]) -> dict[int, KeptAnswer]:
    """What a store makes of the changes."""
    changes = answers.changes()
    if changes is not None:
        rows |= {kept.number: kept for kept in changes.saved}
        answers.written(changes)
        return {number: row for number, row in rows.items() if number >= changes.first}
    return rows


def restarted(rows: dict[int, KeptAnswer], now: Moment) -> Answers:
    answers = Answers()
    answers.restore(rows.values(), now)
    return answers


def test_an_answer_is_found_by_agent_tool_and_key_together() -> None:
    answers = Answers()
    answers.keep(answer())
    assert answers.find(AnswerKey("a", "t", "k"), AT)
    for other in (AnswerKey("b", "t", "k"), AnswerKey("a", "u", "k"), AnswerKey("a", "t", "l")):
        assert answers.find(other, AT) is None


def test_an_answer_is_kept_for_the_hours_the_policy_says_and_not_a_second_longer() -> None:
    answers = Answers()
    answers.bound(HOUR, 1 << 20)
    answers.keep(answer())
    assert keys(answers, "k", now=later(HOUR - 1)) == ["k"]
    assert keys(answers, "k", now=later(HOUR)) == []


def test_a_policy_that_keeps_answers_for_a_shorter_time_reaches_those_already_kept() -> None:
    answers = Answers()
    answers.keep(answer())
    answers.bound(HOUR, 1 << 20)
    answers.expire(later(HOUR))
    assert (len(answers), answers.held) == (0, 0)


def test_the_oldest_answers_make_room_for_new_ones() -> None:
    answers = Answers()
    answers.bound(HOUR, 3 * answer().weight)
    for key in "abcd":
        answers.keep(answer(key))
    assert keys(answers, *"abcd") == ["b", "c", "d"]


def test_an_answer_that_has_no_room_even_alone_displaces_nothing() -> None:
    answers = Answers()
    answers.bound(HOUR, 3 * answer().weight)
    answers.keep(answer("a"))
    answers.keep(answer("large", size=10_000))
    assert keys(answers, "a", "large") == ["a"]


def test_a_policy_that_keeps_fewer_bytes_drops_the_oldest_at_once() -> None:
    answers = Answers()
    for key in "abc":
        answers.keep(answer(key))
    answers.bound(HOUR, 2 * answer().weight)
    assert keys(answers, *"abc") == ["b", "c"]


def test_the_wall_clock_set_meanwhile_neither_loses_nor_revives_an_answer() -> None:
    answers = Answers()
    answers.bound(HOUR, 1 << 20)
    answers.keep(answer())
    assert keys(answers, "k", now=Moment(AT.mono + 1, AT.wall + 1e9)) == ["k"]
    assert keys(answers, "k", now=Moment(AT.mono + HOUR, AT.wall - 1e9)) == []


def test_a_restart_keeps_answers_with_the_age_they_have() -> None:
    answers = Answers()
    answers.keep(answer())
    rows = store(answers, {})
    after = restarted(rows, Moment(7.0, AT.wall + 600))
    after.bound(HOUR, 1 << 20)
    assert keys(after, "k", now=Moment(7.0 + HOUR - 601, 0.0)) == ["k"]
    assert keys(after, "k", now=Moment(7.0 + HOUR - 600, 0.0)) == []


def test_an_answer_from_the_future_is_as_good_as_new() -> None:
    answers = Answers()
    answers.keep(answer())
    after = restarted(store(answers, {}), Moment(7.0, AT.wall - 1e6))
    after.bound(HOUR, 1 << 20)
    assert keys(after, "k", now=Moment(7.0 + HOUR - 1, 0.0)) == ["k"]


def test_what_left_for_want_of_room_is_gone_after_a_restart_too() -> None:
    answers = Answers()
    answers.keep(answer("a"))
    rows = store(answers, {})
    answers.bound(HOUR, answer().weight)
    answers.keep(answer("b"))
    assert keys(restarted(store(answers, rows), AT), "a", "b") == ["b"]


def test_what_no_store_has_confirmed_is_offered_again() -> None:
    answers = Answers()
    answers.keep(answer("a"))
    lost = answers.changes()
    answers.keep(answer("b"))
    offered = answers.changes()
    assert lost is not None
    assert offered is not None
    assert [kept.key.key for kept in offered.saved] == ["a", "b"]
    answers.written(offered)
    assert answers.changes() is None


def test_a_newer_answer_to_a_key_is_the_one_that_survives() -> None:
    """The row of the one that had expired may still be there."""
    rows = {
        1: answer(size=1)._replace(number=1),
        2: answer("b")._replace(number=2),
        3: answer(size=3)._replace(number=3),
    }
    after = restarted(rows, AT)
    found = after.find(AnswerKey("a", "t", "k"), AT)
    assert found is not None
    assert found.body == b"xxx"
    assert after.held == sum(row.weight for number, row in rows.items() if number > 1)


class AnswersModel(RuleBasedStateMachine):
    """Against a plain list of everything ever kept, judged from the start each time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = AT
        self.answers = Answers()
        self.ttl, self.max_bytes = HOUR, 8 * answer().weight
        self.answers.bound(self.ttl, self.max_bytes)
        self.list: list[KeptAnswer] = []
        self.rows: dict[int, KeptAnswer] = {}
        self.confirmed: list[KeptAnswer] = []

    def _model(self) -> Iterator[KeptAnswer]:
        return (kept for kept in self.list if self.now.mono - kept.kept.mono < self.ttl)

    def _trim(self) -> None:
        while sum(kept.weight for kept in self.list) > self.max_bytes:
            self.list.pop(0)

    @rule(key=st.sampled_from("abcdefghijkl"), size=st.sampled_from([0, 100, 3000, 20_000]))
    def keep(self, key: str, size: int) -> None:
        kept = answer(key, size=size, kept=self.now)
        if kept.key in {other.key for other in self._model()}:
            return  # nobody performs what has an answer
        self.answers.keep(kept)
        if kept.weight <= self.max_bytes:
            self.list = [*(other for other in self.list if other.key != kept.key), kept]
        self._trim()

    @rule(seconds=st.sampled_from([1.0, 600.0, HOUR]), jump=st.sampled_from([0.0, -5e6, 5e6]))
    def wait(self, seconds: float, jump: float) -> None:
        self.now = Moment(self.now.mono + seconds, self.now.wall + seconds + jump)

    @rule(ttl=st.sampled_from([HOUR, 5 * HOUR]), room=st.sampled_from([2, 8, 20]))
    def reload(self, ttl: float, room: int) -> None:
        self.expire()  # an answer whose time was up stays gone, however long the new one is
        self.ttl, self.max_bytes = ttl, room * answer().weight
        self.answers.bound(ttl, self.max_bytes)
        self._trim()

    @rule()
    def expire(self) -> None:
        self.answers.expire(self.now)
        while self.list and self.now.mono - self.list[0].kept.mono >= self.ttl:
            self.list.pop(0)

    @rule()
    def flush(self) -> None:
        self.rows = store(self.answers, self.rows)
        self.confirmed = list(self.list)

    @rule()
    def flush_that_fails(self) -> None:
        self.answers.changes()

    @rule()
    def kill(self) -> None:
        """The process is killed and comes back at once: what was flushed is there, and nothing else."""
        self.answers = restarted(self.rows, self.now)
        wall = self.now.wall
        self.list = [
            kept._replace(kept=Moment(self.now.mono - max(0.0, wall - kept.kept.wall), kept.kept.wall))
            for kept in self.confirmed
        ]
        self.answers.bound(self.ttl, self.max_bytes)
        self._trim()

    @invariant()
    def the_same_answers_are_found(self) -> None:
        found = {key for key in "abcdefghijkl" if self.answers.find(AnswerKey("a", "t", key), self.now)}
        assert found == {kept.key.key for kept in self._model()}

    @invariant()
    def the_sum_is_right_and_within_its_bound(self) -> None:
        assert self.answers.held <= self.max_bytes
        assert self.answers.held == sum(kept.weight for kept in self.list)


AnswersModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestAnswersAgainstTheModel = AnswersModel.TestCase
