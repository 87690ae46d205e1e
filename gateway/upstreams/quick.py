"""An exchange that is begun without waiting for it. A plain reply is handed over when it is whole; any other goes on as in exchange.py."""

import asyncio
from collections.abc import Awaitable

from gateway.model import Attempt, Reply, ReplyHead
from gateway.pipeline.begun import Taker
from gateway.upstreams.connection import Connection, Head
from gateway.upstreams.exchange import going_on, reply_of
from gateway.upstreams.known import Known, KnownHeads
from gateway.upstreams.pool import Pool


class QuickExchange:
    """One request on an idle connection: an Exchange of pipeline/begun.py, and the Asker of the connection."""

    __slots__ = ("_answer", "_attempt", "_connection", "_known", "_over", "_pool", "_taker")

    def __init__(self, connection: Connection, pool: Pool, known: KnownHeads) -> None:
        self._connection = connection
        self._pool = pool
        self._known = known
        self._attempt: Attempt | None = None
        """Once it is sent."""
        self._taker: Taker | None = None
        """Until it is told: two that hold each other stay, with all of the call, until the garbage collector comes."""
        self._answer: asyncio.Future[Head] | None = None
        self._over = False

    def send(self, attempt: Attempt, request: bytes, taker: Taker) -> bool:
        """`request`: head and body, as they go on the wire. False, with nothing sent, where the connection has closed meanwhile."""
        if not self._connection.open:
            self._over = True
            return False
        self._attempt, self._taker = attempt, taker
        attempt.sent = True
        self._connection.ask(request, self, self._known)
        return True

    def unused(self) -> None:
        """Nothing is to be sent after all."""
        self._over = True
        if self._connection.open:
            self._pool.rest(self._connection)

    @property
    def arriving(self) -> bool:
        """Part of the reply is here."""
        return self._connection.arriving

    def hand_over(self) -> None:
        self._taker = None
        if not self._over and self._answer is None and self._attempt is not None:
            self._answer = self._connection.look_closer()

    def arrive(self) -> Awaitable[Reply]:
        if self._attempt is None:
            raise AssertionError("nothing was sent")
        self._over = True
        answer = self._answer or self._connection.look_closer()
        return going_on(self._connection, answer, self._attempt, self._pool.give)

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

    def answered(self, head: ReplyHead, body: bytes) -> None:
        taker, self._taker, self._over = self._taker, None, True
        self._pool.give(self._connection)
        if taker is not None:
            taker.take(Reply(head.status, head.headers, body, length=len(body), head=head))

    def odd(self, came: bytes) -> None:
        connection, taker, self._taker = self._connection, self._taker, None
        if taker is None:
            return
        answer = self._answer = connection.look_closer()
        if not answer.done() or answer.exception() is not None or not connection.whole:
            taker.look()
            return
        self._over = True
        message, length, _ = answer.result()
        plain = connection.plain
        reply = reply_of(connection, answer.result(), self._pool.give)
        reply.head = ReplyHead(reply.status, reply.headers)
        if plain and length is not None and message.code not in (204, 304):
            self._known.remember(came[: len(came) - length], Known(reply.head, length))
        taker.take(reply)
