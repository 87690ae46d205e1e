"""POST /v1/check-lock: the first to ask for a key has it for a while, all others are told that they are late."""

from collections.abc import Callable

import orjson
from aiohttp.web_response import Response

from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import Json, answered, instant, unprocessable
from gateway.doors.governed.keeping import kept, key_of, ttl_of
from gateway.doors.governed.shelf import Shelf
from gateway.model import Moment

USUAL_TTL, LONGEST_TTL = 86_400, 30 * 86_400
"""Seconds."""
LONGEST_METADATA = 2048
"""Bytes. They are looked at, and not kept."""


class Locks:
    """Constructed once, by the door."""

    def __init__(self, shelf: Shelf, clock: Callable[[], Moment]) -> None:
        self._shelf = shelf
        self._clock = clock

    async def check(self, arrival: Arrival, document: Json) -> Response:
        """Raises Refusal, never one of a status that the SDK takes for leave to go on (5xx)."""
        key, ttl = key_of(document), ttl_of(document, USUAL_TTL, LONGEST_TTL)
        metadata = document.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise unprocessable("metadata must be an object")
        if len(orjson.dumps(metadata)) > LONGEST_METADATA:
            raise unprocessable(f"metadata may have {LONGEST_METADATA} bytes")
        async with self._shelf.lock:
            now = self._clock().wall
            held = self._shelf.find(key, now)
            if held is None:
                await kept(self._shelf, key, now + ttl, {"since": now}, now)
        status = "locked" if held is None else "duplicate"
        since = None if held is None else instant(held["since"])
        told = {"success": held is None, "status": status, "key": key, "ttl": ttl, "first_seen_at": since}
        return answered(arrival, told, {"X-OnceOnly-Status": status, "X-Request-Id": arrival.call_id})
