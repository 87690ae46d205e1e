"""Every way an upstream may fail: each call gets the answer SPEC promises, in the time it promises, and the next good call works.

The table is in fault_table.py. The suite makes ten calls of each kind; `make soak` makes 200 at concurrency 20 and looks at memory.
"""

import asyncio
import ctypes
import gc
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.model import Reason, Record
from tests.doors.conftest import Running, StartGateway, nothing_is_left, policy_of
from tests.doors.wire import Wire, dial, request
from tests.scenarios.fault_table import (
    BACKOFF,
    CONNECT_TIMEOUT,
    DEADLINE,
    GROUPS,
    LONGEST_REPLY,
    ROWS,
    STREAM_IDLE,
    TIMEOUT,
    End,
    Ends,
    Row,
    statuses,
)
from tests.scenarios.faulty_upstream import GOOD, Faulty, faulty, says
from tests.upstreams.calling import Names
from tests.upstreams.loopback import Loopback, always, reply

READ, WRITE = "search.read", "notes.write"
AT_ONCE = 6
"""Kinds of fault that the suite goes through side by side: most of them only wait."""
GRACE = 1.0
"""Seconds beyond the timer that applies, on a machine that is busy with other tests."""
PATIENCE = 10.0


def policy(url: str) -> str:
    limits = {
        "upstream": "tools",
        "timeout_ms": round(TIMEOUT * 1000),
        "deadline_ms": round(DEADLINE * 1000),
        "stream_idle_ms": round(STREAM_IDLE * 1000),
        "max_response_bytes": LONGEST_REPLY,
    }
    tools = {"url": url, "connect_timeout_ms": round(CONNECT_TIMEOUT * 1000)}
    return policy_of({READ: {"effect": "read", **limits}, WRITE: limits}, retries=1, upstreams={"tools": tools})


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
        (status,) = running.gateway.upstreams.status()
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
                    bad = await tell(wire, tool, f"X-Meeting: {meeting.name}", head_passed=meeting.head_passed)
                    await meeting.over()
                    good = await tell(other if bad.end.cut else wire, tool)
            is_the_body(row, bad)
            told.append((bad._replace(body=b""), promised))
            forget_payloads(running)
            assert (good.end[:4], good.body) == ((200, Reason.OK, 1, False), GOOD), row.name

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


@asynccontextmanager
async def behind(start: StartGateway) -> AsyncIterator[tuple[Running, Faulty]]:
    async with faulty() as upstream:
        yield await start(policy(f"http://127.0.0.1:{upstream.served.port}"), **UNLIMITED), upstream


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
async def test_a_fault_gets_the_promised_answer_and_spoils_no_other_call(
    start: StartGateway, group: Callable[[], Iterator[Row]]
) -> None:
    calls = 4 if group is statuses else 10  # there are more than a hundred
    async with behind(start) as (running, upstream):
        for rows in side_by_side(group()):
            await put_to_the_test(running, upstream, rows, calls=calls, concurrency=5)


def side_by_side(rows: Iterable[Row]) -> Iterator[list[Row]]:
    several: list[Row] = []
    for row in rows:
        if row.alone:
            yield [row]
        else:
            several.append(row)
    for at in range(0, len(several), AT_ONCE):
        yield several[at : at + AT_ONCE]


@pytest.mark.soak
@pytest.mark.parametrize("name", ROWS)
async def test_200_calls_that_meet_a_fault_leave_nothing_behind(start: StartGateway, name: str) -> None:
    rows = [ROWS[name]]
    async with behind(start) as (running, upstream):
        await put_to_the_test(running, upstream, rows, calls=40, concurrency=20)
        before = resident()
        over = await put_to_the_test(running, upstream, rows, calls=200, concurrency=20)
        grown = resident() - before
    report(name, over, f"{grown / 1024:+.0f} KiB")
    assert grown < 5 * 1024 * 1024


