"""Files of a policy that are watched: when are they judged anew? Looks at them; when that is done, and in which thread, is source.py's."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, NamedTuple, TypeVar

from gateway.model import Moment
from gateway.policy.judging import Answer, Judge, NotJudgedError, Question
from gateway.policy.reading import Seen, look_again

T = TypeVar("T")

AGAIN_SECONDS = 30.0
"""After files could not be judged, for want of memory say."""


class Asked(NamedTuple, Generic[T]):
    """A question about files."""

    question: Question[T]
    size: int
    """Bytes that have to be compiled for the answer."""
    take: Callable[[Answer[T]], None]
    """Puts the answer in force."""


class Judged(NamedTuple, Generic[T]):
    """A question that was answered, and how to put the answer in force."""

    answer: Answer[T]
    take: Callable[[Answer[T]], None]


class Watched(Generic[T]):
    """Files that are judged together, and how they looked when they were. `not_judged` words a verdict where there is none."""

    def __init__(
        self,
        judge: Judge,
        ask: Callable[[], Asked[T]],
        not_judged: Callable[[str], T],
        clock: Callable[[], Moment],
        lock: AbstractAsyncContextManager[None],
    ) -> None:
        self.lock = lock
        """Held from the question until its answer is taken."""
        self._judge = judge
        self._ask = ask
        self._not_judged = not_judged
        self._clock = clock
        self._seen: Seen | None = None
        self._why_not: str | None = None
        """Why there is no verdict on what was seen: worth another try from `_again` on."""
        self._again = 0.0

    def judge(self) -> Judged[T] | None:
        """The verdict on what is there now; None where it looks as it did at the last one."""
        if self._why_not is None and not self.differs():
            return None
        asked, why_not = self._ask(), None
        try:
            answer = self._judge.ask(asked.question, asked.size)
        except NotJudgedError as error:
            why_not = str(error)
            self._again = self._clock().mono + AGAIN_SECONDS
            answer = Answer(self._not_judged(why_not), self.look())
        if (answer.seen, why_not) == (self._seen, self._why_not):
            return None
        self._seen, self._why_not = answer.seen, why_not
        return Judged(answer, asked.take)

    def look(self) -> Seen:
        """How the files of the last judgement look now."""
        return look_again(self._seen or {})

    def differs(self) -> bool:
        return self.look() != self._seen or (self._why_not is not None and self._clock().mono >= self._again)

    def forget(self) -> None:
        """What they were judged by has changed: the next look finds that they differ."""
        self._seen = None
