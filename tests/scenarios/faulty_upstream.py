"""Ways in which an upstream misbehaves after it has read a request, byte by byte and moment by moment. What is promised for each is
in fault_table.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from secrets import token_hex

from tests.upstreams.loopback import Loopback, Request, loopback, reply

Behaviour = Callable[[Request, asyncio.Event], Awaitable[None]]
"""What happens on the connection from the request on. The event is set when the agent has got a head, or has given up."""
Ending = Callable[[Request], Awaitable[None]]

GOOD = b"a good answer"


async def hang(request: Request) -> None:
    """Nothing more comes, until the gateway closes."""
    await request.reader.read()


async def close(request: Request) -> None:
    """FIN behind what was said."""
    request.writer.close()


async def reset(request: Request) -> None:
    """RST behind what was said."""
    while request.writer.transport.get_write_buffer_size():  # noqa: ASYNC110  a reset drops it, and there is no event for it
        await asyncio.sleep(0)
    request.reset()


async def keep(request: Request) -> None:
    """The connection stays open for the next request."""


def says(*said: bytes, then: Ending = keep, behind_head: bytes = b"") -> Behaviour:
    """One write; with `behind_head` a second one, as soon as the agent has the head."""

    async def behave(request: Request, head_passed: asyncio.Event) -> None:
        if any(said):
            await request.say(b"".join(said))
        if behind_head:
            await head_passed.wait()
            await request.say(behind_head)
        await then(request)

    return behave


def says_and_once_the_agent_has_the_head(ending: Ending, *said: bytes) -> Behaviour:
    """From then on no attempt may be repeated and no status may change."""

    async def behave(request: Request, head_passed: asyncio.Event) -> None:
        await request.say(b"".join(said))
        await head_passed.wait()
        await ending(request)

    return behave


def pours(said: bytes, without_end: bytes, *, behind_head: bool = False) -> Behaviour:
    """As fast as it is taken, until the gateway closes; with `behind_head` once the agent has the head."""

    async def behave(request: Request, head_passed: asyncio.Event) -> None:
        await request.say(said)
        if behind_head:
            await head_passed.wait()
        while True:
            await request.say(without_end)

    return behave


def drips(said: bytes, without_end: bytes) -> Behaviour:
    """A byte every 20 ms, until the gateway closes."""

    async def behave(request: Request, head_passed: asyncio.Event) -> None:
        if said:
            await request.say(said)
        while True:
            for byte in without_end:
                await request.say(bytes([byte]))
                await asyncio.sleep(0.02)

    return behave


def sliced(said: bytes) -> Behaviour:
    """Every byte in a packet of its own."""

    async def behave(request: Request, head_passed: asyncio.Event) -> None:
        for byte in said:
            await request.say(bytes([byte]))
            await asyncio.sleep(0)

    return behave


@dataclass
class Meeting:
    """One call with the fault it meets."""

    name: str
    behaviour: Behaviour
    head_passed: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def over(self) -> None:
        """Returns when the upstream has done its worst, or the gateway has closed the connection."""
        async with asyncio.timeout(10):
            await self.left.wait()


@dataclass
class Faulty:
    """An upstream that misbehaves in meetings, and answers all other calls well."""

    served: Loopback = field(init=False)
    _meetings: dict[str, Meeting] = field(default_factory=dict)

    @contextmanager
    def meeting(self, behaviour: Behaviour) -> Iterator[Meeting]:
        """A call takes part with `X-Meeting: name`."""
        meeting = Meeting(token_hex(8), behaviour)
        self._meetings[meeting.name] = meeting
        yield meeting
        del self._meetings[meeting.name]

    async def answer(self, request: Request) -> None:
        names = request.header("X-Meeting")
        if not names:
            await request.say(reply(GOOD))
            return
        meeting = self._meetings[names[0]]
        try:
            await meeting.behaviour(request, meeting.head_passed)
        finally:
            meeting.left.set()


@asynccontextmanager
async def faulty() -> AsyncIterator[Faulty]:
    upstream = Faulty()
    async with loopback(upstream.answer) as upstream.served:
        yield upstream
