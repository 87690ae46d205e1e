"""Serving an application of `mcp`'s on a free port of the loopback, as a process whose first line of output is its address."""

import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

RESUMED_AFTER_MS = 20
"""What clients are told to wait before they resume a stream that was cut."""


class Kept(EventStore):
    """Every event of every stream, so that clients can resume."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        seen = int(last_event_id)
        stream = self._events[seen - 1][0]
        for number, (of, message) in enumerate(self._events[seen:], seen + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def serve(application: Callable[..., Awaitable[None]]) -> None:
    """Until it is told to end, or whoever started it has gone: its input ends with them."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)  # noqa: T201  who started it waits for this
    settings = uvicorn.Config(application, log_level="critical", timeout_graceful_shutdown=0)
    uvicorn.Server(settings).run(sockets=[listening])
