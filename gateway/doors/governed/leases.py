"""/v1/ai/lease and what follows it: one of many does a piece of work, the others wait for its result."""

from collections.abc import Callable
from hashlib import sha256
from math import ceil
from secrets import token_hex
from typing import Any, NamedTuple

from aiohttp.web_response import Response

from gateway.denial import Denial, Reason
from gateway.doors.arguments import written
from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import Json, answered, instant, not_found, unprocessable
from gateway.doors.governed.keeping import kept, key_of, ttl_of
from gateway.doors.governed.shelf import Shelf
from gateway.doors.refusal import Refusal
from gateway.model import Moment

USUAL_TTL, LONGEST_TTL = 300, 86_400
"""Seconds for which a lease is held, unless it is extended."""
LATE = 86_400
"""Seconds for which one that has run out may be ended by its holder, while nobody else has taken it."""
READABLE = 7 * 86_400
"""Seconds for which an end can be asked for."""
ASK_AGAIN = 1
"""Seconds."""
LONGEST_WORD = 500
IN_PROGRESS, COMPLETED, FAILED = "in_progress", "completed", "failed"


class Lease(NamedTuple):
    """How the work under one key stands. Times are Unix seconds."""

    lease_id: str
    """Known to its holder alone."""
    since: float
    """When the key was first asked for."""
    ends: float
    """When another one may have it."""
    version: int = 1
    status: str = IN_PROGRESS
    done: float | None = None
    result: dict[str, Any] | None = None
    result_hash: str | None = None
    error_code: str | None = None


class Leases:
    """Constructed once, by the door. Every method raises Refusal."""

    def __init__(self, shelf: Shelf, clock: Callable[[], Moment]) -> None:
        self._shelf = shelf
        self._clock = clock

    async def lease(self, arrival: Arrival, document: Json) -> Response:
        """Whoever asks first has it; who asks later is told to wait, or how it ended."""
        key, ttl = key_of(document), ttl_of(document, USUAL_TTL, LONGEST_TTL)
        async with self._shelf.lock:
            now = self._clock().wall
            found = self._look(key, now)
            if found is not None and (found.done is not None or found.ends > now):
                status = found.status if found.done is not None else "polling"
                return answered(arrival, _view(key, found, now) | {"status": status})
            held = Lease(token_hex(16), now, now + ttl)
            if found is not None:
                held = held._replace(since=found.since, version=found.version + 1)
            await self._keep(key, held, now)
        mine = {"status": "acquired", "lease_id": held.lease_id, "ttl": ttl, "retry_after_sec": None}
        return answered(arrival, _view(key, held, now) | mine)

    async def extend(self, arrival: Arrival, document: Json) -> Response:
        """What has ended stays so: a heartbeat may come after the end."""
        key, ttl = key_of(document), ttl_of(document, USUAL_TTL, LONGEST_TTL)
        async with self._shelf.lock:
            now = self._clock().wall
            found = self._held(key, document, now)
            if found.done is not None:
                return answered(arrival, _view(key, found, now) | {"ok": False})
            held = found._replace(ends=now + ttl, version=found.version + 1)
            await self._keep(key, held, now)
        return answered(arrival, {"ok": True, "status": "extended", "key": key, "ttl": ttl, "version": held.version})

    async def complete(self, arrival: Arrival, document: Json) -> Response:
        """With a result, or its hash alone."""
        result, said = document.get("result"), _word(document, "result_hash")
        if result is not None and not isinstance(result, dict):
            raise unprocessable("result must be an object")
        own = None if result is None else sha256(written(result)).hexdigest()
        return await self._end(arrival, document, COMPLETED, result=result, result_hash=said or own)

    async def fail(self, arrival: Arrival, document: Json) -> Response:
        """For good: a piece of work that may be tried again has another key."""
        return await self._end(arrival, document, FAILED, error_code=_word(document, "error_code") or FAILED)

    async def cancel(self, arrival: Arrival, document: Json) -> Response:
        """Told as failed: clients that wait know no other end."""
        _word(document, "reason")
        return await self._end(arrival, document, FAILED, error_code="cancelled")

    def status(self, arrival: Arrival, document: Json) -> Response:
        """How it stands."""
        key, now = key_of(document), self._clock().wall
        return answered(arrival, _view(key, self._find(key, now), now))

    def result(self, arrival: Arrival, document: Json) -> Response:
        """The same, with what came of it."""
        key, now = key_of(document), self._clock().wall
        found = self._find(key, now)
        return answered(arrival, _view(key, found, now) | {"result": found.result})

    async def _end(self, arrival: Arrival, document: Json, status: str, **end: Any) -> Response:
        """The same end twice is one."""
        key = key_of(document)
        async with self._shelf.lock:
            now = self._clock().wall
            found = self._held(key, document, now)
            ended = found._replace(status=status, done=found.done or now, **end)
            if found.done is None:
                await self._keep(key, ended, now)
            elif ended != found:
                raise _conflict("This lease has ended otherwise, and an end is not changed: ask for its result.")
        return answered(arrival, _view(key, ended, now))

    async def _keep(self, key: str, lease: Lease, now: float) -> None:
        until = lease.ends + LATE if lease.done is None else lease.done + READABLE
        await kept(self._shelf, key, until, lease._asdict(), now)

    def _look(self, key: str, now: float) -> Lease | None:
        fields = self._shelf.find(key, now)
        return None if fields is None else Lease(**fields)

    def _find(self, key: str, now: float) -> Lease:
        found = self._look(key, now)
        if found is None:
            raise not_found("Nobody holds a lease of this key, and none has ended lately: ask for one at /v1/ai/lease.")
        return found

    def _held(self, key: str, document: Json, now: float) -> Lease:
        """By whoever asks."""
        found = self._find(key, now)
        if found.lease_id != document.get("lease_id"):
            raise _conflict("This lease_id does not hold the key (it has run out, or never did): ask for the result.")
        return found


def _view(key: str, lease: Lease, now: float) -> Json:
    """What everybody may know of it, but for the result."""
    return {
        "ok": True,
        "status": lease.status,
        "key": key,
        "version": lease.version,
        "ttl_left": 0 if lease.done is not None else max(0, ceil(lease.ends - now)),
        "first_seen_at": instant(lease.since),
        "done_at": None if lease.done is None else instant(lease.done),
        "result_hash": lease.result_hash,
        "error_code": lease.error_code,
        "retry_after_sec": ASK_AGAIN if lease.done is None else None,
    }


def _word(document: Json, name: str) -> str | None:
    word = document.get(name)
    if word is not None and (not isinstance(word, str) or len(word) > LONGEST_WORD or not word.isprintable()):
        raise unprocessable(f"{name} must be printable text of at most {LONGEST_WORD} characters")
    return word


def _conflict(what: str) -> Refusal:
    return Refusal(Denial(Reason.INVALID_REQUEST, what, status_override=409))
