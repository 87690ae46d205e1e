"""The connections of one upstream: newest idle one first, at most so many open, callers beyond that wait their turn."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.upstreams.connection import Connection


class Pool:
    """Counts real sockets: a place is taken when a connection starts to open and free again when the socket is gone."""

    def __init__(
        self, open_connection: Callable[[], Awaitable[Connection]], *, size: int, keepalive: float, max_age: float
    ) -> None:
        self._open_connection = open_connection
        self._size = size
        self._keepalive = keepalive
        self._max_age = max_age
        self._loop = asyncio.get_running_loop()
        self._places = size
        """Connections that may still be opened."""
        self._live: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        """Longest idle first."""
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        """A turn is a connection to use or, as None, a place to open one."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._retired = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def opened(self) -> int:
        return self._size - self._places

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self) -> Connection:
        """A connection for one exchange; give() it back. Raises UpstreamError where none can be opened."""
        connection = self.take_idle()
        if connection is not None:
            return connection
        if self._places:
            self._places -= 1
            return await self._open()
        turn = await self._turn()
        if turn is None:
            return await self._open()
        return turn

    def take_idle(self, *, asked: bool = True) -> Connection | None:
        """The same where it costs no wait. Not `asked`: the caller lets the loop hear of what has come meanwhile before it writes, instead
        of having the kernel asked.
        """
        while self._idle:
            connection, _ = self._idle.popitem()
            if self._fresh(connection) and (not asked or connection.quiet()):
                return connection
            connection.abort()
        return None

    def give(self, connection: Connection) -> None:
        """Takes a connection back after its exchange, for the next in the queue or to rest. Whatever is not reusable is closed."""
        if connection.reusable:
            connection.rest()
            self.used(connection)
        else:
            connection.abort()

    def used(self, connection: Connection) -> None:
        """The same for one in which nothing of its exchange is left."""
        connection.idle_since = now = self._loop.time()
        if now - connection.opened < self._max_age:
            self.rest(connection)
        else:
            connection.abort()

    def rest(self, connection: Connection) -> None:
        """Hands the connection to the next in the queue, or keeps it idle until somebody takes it."""
        if self._hand_on(connection):
            return
        if self._retired:
            connection.abort()
        else:
            self._idle[connection] = None
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(self._keepalive, self._sweep)

    def retire(self) -> None:
        """No longer named by the policy: idle connections close now, the others after their exchange."""
        self._retired = True
        self._sweep()

    def abort(self) -> None:
        """Closes everything at once, exchanges in flight too."""
        self.retire()
        for connection in list(self._live):
            connection.abort()

    async def gone(self) -> None:
        """Returns when no socket is open any more."""
        if self._live:
            self._emptied = self._loop.create_future()
            await self._emptied

    async def _turn(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(turn)
        while True:
            try:
                connection = await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._pass_on(turn.result())
                elif turn in self._waiting:
                    self._waiting.remove(turn)
                raise
            if connection is None or connection.quiet():
                return connection
            connection.abort()  # it closed on its way here; its place comes back when the socket is gone, or is back already
            if self._places:
                self._places -= 1
                return None
            turn = self._loop.create_future()
            self._waiting.appendleft(turn)

    def _hand_on(self, what: Connection | None) -> bool:
        """Gives the first caller in the queue its turn; False where nobody waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(what)
                return True
        return False

    def _pass_on(self, turn: Connection | None) -> None:
        """A turn whose caller has left."""
        if turn is None:
            self._free_place()
        elif not self._hand_on(turn):
            self._idle[turn] = None
            self._sweep()

    async def _open(self) -> Connection:
        try:
            connection = await self._open_connection()
        except BaseException:
            self._free_place()
            raise
        self._live.add(connection)
        connection.on_lost = self._lost
        if connection.transport is None:
            self._lost(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._live.discard(connection)
        self._idle.pop(connection, None)
        self._free_place()
        if self._emptied is not None and not self._live and not self._emptied.done():
            self._emptied.set_result(None)

    def _free_place(self) -> None:
        if not self._hand_on(None):
            self._places += 1

    def _fresh(self, connection: Connection) -> bool:
        now = self._loop.time()
        return now - connection.idle_since < self._keepalive and now - connection.opened < self._max_age

    def _sweep(self) -> None:
        """Closes what has been idle too long, before the upstream does."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [c for c in self._idle if self._retired or not self._fresh(c)]:
            del self._idle[connection]
            connection.abort()
        if self._idle:
            oldest = next(iter(self._idle))
            self._sweeper = self._loop.call_at(oldest.idle_since + self._keepalive, self._sweep)
