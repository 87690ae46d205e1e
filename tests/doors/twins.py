"""Two gateways with one policy and one upstream, one of them without the fast lane, and what the same bytes come to at each of them."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gateway.model import Record, Try
from gateway.pipeline.progress import RESULT_WINDOW
from tests.doors.conftest import FAST, ORDINARY, Running, StartGateway, nothing_is_left
from tests.doors.wire import PATIENCE

APART = 0.002
"""Seconds between two pieces, so that they mostly arrive apart; nothing hangs on it."""
DEADLINE_WITHIN = 1500
"""Milliseconds that two equal calls' deadlines may differ by on a busy machine."""
GOODBYE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_DIFFERS = [
    (re.compile(rb"(Date: )[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} 20[0-9 :]+ GMT"), rb"\1now"),
    (re.compile(rb"(Tool-Gateway-Call-Id: )[0-9a-f]{16}\r"), rb"\1id\r"),
    (re.compile(rb'("call_id":")[0-9a-f]{16}"'), rb'\1id"'),
    (re.compile(rb"(Tool-Gateway-Remaining: .*seconds=)[0-9]+\r"), rb"\1some\r"),
]
_UPSTREAM_DIFFERS = [
    (re.compile(rb"(Tool-Gateway-Deadline-Ms: )[0-9]+\r"), rb"\1some\r"),
    (re.compile(rb"(Idempotency-Key: )[0-9a-f]{16}-[0-9a-f]+\r"), rb"\1made up\r"),
]
_FRAMING = re.compile(rb"(?:Transfer-Encoding: chunked|Content-Length: [0-9]+)\r\n")
_DEADLINE = re.compile(rb"Tool-Gateway-Deadline-Ms: ([0-9]+)\r")


class Spoken(NamedTuple):
    """What the upstream answers to one request: pieces, and whether it then stays or hangs up ("close", "reset"; "close late": so that
    the end is not seen together with what was said).
    """

    pieces: tuple[bytes, ...]
    end: str = "stay"

    def __repr__(self) -> str:
        return f"Spoken({_shown(self.pieces)}, {self.end!r})"


class Said(NamedTuple):
    """A request in pieces. `bodyless`: no answer to it has a body."""

    pieces: tuple[bytes, ...]
    bodyless: bool = False

    def __repr__(self) -> str:
        return f"Said({_shown(self.pieces)})"


class Came(NamedTuple):
    """All that can be seen of a conversation."""

    answers: list[bytes]
    """Each with its head; the last may be cut."""
    stays: bool
    """The connection is good for another request at the end."""
    requests: list[bytes]
    """As the upstream got them."""
    records: list[Record]
    deadlines: list[int]


class Scripted:
    """An upstream that reads requests to their end and answers them as it was told, in turn; `usual` when the script is over."""

    usual = Spoken(
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}',)
    )

    def __init__(self) -> None:
        self.script: list[Spoken] = []
        self.heard: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.transport.is_closing():
                request = await _request(reader)
                self.heard.append(request)
                await self._answer(self.script.pop(0) if self.script else self.usual, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, spoken: Spoken, writer: asyncio.StreamWriter) -> None:
        for index, piece in enumerate(spoken.pieces):
            if index:
                await asyncio.sleep(APART)
            writer.write(piece)
            await writer.drain()
        if spoken.end == "close late":
            await asyncio.sleep(5 * APART)
        if spoken.end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if spoken.end != "stay":
            writer.transport.abort()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)
    if length is not None:
        return head + await reader.readexactly(int(length[1]))
    if b"\r\nTransfer-Encoding: chunked\r\n" not in head:
        return head
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    return head + body + await reader.readuntil(b"\r\n")


class Twins(NamedTuple):
    """The two, and what they stand before."""

    ordinary: Running
    fast: Running
    upstream: Scripted

    async def play(self, conversation: Sequence[Said], script: Sequence[Spoken] = ()) -> tuple[Came, Came]:
        """The same to both, one after the other."""
        return await self._play(self.ordinary, conversation, script), await self._play(self.fast, conversation, script)

    async def _play(self, running: Running, conversation: Sequence[Said], script: Sequence[Spoken]) -> Came:
        for plan in running.gateway.policies.snapshot.upstreams.values():
            for connection in [*running.gateway.ways_out.upstreams.of(plan).pool._idle]:
                connection.abort()  # the upstream may be about to close it
        if running is self.fast:
            await running.warm()
        self.upstream.script, self.upstream.heard = [*script], []
        running.seen.records.clear()
        answers, stays = await _converse(running.gateway.data_url, conversation)
        await nothing_is_left(running.gateway)
        heard = self.upstream.heard
        return Came(
            [_alike(answer, _DIFFERS) for answer in answers],
            stays,
            [_alike(request, _UPSTREAM_DIFFERS) for request in heard],
            [_timeless(record) for record in running.seen.records],
            [int(found[1]) for request in heard for found in [_DEADLINE.search(request)] if found],
        )


