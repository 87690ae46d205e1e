"""The last finished calls, for the admin plane, and those who follow them: what a log line says of a call, without payloads."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from gateway.model import Moment, Record
from gateway.observers.following import Follower, Meta, Wanted
from gateway.observers.lines import META, call_fields
from gateway.observers.redaction.scrubber import Scrubber
from gateway.observers.story import DECIDED_BY, remaining_view, tries_of
from gateway.observers.trouble import Trouble, agents_in_trouble, says, why
from gateway.policy.snapshot import Redaction

KEPT_CALLS = 1000
_CALL_ID = Record._fields.index("call_id")

View = dict[str, object]


class Recent:
    """An Observer with a bounded memory, oldest forgotten first. Nothing is put into words before someone asks."""

    def __init__(self, kept: int = KEPT_CALLS) -> None:
        self._calls: deque[Meta] = deque(maxlen=kept)
        self._followers: tuple[Follower, ...] = ()
        self._scrubber = Scrubber(Redaction())

    def call_ended(self, record: Record) -> None:
        meta = record[:META]
        self._calls.append(meta)
        for follower in self._followers:
            follower.see(meta)

    def happened(self, event: object) -> None:
        """Events are not kept here."""

    def calls(self, limit: int = 100, wanted: Wanted = lambda _meta: True) -> list[View]:
        """Newest first, at most `limit`."""
        return [self.told(meta) for meta in islice(filter(wanted, reversed(self._calls)), limit)]

    def call(self, call_id: str) -> View | None:
        """Its whole story."""
        return next((self._story(meta) for meta in reversed(self._calls) if meta[_CALL_ID] == call_id), None)

    def in_trouble(self, now: Moment, max_spend: Callable[[str], int | None]) -> list[View]:
        """Agents whose kept calls of the last minutes went wrong, the worst first; `max_spend` as in agents_in_trouble."""
        return [self._trouble(one) for one in agents_in_trouble(reversed(self._calls), now, max_spend)]

    def _trouble(self, trouble: Trouble) -> View:
        latest = self.told(trouble.latest[:META])
        reason = why(trouble.latest)
        return {
            "agent_id": latest["agent_id"],
            "kind": "spends" if trouble.spends else "fails",
            "calls": trouble.calls,
            "not_ok": trouble.not_ok,
            "tool": latest["tool"],
            "reason": latest["reason"],
            "spent_usd": trouble.spent / 1_000_000,
            "says": self._scrubber.scrub_text(says(trouble)),
            "why": None if reason is None else self._scrubber.scrub_text(reason),
            "call_id": latest["call_id"],
            "last": latest["ts"],
        }

    def follow(self, wanted: Wanted, wake: Callable[[], None], after: str | None = None) -> "FollowedCalls":
        """From now on, or from behind the call `after` on, if that is still kept."""
        follower = Follower(wanted, wake)
        if after is not None:
            follower.catch_up(self._since(after))
        self._followers += (follower,)
        return FollowedCalls(self, follower)

    def leave(self, follower: Follower) -> None:
        self._followers = tuple(other for other in self._followers if other is not follower)

    def _since(self, call_id: str) -> list[Meta] | None:
        missed: list[Meta] = []
        for meta in reversed(self._calls):
            if meta[_CALL_ID] == call_id:
                return missed[::-1]
            missed.append(meta)
        return None

    def told(self, meta: Meta) -> View:
        """Of whatever is shown of a call, these are the same everywhere."""
        record = Record(*meta)  # type: ignore[arg-type]  # whose beginning it was
        fields = call_fields(meta, self._scrubber.scrub_name)
        fields["upstream"] = record.upstream
        fields["detail"] = self._scrubber.scrub_text(record.detail) if record.detail else None
        return fields

    def _story(self, meta: Meta) -> View:
        record = Record(*meta)  # type: ignore[arg-type]  # as above
        answered = f"status_{record.status}" if record.status and record.detail is None else record.reason
        return {
            **self.told(meta),
            "decided_by": DECIDED_BY[record.report_reason or record.reason],
            "rule": record.rule,
            "tries": tries_of(
                record.tries, record.attempts, record.errors, answered, record.waited_ms, record.duration_ms
            ),
            "remaining": remaining_view(record.remaining),
        }


class FollowedCalls:
    """What one who follows holds: `close` it when done."""

    def __init__(self, recent: Recent, follower: Follower) -> None:
        self._recent = recent
        self._follower = follower

    def take(self, most: int) -> tuple[int | None, list[View]]:
        """How many were lost on the way (None: nobody knows), and the oldest calls that were not taken yet."""
        lost, metas = self._follower.take(most)
        return lost, [self._recent.told(meta) for meta in metas]

    def close(self) -> None:
        self._recent.leave(self._follower)
