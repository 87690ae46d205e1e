"""The open loop charges a pause of the subject to every call that was due meanwhile, not only to the one it was waiting for."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load import Failed
from bench.open_loop import latency
from bench.subjects import Call, Command, Place, Subject
from bench.wire import REPLY, Tool

PAUSE = 0.6


class PausesOnce(Tool):
    """Every call is answered at once, but for the 70th, before which the whole server stands still."""

    served = 0

    def message(self, message: bytes, /) -> None:
        PausesOnce.served += 1
        if PausesOnce.served == 70:
            time.sleep(PAUSE)
        super().message(message)


class Refuses(Tool):
    def message(self, _message: bytes, /) -> None:
        if self.transport is not None:
            self.transport.write(REPLY.replace(b"200 OK", b"429 Too Many", 1))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    loop, served = asyncio.new_event_loop(), list[Tool]()

    def accept() -> Tool:
        served.append(request.param())
        return served[-1]

    server = loop.run_until_complete(loop.create_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield Place(server.sockets[0].getsockname()[1], 0, 0, tmp_path)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    for connection in served:
        if connection.transport is not None:
            connection.transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def subject() -> Subject:
    return Subject("a tool", lambda: "", lambda _place: Command([]), Call(), calls_per_second=100)


@pytest.mark.parametrize("place", [PausesOnce], indirect=True)
def test_a_pause_is_charged_to_every_call_that_was_due_in_it(place: Place) -> None:
    PausesOnce.served = 0
    found = latency(subject(), place, 1.0)  # of the 100 calls that count, about 60 fall into the pause
    assert found.p50_ms > 50
    assert found.p99_ms > 400


@pytest.mark.parametrize("place", [Refuses], indirect=True)
def test_a_refused_call_is_no_measurement(place: Place) -> None:
    with pytest.raises(Failed, match="429"):
        latency(subject(), place, 0.1)
