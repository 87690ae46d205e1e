"""Upstreams and attempts for tests over loopback sockets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gateway.model import Attempt, BodyStream, Reply
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.resolver import Resolver
from tests.unit.made_up import UPSTREAM


class Names(Resolver):
    """Answers look-ups from a table, and counts them."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def lookup(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return list(self.names[host])


@asynccontextmanager
async def upstream(port: int, resolver: Resolver | None = None, **changes: Any) -> AsyncIterator[HttpUpstream]:
    """An upstream on a loopback port; everything it still has open is cut at the end."""
    plan = replace(UPSTREAM, **{"host": "127.0.0.1", "port": port, **changes})
    made = HttpUpstream(plan, resolver or Resolver())
    try:
        yield made
    finally:
        made.pool.abort()
        await made.pool.gone()


def an_attempt(
    method: str = "POST",
    target: str = "/query",
    headers: Sequence[tuple[str, str]] = (),
    body: "bytes | BodyStream" = b"{}",
) -> Attempt:
    return Attempt(1, method, target, list(headers), body if method != "HEAD" else b"")


async def whole(reply: Reply) -> bytes:
    if reply.body is not None:
        return reply.body
    assert reply.chunks is not None
    return b"".join([piece async for piece in reply.chunks])


class Pieces:
    """A streamed request body."""

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None = None) -> None:
        self._pieces = pieces
        self.length = length
        self.started = False
        self.size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self.started = True
            self.size += len(piece)
            yield piece

    def hexdigest(self) -> str:
        return ""
