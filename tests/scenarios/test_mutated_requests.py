"""A fuzzer: requests bent at random, over sockets, against the whole gateway. None may crash it, hang it, or become two requests."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from gateway.doors.listener import LINGER
from tests.doors.conftest import StartGateway, nothing_is_left
from tests.doors.wire import dial, request
from tests.scenarios.hostile import READ, Hostile, answers_in, hostile, nothing_escapes, until_silent
from tests.scenarios.mutations import Bent, bent

READ_TIMEOUT = 0.25
SILENCE = 3 * READ_TIMEOUT
"""Who has heard nothing for so long hears nothing any more: the gateway waits for the next request."""
AT_ONCE = 100
"""Connections: what one is waited for, the others are waited for as well."""
SOAK_SECONDS = 90
"""For which is played; then the examples that are left pass unplayed. A single test may take 120 s (faulthandler_timeout)."""

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a failing batch; the fault is short

batches = strategies.lists(bent, min_size=AT_ONCE, max_size=AT_ONCE, unique_by=lambda one: (*one.writes(),))
playing = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # one batch takes seconds: the failure names the connection instead
    suppress_health_check=[*HealthCheck],  # of drawing a hundred at once, on one gateway
    deadline=None,
)  # fmt: skip


@pytest.fixture
async def gateway(tmp_path: Path, caplog: pytest.LogCaptureFixture, start: StartGateway) -> AsyncIterator[Hostile]:
    async with hostile(start, GATEWAY_READ_TIMEOUT=str(READ_TIMEOUT)) as started:
        yield started


@pytest.fixture(autouse=True)
async def escapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    async with nothing_escapes(tmp_path / "log.jsonl", caplog):
        yield


@pytest.fixture
def began() -> float:
    return time.monotonic()


@settings(playing, max_examples=5)
@given(batch=batches)
async def test_a_bent_request_is_refused_or_becomes_one_request(gateway: Hostile, batch: list[Bent]) -> None:
    await play(gateway, batch)


@pytest.mark.soak
@settings(playing, max_examples=150)
@given(batch=batches)
async def test_ten_thousand_bent_requests(gateway: Hostile, began: float, batch: list[Bent]) -> None:
    if time.monotonic() - began < SOAK_SECONDS:
        await play(gateway, batch)


async def play(gateway: Hostile, batch: list[Bent]) -> None:
    """All at once; then the books are compared: what the gateway says it sent, and what the upstream got."""
    running, upstream = gateway
    upstream.heard.clear()
    upstream.begun.clear()
    running.seen.records.clear()
    faults = await asyncio.gather(*(fault_of(running.gateway.data_url, one) for one in batch))
    assert [fault for fault in faults if fault is not None] == []
    await nothing_is_left(running.gateway)
    assert upstream.flaws == []
    records = running.seen.records
    await received(gateway, sum(record.attempts for record in records))
    ended = Counter(record.bytes_in for record in records if record.status == 200 and record.attempts)
    assert ended == Counter(len(heard.body) for heard in upstream.heard)
    assert "internal_error" not in running.seen.names()


async def received(gateway: Hostile, requests: int) -> None:
    """As many as were sent, each once: the upstream learns a little later of those the gateway gave up."""
    async with asyncio.timeout(10):
        while len(gateway.upstream.heard) + len(gateway.upstream.begun) < requests:  # noqa: ASYNC110  no event
            await asyncio.sleep(0.01)
    assert len(gateway.upstream.heard) + len(gateway.upstream.begun) == requests


async def fault_of(url: str, one: Bent) -> str | None:
    """What is wrong with how this one was met, or None: in time every connection is closed, or good for the next call."""
    async with dial(url) as wire:
        try:
            for piece in one.writes():
                await wire.say(piece)
                await asyncio.sleep(0.002)
            said, closed = await until_silent(wire, SILENCE)
            for _ in range(2):  # a first one may be taken for the rest of a body that is read and let go
                if not closed:
                    await wire.say(request(f"GET /tools/{READ}?after", "Connection: close"))
                    more, closed = await until_silent(wire, LINGER + SILENCE)
                    said += more
        except ConnectionError:
            return None  # closed while it still spoke
    try:
        answers = answers_in(said)
    except AssertionError as error:
        return f"{error} after {one.writes()!r:.2000}"
    if any(answer.status == 500 for answer in answers):
        return f"500 after {one.writes()!r:.2000}"
    return None if closed else f"neither closed nor good for another call after {one.writes()!r:.2000}"