def assert_alike(ordinary: Came, fast: Came) -> None:
    assert fast.answers == ordinary.answers
    assert fast.stays == ordinary.stays
    assert fast.requests == ordinary.requests
    assert fast.records == ordinary.records
    for one, other in zip(ordinary.deadlines, fast.deadlines, strict=True):
        assert abs(one - other) < DEADLINE_WITHIN


class Client(asyncio.Protocol):
    """A caller that keeps all it hears, up to and including a reset."""

    def __init__(self) -> None:
        self.heard = b""
        self.gone = False
        self._told = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self._told.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._told.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """It holds, or the gateway has hung up."""
        async with asyncio.timeout(PATIENCE):
            while not self.gone and not true():
                self._told.clear()
                await self._told.wait()


def _shown(pieces: Sequence[bytes]) -> str:
    """In a report: the long ones only as they begin."""
    return ", ".join(
        repr(piece) if len(piece) < 1000 else f"{piece[:500]!r} and so on, {len(piece)} bytes" for piece in pieces
    )


async def _converse(url: str, conversation: Sequence[Said]) -> tuple[list[bytes], bool]:
    """Each request when the one before it is answered; then a last one to see whether the connection is still good."""
    host, _, port = url.removeprefix("http://").partition(":")
    transport, client = await asyncio.get_running_loop().create_connection(Client, host, int(port))
    bodyless: list[bool] = []
    for said in (*conversation, Said((GOODBYE,))):
        bodyless.append(said.bodyless)
        for index, piece in enumerate(said.pieces):
            if index:
                await asyncio.sleep(APART)
            if client.gone or b"\r\nConnection: close\r\n" in client.heard:
                break  # what is sent to a closed socket is answered with a reset
            transport.write(piece)
        await client.until(lambda: len(_answers(client.heard, bodyless)[0]) >= len(bodyless))
    await client.until(lambda: False)
    answers, rest = _answers(client.heard, bodyless)
    stays = len(answers) == len(bodyless) and answers[-1].endswith(b'{"ok":true}') and not rest
    return (
        [*answers, rest.partition(b"\r\n\r\n")[0]] if rest else answers
    ), stays  # how much came before a cut is chance


def _answers(heard: bytes, bodyless: Sequence[bool]) -> tuple[list[bytes], bytes]:
    """Whole ones, each with what comes before it (100 Continue), and the beginning of the next. Framing is taken off: whether a body
    that ends with its connection is whole before it is passed on is chance.
    """
    found: list[bytes] = []
    before = at = 0
    while (end := heard.find(b"\r\n\r\n", at) + 4) > 3:
        head = heard[at:end]
        if head.startswith(b"HTTP/1.1 1"):
            at = end
            continue
        headed = len(found) < len(bodyless) and bodyless[len(found)]
        body = _body(head, heard, end, bodyless=headed)
        if body is None:
            break
        found.append(heard[before:end] if headed else _FRAMING.sub(b"", heard[before:end]) + body[0])
        before = at = body[1]
    return found, heard[before:]


def _body(head: bytes, heard: bytes, at: int, *, bodyless: bool) -> tuple[bytes, int] | None:
    """The body whose head ends at `at`, and where it ends; None: not yet."""
    if bodyless or head[9:12] in (b"204", b"304"):
        return b"", at
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n", head)
    if length is not None:
        end = at + int(length[1])
        return (heard[at:end], end) if end <= len(heard) else None
    body = b""
    while (line := heard.find(b"\r\n", at)) >= 0:
        size = int(heard[at:line], 16)
        body += heard[line + 2 : line + 2 + size]
        at = line + size + 4
        if not size:
            return (body, at) if at <= len(heard) else None
    return None


def _timeless(record: Record) -> Record:
    """Without times and ids; a streamed reply's window holds whole pieces, and their sizes are chance."""
    nothing: Any = None
    window = record.result[:RESULT_WINDOW]
    left = record.remaining and record.remaining._replace(seconds=0)
    tries = (Try(0, 0),) * len(record.tries)
    return record._replace(
        at=nothing, call_id="", duration_ms=0, waited_ms=0, result=window, remaining=left, tries=tries
    )


def _alike(data: bytes, differs: Sequence[tuple[re.Pattern[bytes], bytes]]) -> bytes:
    for what, by in differs:
        data = what.sub(by, data)
    return data


@asynccontextmanager
async def twins(start: StartGateway, policy: str, **variables: str) -> AsyncIterator[Twins]:
    """`@PORT@` in the policy stands for the upstream's."""
    upstream = Scripted()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    variables = {"GATEWAY_UPSTREAM": f"http://127.0.0.1:{upstream.port}", **variables}
    policy = policy.replace("@PORT@", str(upstream.port))
    try:
        ordinary = await start(policy, lane=ORDINARY, **variables)
        yield Twins(ordinary, await start(policy, lane=FAST, **variables), upstream)
    finally:
        server.close()
        await upstream.stop()
