"""One connection to the store that all calls of the process share. What is asked is written at once; replies are handed out in order.

It never waits long: a reply that is late means that the connection is dead, and all that wait on it hear so together.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from valkey.asyncio.connection import Connection, SSLConnection
from valkey.exceptions import AuthenticationError, ReadOnlyError, ResponseError, ValkeyError

from gateway.place import Place
from gateway.state.stores.valkey import scripts

REPLY_WITHIN = 0.2
"""Seconds. No call waits beyond 0.25 for its charge (SPEC 1), and some of that is the gateway's own."""
SECOND_LOOK = 0.02
CONNECT_WITHIN = 1.0
"""Seconds: nobody waits for it."""
NAMES = ("BEGIN", "CHARGE", "REFUND", "TELL_RUN", "TELL_AGENT", "LOOK", "SWITCH", "SWITCHES", "NOTE", "NOTES")

Take = Callable[[str | None], None]
"""Is handed the reply; None: there will be none. Must not raise."""
Arguments = tuple[str | int, ...]


class Unreachable(Exception):
    """One sentence part: what is wrong with the store."""


def connection_to(place: Place) -> Connection:
    """Not open yet."""
    kind = partial(SSLConnection, ssl_ca_certs=place.ca_file) if place.tls else Connection
    return kind(
        host=place.host,
        port=place.port,
        db=place.db,
        username=place.username,
        password=place.password,
        socket_timeout=None,
        socket_connect_timeout=CONNECT_WITHIN,
        lib_name=None,
        lib_version=None,
    )


class Link:
    """One connection, from `open` to `fail`. Not to be used again."""

    def __init__(self, place: Place, lost: Callable[[str], None]) -> None:
        self.problem: str | None = None
        self._connection = connection_to(place)
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
            async with asyncio.timeout(CONNECT_WITHIN):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # the client has no types there
                for name in NAMES:
                    await self._connection.send_command("SCRIPT", "LOAD", getattr(scripts, name))
                    self._hashes[name] = _text(await self._connection.read_response())
        except (TimeoutError, OSError, ValkeyError) as error:
            await self._close()
            raise Unreachable(explained(error)) from None
        except asyncio.CancelledError:
            await self._close()
            raise
        self._tasks = [asyncio.create_task(self._writing()), asyncio.create_task(self._reading())]

    def run(self, script: str, keys: tuple[str, ...], arguments: Arguments, take: Take) -> None:
        """One script, by its name. They are run in the order in which they are asked for."""
        if self.problem is not None:
            take(None)
            return
        now = self._loop.time()
        self._waiting.append((now, take))
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

    async def _writing(self) -> None:
        try:
            while True:
                await self._write.wait()
                self._write.clear()
                pieces, self._unwritten = self._unwritten, []
                await self._connection.send_packed_command(b"".join(pieces))
        except (OSError, ValkeyError) as error:
            self.fail(explained(error))

    async def _reading(self) -> None:
        try:
            while True:
                text = _text(await self._connection.read_response())
                if self._waiting:
                    self._waiting.popleft()[1](text)
        except (OSError, ValkeyError) as error:
            # A refusal of the store's own (read-only, out of memory, a script it has forgotten) is a reason to begin anew as well.
            self.fail(explained(error))

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
        with suppress(OSError, ValkeyError):
            await self._connection.disconnect(nowait=True)


def explained(error: BaseException) -> str:
    """Without a word of the store's own: it may repeat what it was sent."""
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
    return "is out of reach"


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
