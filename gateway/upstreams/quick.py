"""An exchange that is begun without waiting for it. A plain reply is handed over when it is whole; any other goes on as in exchange.py."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from gateway.model import Attempt, Reply, ReplyHead
from gateway.pipeline.begun import Taker
from gateway.upstreams.connection import Connection, Head
from gateway.upstreams.exchange import going_on, reply_of
from gateway.upstreams.known import END_OF_HEAD, Known, KnownHeads, wants_more
from gateway.upstreams.pool import Pool

MOST_PIECES: Final = 16
"""Of a short reply that is waited for as it comes: each of them costs a look at all that came before."""


class QuickExchange:
    """One request on an idle connection: an Exchange of pipeline/begun.py, and the Asker of the connection."""

    __slots__ = ("_answer", "_attempt", "_connection", "_held", "_known", "_over", "_pieces", "_pool", "_taker")

    def __init__(self, connection: Connection, pool: Pool, known: KnownHeads) -> None:
        self._connection = connection
        self._pool = pool
        self._known = known
        self._attempt: Attempt | None = None
        """Once it is sent."""
        self._taker: Taker | None = None
        """Until it is told: two that hold each other stay, with all of the call, until the garbage collector comes."""
        self._answer: asyncio.Future[Head] | None = None
        """From the closer look on."""
        self._over = False
        self._held = b""
        """What has come of the reply, before it is looked at closer."""
        self._pieces = 0
        """In which that came."""

    def send(self, attempt: Attempt, request: bytes, taker: Taker) -> bool:
        """`request`: head and body, as they go on the wire. False, with nothing sent, where the connection has closed meanwhile."""
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            self._over = True
            return False
        self._attempt, self._taker = attempt, taker
        attempt.sent = True
        self._connection.asker = self
        transport.write(request)
        return True

    def unused(self) -> None:
        """Nothing is to be sent after all."""
        self._over = True
        if self._connection.open:
            self._pool.rest(self._connection)

    @property
    def arriving(self) -> bool:
        """Part of the reply is here, and more is waited for."""
        return bool(self._held)

    def hand_over(self) -> None:
        self._taker = None
        if not self._over and self._answer is None and self._attempt is not None:
            self._look_closer()

    def arrive(self) -> Awaitable[Reply]:
        if self._attempt is None:
            raise AssertionError("nothing was sent")
        self._over = True
        return going_on(self._connection, self._answer or self._look_closer(), self._attempt, self._pool.give)

    def abort(self) -> None:
        self._taker = None
        if self._over:
            return
        if self._attempt is None:
            self.unused()
        else:
            self._over = True
            self._connection.abort()
            if self._answer is not None and self._answer.done():
                self._answer.exception()  # nobody else will ask

    def receive(self, data: bytes) -> None:
        """More of the reply has come."""
        if self._held:
            data = self._held + data
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        known = self._known.find(data[:end])
        if known is not None and len(data) == end + known.length:
            self._answered(known.head, data[end:])
            return
        self._held = data
        self._pieces += 1
        if self._pieces > MOST_PIECES or not wants_more(data):
            self._odd()

    def ended(self) -> None:
        """No more of it will come."""
        self._odd()

    def _look_closer(self) -> asyncio.Future[Head]:
        came, self._held = self._held, b""
        answer = self._answer = self._connection.look_closer(came)
        return answer

    def _answered(self, head: ReplyHead, body: bytes) -> None:
        """A plain reply with a known head is whole."""
        taker, self._taker, self._over = self._taker, None, True
        self._held = b""
        self._connection.asker = None
        self._pool.used(self._connection)
        if taker is not None:
            taker.take(Reply(head.status, head.headers, body, length=len(body), head=head))

    def _odd(self) -> None:
        """Whatever it is, it takes the closer look. It may be a plain reply all the same, whose head is known from now on."""
        connection, came = self._connection, self._held
        taker, self._taker = self._taker, None
        if taker is None:
            return
        answer = self._look_closer()
        if not answer.done() or answer.exception() is not None or not connection.whole:
            taker.look()
            return
        self._over = True
        length, plain = answer.result().length, connection.plain
        reply = reply_of(connection, answer.result(), self._pool.give)
        reply.head = ReplyHead(reply.status, reply.headers)
        if plain and length is not None and reply.status not in (204, 304):
            self._known.remember(came[: len(came) - length], Known(reply.head, length))
        taker.take(reply)