def report(kind: str, over: float, *figures: str) -> None:
    """For `pytest -s`."""
    print(f"{kind}: at most {over * 1000:.0f} ms beyond its timer", *figures, sep=", ")  # noqa: T201  what a soak is for


def resident() -> int:
    """Bytes of memory that this process, gateway and upstream and agents, holds; not what the allocator keeps for the next burst."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# -- upstreams that cannot be reached


class SlowNames(Names):
    """Names that are found when the test says so."""

    def __init__(self, **names: Sequence[str]) -> None:
        super().__init__(**names)
        self.found = asyncio.Event()
        self.found.set()

    async def lookup(self, host: str) -> list[str]:
        await self.found.wait()
        return await super().lookup(host)


class Place:
    """tools.internal at a port where nobody listens yet: in the way of each outage, until somebody does."""

    def __init__(self) -> None:
        self.names = SlowNames(**{"tools.internal": ["127.0.0.1"]})
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://tools.internal:{self.socket.getsockname()[1]}"
        self.callers: list[socket.socket] = []

    def accepts_nobody(self) -> None:
        """As many callers as the kernel holds are waiting."""
        self.socket.listen(0)
        for _ in range(2):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(self.socket.getsockname())
            self.callers.append(caller)

    def has_no_name(self) -> None:
        self.names.names = {}

    def hides_its_name(self) -> None:
        self.names.found.clear()

    @asynccontextmanager
    async def recovered(self) -> AsyncIterator[Loopback]:
        self.names.names = {"tools.internal": ["127.0.0.1"]}
        self.names.found.set()
        served = Loopback(always(reply(GOOD)))
        async with await asyncio.start_server(served.serve, sock=self.socket):
            for caller in self.callers:
                caller.close()
            yield served
            await served.stop()


UNREACHED = End(502, Reason.UPSTREAM_FAILED, 2, within=BACKOFF)  # nothing was sent: also a write is tried again
UNHEARD = UNREACHED._replace(within=2 * CONNECT_TIMEOUT + BACKOFF)
OUTAGES: dict[str, tuple[Callable[[Place], None], End]] = {
    "refuses": (lambda place: None, UNREACHED),
    "accepts nobody": (Place.accepts_nobody, UNHEARD),
    "has no name": (Place.has_no_name, UNREACHED),
    "has a name that nobody finds": (Place.hides_its_name, UNHEARD),
}


async def put_out_of_reach(start: StartGateway, outage: str, *, calls: int, concurrency: int) -> None:
    begin, promised = OUTAGES[outage]
    place = Place()
    begin(place)
    running = await start(policy(place.url), **UNLIMITED)
    running.gateway.upstreams._resolver = place.names
    url = running.gateway.data_url
    tools = iter([READ, WRITE] * (calls // 2))
    found: list[Told] = []

    async def worker() -> None:
        for tool in tools:
            async with dial(url) as wire:
                found.append(await tell(wire, tool))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    records = {record.call_id: record for record in running.seen.records}
    for told in found:
        is_as_promised(Row(outage, says(), Ends(promised, promised)), told, promised, records[told.call_id])
    (status,) = running.gateway.upstreams.status()
    assert (status["connections"], status["waiting"]) == (0, 0)
    async with place.recovered(), dial(url) as wire:
        for tool in (READ, WRITE):
            good = await tell(wire, tool)
            assert (good.end[:4], good.body) == ((200, Reason.OK, 1, False), GOOD), outage
    report(outage, max(told.end.within - promised.within for told in found))


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_upstream_out_of_reach_is_tried_again_even_for_a_write(start: StartGateway, outage: str) -> None:
    await put_out_of_reach(start, outage, calls=10, concurrency=5)


@pytest.mark.soak
@pytest.mark.parametrize("outage", OUTAGES)
async def test_200_calls_to_an_upstream_out_of_reach(start: StartGateway, outage: str) -> None:
    await put_out_of_reach(start, outage, calls=200, concurrency=20)
