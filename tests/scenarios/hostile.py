"""The gateway as hostile callers meet it: in front of a strict upstream, with an ear for whatever escapes its error handling."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.wire import Answer, Wire, dial
from tests.scenarios.strict_upstream import StrictUpstream, strict_upstream

READ, WRITE = "search.read", "notes.write"
POLICY = policy_of(
    {READ: {"effect": "read", "max_request_bytes": "200KiB"}, WRITE: {"max_request_bytes": "200KiB"}},
    retries=0,
)
PLENTY = "1000000"
"""Of budget: these callers are to be stopped by nothing but HTTP."""
ANSWER_HEAD = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*\r\n((?:[A-Za-z-]+: [^\r\n\0]*\r\n)+)\r\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Hostile(NamedTuple):
    running: Running
    upstream: StrictUpstream


@asynccontextmanager
async def hostile(start: StartGateway, **variables: str) -> AsyncIterator[Hostile]:
    async with strict_upstream() as upstream:
        variables = {"GATEWAY_UPSTREAM": upstream.url, "AGENT_MAX_TOOL_CALLS": PLENTY, **variables}
        yield Hostile(await start(POLICY, **variables), upstream)


@asynccontextmanager
async def nothing_escapes(log: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No exception reaches the event loop or aiohttp's logger, and the log is one JSON object a line. Goes around the gateway's life."""
    escaped: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(repr(context)))
    yield
    assert escaped == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    for line in lines_of(log):
        event = json.loads(line)
        assert isinstance(event, dict)
        assert event["event"] != "internal_error"


def lines_of(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines() if log.exists() else []


def answers_in(data: bytes, *, to_head: bool = False) -> list[Answer]:
    """Every answer in these bytes, read strictly; the last one must be whole. `to_head`: the first answers a HEAD."""
    found: list[Answer] = []
    while data:
        if data.startswith(CONTINUE):
            data = data.removeprefix(CONTINUE)
            continue
        match = ANSWER_HEAD.match(data)
        assert match is not None, data[:500]
        lines = match[2].decode("latin-1").split("\r\n")[:-1]
        fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        answer = Answer(int(match[1]), fields, b"")
        size = 0 if to_head and not found else int(answer.header("Content-Length") or "-1")
        assert size >= 0, data[:500]
        data = data[match.end() :]
        assert len(data) >= size, "an answer was cut"
        found.append(answer._replace(body=data[:size]))
        data = data[size:]
    return found


async def until_closed(url: str, data: bytes) -> bytes:
    """All that is answered to these bytes before the gateway closes."""
    async with dial(url) as wire:
        await wire.say(data)
        return await wire.rest()


async def until_silent(wire: Wire, seconds: float) -> tuple[bytes, bool]:
    """What comes until the gateway closes (True) or says nothing for so long (False)."""
    found = b""
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await wire.reader.read(65_536)
        except TimeoutError:
            return found, False
        except ConnectionError:
            return found, True
        if not piece:
            return found, True
        found += piece
