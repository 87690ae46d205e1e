"""Calls that meet a fault, and what is checked of each: the end it comes to, the log's word for it, and that nothing is left behind."""

import asyncio
import ctypes
import gc
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.denial import Reason
from gateway.model import Record
from tests.doors.conftest import Running, nothing_is_left, policy_of
from tests.doors.wire import Wire, dial, request
from tests.scenarios.fault_rows import (
    BACKOFF,
    DEADLINE,
    LONGEST_REPLY,
    PATIENT,
    STREAM_IDLE,
    TIMEOUT,
    End,
    Row,
)
from tests.scenarios.faulty_upstream import GOOD, Faulty
from tests.upstreams.loopback import Loopback

READ, WRITE = "search.read", "notes.write"
HURRIED = {READ: "search.hurried", WRITE: "notes.hurried"}
"""The same upstream under timers that fire soon."""
GRACE = 1.5
"""Seconds beyond the timer that applies, on a machine that is busy with other tests."""
PATIENCE = 10.0


def policy(url: str, **upstream: int) -> str:
    both = {"upstream": "tools", "stream_idle_ms": ms(STREAM_IDLE), "max_response_bytes": LONGEST_REPLY}
    patient = {**both, "timeout_ms": ms(PATIENT), "deadline_ms": ms(PATIENT)}
    hurried = {**both, "timeout_ms": ms(TIMEOUT), "deadline_ms": ms(DEADLINE)}
    read = {"effect": "read"}
    return policy_of(
        {READ: read | patient, WRITE: patient, HURRIED[READ]: read | hurried, HURRIED[WRITE]: hurried},
        retries=1,
        budget_percent=100,  # each call is to meet its fault: no breaker and no retry budget spares it
        upstreams={"tools": {"url": url, "circuit_breaker": {"failures": 1000}, **upstream}},
    )


def ms(seconds: float) -> int:
    return round(seconds * 1000)


UNLIMITED = {"AGENT_MAX_TOOL_CALLS": "1000000", "AGENT_MAX_STEPS": "1000000"}


class Told(NamedTuple):
    """What the agent saw of one call."""

    call_id: str
    end: End
    """With the seconds it took."""
    body: bytes = b""


async def tell(wire: Wire, tool: str, *fields: str, head_passed: asyncio.Event | None = None) -> Told:
    """One call to its end, however that comes."""
    began = time.monotonic()
    head_passed = head_passed or asyncio.Event()
    try:
        await wire.say(request(f"POST /tools/{tool}", *fields, body=b"{}"))
        status, headers = await wire.head()
    finally:
        head_passed.set()
    own = {name: value for name, value in headers if name.startswith("Tool-Gateway-")}
    body, whole = await rest(wire, status, headers)
    end = End(
        status,
        Reason(own["Tool-Gateway-Reason"]),
        int(own["Tool-Gateway-Attempts"]),
        not whole,
        time.monotonic() - began,
    )
    return Told(own["Tool-Gateway-Call-Id"], end, body)


async def rest(wire: Wire, status: int, headers: list[tuple[str, str]]) -> tuple[bytes, bool]:
    """The body as far as it came, and whether that is all of it."""
    length = next((int(value) for name, value in headers if name == "Content-Length"), None)
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            if status in (204, 304):
                return b"", True
            if length is not None:
                while len(body) < length and (piece := await wire.reader.read(length - len(body))):
                    body += piece
                return body, len(body) == length
            async for piece in wire.chunks():
                body += piece
    except (asyncio.IncompleteReadError, ConnectionError):
        return body, False
    return body, True


def is_as_promised(row: Row, told: Told, promised: End, record: Record) -> None:
    """Where the head was through before the fault, only the log knows the reason."""
    assert told.end.reason is (Reason.OK if promised.cut else promised.reason), (row.name, record)
    seen = told.end._replace(reason=record.reason, within=promised.within)
    assert seen == promised, (row.name, record)
    assert (record.status, record.attempts) == (seen.status, seen.attempts), row.name
    assert told.end.within <= promised.within + GRACE, row.name


def is_the_body(row: Row, told: Told) -> None:
    """Whole where the answer is, and the last word where it is cut."""
    if told.end.cut:
        assert row.last in told.body, row.name
    elif row.body is not None and told.end.status not in (424, 502, 504):
        assert told.body == row.body, row.name


async def nothing_leaks(running: Running, upstream: Loopback, others: set[asyncio.Task[Any]]) -> None:
    """No call, no held byte, no connection that is neither idle nor closed, no task."""
    await nothing_is_left(running.gateway)
    for _ in range(300):
        status = next(one for one in running.gateway.ways_out.upstreams.status() if one["upstream"] == "tools")
        tasks = {task for task in asyncio.all_tasks() if task not in upstream._tasks | others}
        open_ones = (status["connections"], status["waiting"], upstream._open)
        if open_ones == (status["idle"], 0, status["idle"]) and not tasks:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left: {status}, {upstream._open} open at the upstream, {tasks}")


async def repeat(running: Running, upstream: Faulty, row: Row, calls: int, concurrency: int) -> list[tuple[Told, End]]:
    """So many calls that meet the fault, half of them to each tool, each followed by a good one through the same pool."""
    told: list[tuple[Told, End]] = []
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            tool, promised = ((READ, row.ends.read), (WRITE, row.ends.write))[number % 2]
            with upstream.meeting(row.behaviour) as meeting:
                async with dial(running.gateway.data_url) as wire, dial(running.gateway.data_url) as other:
                    meeting_it = HURRIED[tool] if promised.within > BACKOFF else tool
                    bad = await tell(wire, meeting_it, f"X-Meeting: {meeting.name}", head_passed=meeting.head_passed)
                    await meeting.over()
                    good = await tell(other if bad.end.cut else wire, tool)
            is_the_body(row, bad)
            told.append((bad._replace(body=b""), promised))
            forget_payloads(running)
            assert (good.end[:4], good.body) == ((200, Reason.OK, 1, False), GOOD), (row.name, good)

    async with asyncio.TaskGroup() as group:
        for _ in range(1 if row.alone else concurrency):
            group.create_task(worker())
    return told


def forget_payloads(running: Running) -> None:
    """What the test remembers must not look like memory of the gateway's."""
    running.seen.records[:] = [record._replace(args=b"", result=b"") for record in running.seen.records]


async def put_to_the_test(
    running: Running, upstream: Faulty, rows: Sequence[Row], *, calls: int, concurrency: int
) -> float:
    """Everything that is promised for these kinds of fault. The longest that a call took beyond its timer, in seconds."""
    async with dial(running.gateway.data_url) as wire:  # so that everything that runs as long as the gateway has begun
        await tell(wire, READ)
    others = asyncio.all_tasks() - upstream.served._tasks
    found = await asyncio.gather(*(repeat(running, upstream, row, calls, concurrency) for row in rows))
    await nothing_leaks(running, upstream.served, others)
    records = {record.call_id: record for record in running.seen.records}
    for row, told in zip(rows, found, strict=True):
        for bad, promised in told:
            is_as_promised(row, bad, promised, records[bad.call_id])
    running.seen.records.clear()
    upstream.served.requests.clear()
    return max(bad.end.within - promised.within for told in found for bad, promised in told)


def report(kind: str, over: float, *figures: str) -> None:
    """For `pytest -s`."""
    print(f"{kind}: at most {over * 1000:.0f} ms beyond its timer", *figures, sep=", ")  # noqa: T201  what a soak is for


def resident() -> int:
    """Bytes of memory that this process, gateway and upstream and agents, holds; not what the allocator keeps for the next burst."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
