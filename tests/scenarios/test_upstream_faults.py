"""Every way an upstream may fail: each call gets the answer SPEC promises, in the time it promises, and the next good call works.

The table is in fault_table.py. The suite makes ten calls of each kind; `make soak` makes 200 at concurrency 20 and looks at memory.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.denial import Reason
from tests.doors.conftest import ORDINARY, Running, StartGateway
from tests.doors.wire import dial
from tests.scenarios.fault_rows import BACKOFF, CONNECT_TIMEOUT, End, Ends, Row
from tests.scenarios.fault_table import GROUPS, ROWS, statuses
from tests.scenarios.fault_trial import (
    READ,
    UNLIMITED,
    WRITE,
    Told,
    is_as_promised,
    ms,
    policy,
    put_to_the_test,
    report,
    resident,
    tell,
)
from tests.scenarios.faulty_upstream import GOOD, Faulty, faulty, says
from tests.upstreams.calling import Names
from tests.upstreams.loopback import Loopback, always, reply

AT_ONCE = 6
"""Kinds of fault that the suite goes through side by side: most of them only wait."""


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
    running = await start(policy(place.url, connect_timeout_ms=ms(CONNECT_TIMEOUT)), lane=ORDINARY, **UNLIMITED)
    running.gateway.ways_out.upstreams._resolver = place.names
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
    status = next(one for one in running.gateway.ways_out.upstreams.status() if one["upstream"] == "tools")
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
