"""GET /v1/calls/stream: each call as it ends, as server-sent events. Whoever reads too slowly loses calls, and is told how many."""

import asyncio
import json

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.admin.inspection import FollowedCalls
from gateway.admin.operations import Operations
from gateway.admin.problems import Refused, sealed
from gateway.admin.token import AdminToken
from gateway.admin.views import View
from gateway.admin.wanted import wanted_of

MOST_LISTENERS = 16
"""A console in sight has two."""
KEEPALIVE = 15
"""Seconds of silence, then a comment: what lies between keeps the connection, and a listener that is gone is found out."""
_AT_ONCE = 25
"""Calls. They are put into words on the loop: half a millisecond, and then everybody else's turn."""
_BREATH = 0.05
"""Seconds between so many calls and the next ones: it bounds what all listeners together can cost."""
_SLOWEST = 30.0
"""Seconds that a piece of the stream may wait for its reader."""
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Live:
    """All who listen. `close` ends every stream."""

    def __init__(self, operations: Operations, token: AdminToken) -> None:
        self._do = operations
        self._token = token
        self._listeners: set[asyncio.Event] = set()
        self._closing = False

    async def stream(self, request: BaseRequest) -> StreamResponse:
        """With `Last-Event-ID` it begins behind that call, as far as it is still kept."""
        wanted = wanted_of(request.query)
        if self._closing or len(self._listeners) >= MOST_LISTENERS:
            raise Refused(
                503, f"{MOST_LISTENERS} streams are open, as many as there may be: close one.", {"Retry-After": "5"}
            )
        woken = asyncio.Event()
        following = self._do.follow(wanted, woken.set, request.headers.get("Last-Event-ID"))
        self._listeners.add(woken)
        response = StreamResponse(headers=_HEADERS)
        try:
            await sealed(response).prepare(request)
            await self._tell(request, response, following, woken)
        except ConnectionError:
            pass  # it is gone, or reads nothing any more
        finally:
            self._listeners.discard(woken)
            following.close()
        return response

    def close(self) -> None:
        """At the gateway's end."""
        self._closing = True
        for woken in self._listeners:
            woken.set()

    async def _tell(
        self, request: BaseRequest, response: StreamResponse, following: FollowedCalls, woken: asyncio.Event
    ) -> None:
        """Until the gateway or the listener leaves, or the token is another one: who has but the old one hears nothing more."""
        silent, token = 0, self._token.current()
        await _write(request, response, ": calls follow as they end\n\n")
        while not (
            self._closing
            or request.transport is None
            or request.transport.is_closing()
            or self._token.current() != token
        ):
            lost, calls = following.take(_AT_ONCE)
            if lost != 0 or calls:
                silent = 0
                await _write(request, response, _lost(lost) + "".join(map(_event, calls)))
                await asyncio.sleep(_BREATH)
                continue
            woken.clear()
            try:
                async with asyncio.timeout(1.0):
                    await woken.wait()
            except TimeoutError:
                silent += 1
            if silent >= KEEPALIVE:
                silent = 0
                await _write(request, response, ": still here\n\n")


def _event(call: View) -> str:
    return f"id: {call['call_id']}\nevent: call\ndata: {json.dumps(call)}\n\n"


def _lost(calls: int | None) -> str:
    """`null` where the stream was to go on behind a call that is not kept any more."""
    return "" if calls == 0 else f"event: lost\ndata: {json.dumps({'lost': calls})}\n\n"


async def _write(request: BaseRequest, response: StreamResponse, text: str) -> None:
    """Raises ConnectionError where nobody reads: such a connection is cut, for its end could not be written either."""
    try:
        async with asyncio.timeout(_SLOWEST):
            await response.write(text.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionError from None
