"""The answers that are kept for a repeat of their call. Pure; that calls join one in flight is pipeline/sharing.py's affair."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from gateway.model import Moment, Reply

TTL = 24 * 3600.0
"""Seconds, until a policy is in force."""
MAX_BYTES = 64 << 20
EXPIRED_AT_ONCE = 10_000
"""Answers dropped by one `expire`: the rest waits for the next, so that no call waits for all of them."""
_WEIGHT = 1024
_HEADER_WEIGHT = 192
"""Bytes that Python's objects take beside the text they hold (measured, rounded up): an answer of a few bytes is no small thing."""


class AnswerKey(NamedTuple):
    """Whose answer. Two agents, or two tools, may use one Idempotency-Key without meeting."""

    agent: str
    tool: str
    key: str
    """The caller's Idempotency-Key."""


class KeptAnswer(NamedTuple):
    """A whole reply, and which call it answers."""

    key: AnswerKey
    args_hash: str
    kept: Moment
    """When the call ended. The monotonic part counts the time within this process, the wall's the time between two."""
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    number: int = 0
    """The order in which answers were kept, over restarts: given by Answers."""

    @property
    def weight(self) -> int:
        """Bytes it takes in memory, about."""
        text = sum(map(len, self.key)) + sum(len(name) + len(value) for name, value in self.headers)
        return _WEIGHT + _HEADER_WEIGHT * len(self.headers) + text + len(self.body)

    def reply(self) -> Reply:
        """The kept answer as a Reply."""
        return Reply(self.status, self.headers, self.body)


class AnswerChanges(NamedTuple):
    """What a store has to write for its answers to equal these. Answers leave in the order they came: `first` says which are gone."""

    saved: list[KeptAnswer]
    first: int
    """The least number still kept."""


class Answers:
    """All kept answers, oldest first: so they leave, by age and for want of room."""

    def __init__(self) -> None:
        self.ttl = TTL
        self.max_bytes = MAX_BYTES
        self.held = 0
        """The sum of their weights."""
        self._kept: OrderedDict[AnswerKey, KeptAnswer] = OrderedDict()
        self._next = 1
        self._last_written = 0
        self._first_written = 1

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: AnswerKey, now: Moment) -> KeptAnswer | None:
        """The answer kept under the key; None where there is none, or it is too old."""
        found = self._kept.get(key)
        return None if found is None or self._is_over(found, now) else found

    def keep(self, answer: KeptAnswer) -> None:
        """The newest one, for a key that `find` knows no answer to. It displaces the oldest, unless it has no room even alone."""
        if answer.weight <= self.max_bytes:
            self._forget(answer.key)
            self._put(answer._replace(number=self._next))
            self._make_room()

    def bound(self, ttl: float, max_bytes: int) -> None:
        """The policy's word (seconds, bytes), which may have changed: what is kept already is held to it, too."""
        self.ttl, self.max_bytes = ttl, max_bytes
        self._make_room()

    def expire(self, now: Moment) -> None:
        """Drops those whose time is up."""
        for _ in range(EXPIRED_AT_ONCE):
            oldest = next(iter(self._kept.values()), None)
            if oldest is None or not self._is_over(oldest, now):
                return
            self._forget(oldest.key)

    def changes(self) -> AnswerChanges | None:
        """What no store has confirmed yet (see `written`); None where it knows all."""
        unwritten = takewhile(lambda answer: answer.number > self._last_written, reversed(self._kept.values()))
        saved, first = [*unwritten][::-1], self._first()
        return AnswerChanges(saved, first) if saved or first != self._first_written else None

    def written(self, changes: AnswerChanges) -> None:
        """A store has them."""
        self._first_written = changes.first
        if changes.saved:
            self._last_written = changes.saved[-1].number

    def restore(self, saved: Iterable[KeptAnswer], now: Moment) -> None:
        """Takes up what an earlier process left, into empty Answers. `bound` follows, once there is a policy.

        Its monotonic times mean nothing here, and the wall clock may have been set in either direction since: an answer from the
        future is as old as one just kept, which errs on the side of not performing a call twice.
        """
        for answer in sorted(saved, key=lambda answer: answer.number):
            age = max(0.0, now.wall - answer.kept.wall)
            self._forget(answer.key)
            self._put(answer._replace(kept=Moment(now.mono - age, answer.kept.wall)))
        self._first_written, self._last_written = self._first(), self._next - 1

    def _is_over(self, answer: KeptAnswer, now: Moment) -> bool:
        return now.mono - answer.kept.mono >= self.ttl

    def _first(self) -> int:
        oldest = next(iter(self._kept.values()), None)
        return self._next if oldest is None else oldest.number

    def _put(self, answer: KeptAnswer) -> None:
        self._kept[answer.key] = answer
        self._next = answer.number + 1
        self.held += answer.weight

    def _forget(self, key: AnswerKey) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.held -= gone.weight

    def _make_room(self) -> None:
        while self.held > self.max_bytes:
            self._forget(next(iter(self._kept)))
