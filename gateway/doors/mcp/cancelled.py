"""Tells an upstream of the handshake wire that nobody waits for a call any more: there, closing its stream does not say so."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.doors.mcp.messages import Headers
from gateway.doors.mcp.refusals import Id, dumped
from gateway.model import Attempt, Reply, UpstreamError
from gateway.policy.snapshot import UpstreamPlan

SendApart = Callable[[Attempt, UpstreamPlan], Awaitable[Reply]]
"""Makes one attempt with a message that is no call. Raises UpstreamError."""
MOST_AT_ONCE = 100
"""Notices under way; further ones are not sent. The spec lets a server ignore them anyway."""
SECONDS = 5.0
_SAID_AGAIN = ("Mcp-Session-Id", "MCP-Protocol-Version")


class Cancellations:
    """Sends and forgets."""

    def __init__(self, send_apart: SendApart) -> None:
        self._send_apart = send_apart
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, server: UpstreamPlan, headers: Headers, identity: Id, why: str) -> None:
        """`notifications/cancelled` for the request of this id, in the session that these headers name."""
        if len(self._tasks) >= MOST_AT_ONCE:
            return
        body = (
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%b,"reason":"%b"}}'
            % (dumped(identity), why.encode())
        )  # fmt: skip
        kept = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
        kept += [(name, value) for name in _SAID_AGAIN if (value := headers.get(name)) is not None]
        task = asyncio.create_task(self._send(Attempt(1, "POST", "", kept, body), server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """What is under way is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, attempt: Attempt, server: UpstreamPlan) -> None:
        with suppress(TimeoutError, UpstreamError, ValueError):
            async with asyncio.timeout(SECONDS):
                reply = await self._send_apart(attempt, server)
                reply.close()
