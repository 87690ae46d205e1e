"""One connection to the store that all calls of the process share. What is asked is written at once; replies are handed out in order.

It never waits long: a reply that is late means that the connection is dead, and all that wait on it hear so together.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from valkey.asyncio.connection import Connection
from valkey.exceptions import AuthenticationError, ReadOnlyError, ResponseError

from gateway.place import Place
from gateway.state.stores.valkey import claim_scripts, scripts, setting_scripts
from gateway.state.stores.valkey.primary import ASKED_WITHIN, FAILURES, NoPassword, NoPrimary, connect, disconnect, find

REPLY_WITHIN = 0.2
"""Seconds. No call waits beyond 0.25 for its charge (SPEC 1), and some of that is the gateway's own."""
SECOND_LOOK = 0.02
CONNECT_WITHIN = 1.0
"""Seconds: nobody waits for it. What Sentinels and nodes of a cluster take that do not answer comes on top."""
WATCHED_EVERY = 1.0
"""Seconds between two looks at who the Sentinels say is the primary."""
SCRIPTS = {
    name: str(getattr(module, name))
    for module, names in (
        (scripts, "BEGIN CHARGE REFUND TELL_RUN TELL_AGENT LOOK"),
        (setting_scripts, "SWITCH SWITCHES NOTE NOTES"),
        (claim_scripts, "CLAIM WATCH END"),
    )
    for name in names.split()
}

Take = Callable[[str | None], None]
"""Is handed the reply; None: there will be none. Must not raise."""
Arguments = tuple[str | int, ...]


class Unreachable(Exception):
    """One sentence part: what is wrong with the store."""


class Link:
    """One connection, from `open` to `fail`. Not to be used again."""

    def __init__(self, place: Place, lost: Callable[[str], None]) -> None:
        self.problem: str | None = None
        self._place = place
        self._connection: Connection | None = None
        self._renamed = place.topology == "cluster"
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, Take]] = deque()
        self._unwritten: list[bytes] = []
        self._write = asyncio.Event()
        self._late: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._hashes: dict[str, str] = {}

    async def open(self) -> None:
        """Raises Unreachable."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN + ASKED_WITHIN * len(self._place.nodes)):
                connection = self._connection = await connect(self._place)
                for name, script in SCRIPTS.items():
                    await connection.send_command("SCRIPT", "LOAD", script)
                    self._hashes[name] = _text(await connection.read_response())
        except FAILURES as error:
            await self._close()
            raise Unreachable(explained(error)) from None
        except asyncio.CancelledError:
            await self._close()
            raise
        self._tasks = [asyncio.create_task(self._writing(connection)), asyncio.create_task(self._reading(connection))]
        if self._place.topology == "sentinel":
            self._tasks.append(asyncio.create_task(self._watching(connection)))

    def run(self, script: str, keys: tuple[str, ...], arguments: Arguments, take: Take) -> None:
        """One script, by its name. They are run in the order in which they are asked for."""
        if self.problem is not None or self._connection is None:
            take(None)
            return
        now = self._loop.time()
        self._waiting.append((now, take))
        if self._renamed:
            keys = tuple(map(self._place.key, keys))
        command = "EVALSHA", self._hashes[script], len(keys), *keys, *arguments
        self._unwritten += self._connection.pack_command(*command)
        self._write.set()
        if self._timer is None:
            self._timer = self._loop.call_at(now + REPLY_WITHIN, self._look_at_the_clock)

    async def fetch(self, script: str, keys: tuple[str, ...], *arguments: str | int) -> str:
        """For what is asked now and then. Raises Unreachable."""
        reply: asyncio.Future[str | None] = self._loop.create_future()
        self.run(script, keys, arguments, lambda text: None if reply.done() else reply.set_result(text))
        text = await reply
        if text is None:
            raise Unreachable(self.problem or "does not answer")
        return text

    def fail(self, problem: str) -> None:
        """It is of no more use. All that wait are told, then whoever made it."""
        if self.problem is not None:
            return
        self.problem = problem
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._tasks.append(asyncio.create_task(self._close()))
        waiting, self._waiting = self._waiting, deque()
        for _, take in waiting:
            take(None)
        self._lost(problem)

    async def closed(self) -> None:
        """After `fail`."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _writing(self, connection: Connection) -> None:
        try:
            while True:
                await self._write.wait()
                self._write.clear()
                pieces, self._unwritten = self._unwritten, []
                await connection.send_packed_command(b"".join(pieces))
        except FAILURES as error:
            self.fail(explained(error))

    async def _reading(self, connection: Connection) -> None:
        try:
            while True:
                text = _text(await connection.read_response())
                if self._waiting:
                    self._waiting.popleft()[1](text)
        except FAILURES as error:
            # A refusal of the store's own (read-only, out of memory, a script it has forgotten) is a reason to begin anew as well.
            self.fail(explained(error))

    async def _watching(self, connection: Connection) -> None:
        """A primary that is cut off from its Sentinels does not know that another one has taken its place."""
        while True:
            await asyncio.sleep(WATCHED_EVERY)
            with suppress(*FAILURES):
                if await find(self._place) != (connection.host, connection.port):
                    self.fail("has another primary by now")
                    return

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        oldest, now = self._waiting[0][0], self._loop.time()
        if oldest + REPLY_WITHIN > now:
            self._late = None
            self._timer = self._loop.call_at(oldest + REPLY_WITHIN, self._look_at_the_clock)
        elif self._late != oldest:  # if it was the loop that was held up, the reply is here, but not read yet
            self._late = oldest
            self._timer = self._loop.call_later(SECOND_LOOK, self._look_at_the_clock)
        else:
            self.fail(f"does not answer within {REPLY_WITHIN:g} s")

    async def _close(self) -> None:
        if self._connection is not None:
            await disconnect(self._connection)


def explained(error: BaseException) -> str:
    """Without a word of the store's own: it may repeat what it was sent."""
    if isinstance(error, NoPassword | NoPrimary):
        return str(error)
    if isinstance(error, AuthenticationError):
        return "refuses the user or password of GATEWAY_STATE"
    if isinstance(error, ReadOnlyError):
        return "is read-only (a replica, or a failover is going on)"
    if isinstance(error, ResponseError):
        word = str(error).partition(" ")[0]
        known = word if word.isascii() and word.isupper() and word.isalpha() else type(error).__name__
        return f"refuses a command ({known})"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error.__context__, ssl.SSLError):
        return "does not agree on TLS (is its certificate for that name and of a trusted authority, and does it know the client's?)"
    return "is out of reach"


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
