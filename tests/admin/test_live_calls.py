"""GET /v1/calls/stream: calls as they end, for those who ask for them, at no cost to the calls."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.admin import live
from gateway.observers.following import MOST_WAITING
from tests.admin.admin_plane import BEARER, TOKEN, Operator, started
from tests.unit.observers.observer_records import record

STREAM = "/v1/calls/stream"
Told = tuple[str, dict[str, object]]


class Listener:
    """Reads events."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response

    async def block(self) -> dict[str, str]:
        """The next event's fields, or a comment under ""."""
        lines = []
        async with asyncio.timeout(10):  # or what should have come is waited for without end
            while line := (await self.response.content.readline()).decode().rstrip("\n"):
                lines.append(line)
        return {key: value for key, _, value in (line.partition(": ") for line in lines)}

    async def event(self) -> Told:
        while "event" not in (block := await self.block()):
            assert block, "the stream has ended"
        return block["event"], json.loads(block["data"])


@asynccontextmanager
async def listening(operator: Operator, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    """From when the gateway says that it listens."""
    url, given = operator.gateway.admin_url + STREAM + query, {**BEARER, **headers}
    async with operator.session.get(url, headers=given) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream"), await response.text()
        listener = Listener(response)
        assert await listener.block() == {"": "calls follow as they end"}
        yield listener


def end(operator: Operator, *names: str, **changes: object) -> None:
    """Calls of these ids end."""
    for name in names:
        operator.gateway.recent.call_ended(record(call_id=name, **changes))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # nobody tells of who listens
        await asyncio.sleep(0.01)


async def test_a_call_is_told_as_it_ends_in_the_form_of_the_list(operator: Operator) -> None:
    async with listening(operator) as listener:
        denied = await operator.call("/tools/no.such", 403, {"Agent-Run-Id": "r-7"})
        name, call = await listener.event()
    assert (name, call["call_id"], call["run_id"], call["reason"]) == (
        "call",
        denied["call_id"],
        "r-7",
        "tool_not_allowed",
    )
    listed = (await operator.get("/v1/calls"))["calls"]
    assert listed == [call]


async def test_the_stream_needs_the_token_and_is_sealed(operator: Operator) -> None:
    await operator.get(STREAM, 401, headers={})
    async with listening(operator) as listener:
        assert listener.response.headers["Cache-Control"] == "no-store"
        assert listener.response.headers["X-Content-Type-Options"] == "nosniff"


FILTERS: Mapping[str, list[str]] = {
    "?tool=search.*": ["1", "2"],
    "?tool=search.read": ["1"],
    "?agent=b": ["2", "3"],
    "?run=r-1&agent=b": ["3"],
    "?reason=kill_switch,ok": ["1", "3"],
    "?reason=!ok": ["2", "3"],
    "?tool=&agent=": ["1", "2", "3"],
}


@pytest.mark.parametrize("query", FILTERS)
async def test_only_the_calls_that_were_asked_for_are_told_and_listed(operator: Operator, query: str) -> None:
    async with listening(operator, query) as listener:
        end(operator, "1", agent_id="a")
        end(operator, "2", agent_id="b", tool="search.more", run_id="r-2", reason="max_steps")
        end(operator, "3", agent_id="b", tool="notes.write", reason="kill_switch")
        told = [(await listener.event())[1]["call_id"] for _ in FILTERS[query]]
    listed = (await operator.get("/v1/calls" + query))["calls"]
    assert isinstance(listed, list)
    assert told == FILTERS[query] == [call["call_id"] for call in reversed(listed)]


@pytest.mark.parametrize(
    ("query", "says"),
    {"?tool=a*": "tool: expected a tool's name", "?reason=kill_swich": "did you mean kill_switch?"}.items(),
)
async def test_a_filter_that_could_never_fit_is_refused(operator: Operator, query: str, says: str) -> None:
    for path in (STREAM, "/v1/calls"):
        assert says in str((await operator.get(path + query, 400))["detail"])


async def test_a_listener_that_comes_back_misses_nothing_that_is_kept(operator: Operator) -> None:
    end(operator, "1", "2", "3")
    async with listening(operator, **{"Last-Event-ID": "1"}) as listener:
        end(operator, "4")
        assert [(await listener.event())[1]["call_id"] for _ in "234"] == ["2", "3", "4"]
    async with listening(operator, **{"Last-Event-ID": "forgotten"}) as listener:
        assert await listener.event() == ("lost", {"lost": None})
        end(operator, "5")
        assert (await listener.event())[1]["call_id"] == "5"


async def test_a_listener_that_falls_behind_is_told_how_many_it_lost(operator: Operator) -> None:
    async with listening(operator) as listener:
        end(operator, *map(str, range(MOST_WAITING + 7)))  # in one piece: nobody could take any of them meanwhile
        assert await listener.event() == ("lost", {"lost": 7})
        told = [(await listener.event())[1]["call_id"] for _ in range(MOST_WAITING)]
    assert told == [str(number) for number in range(7, MOST_WAITING + 7)]


async def test_there_are_so_many_listeners_and_no_more(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_LISTENERS", 1)
    async with listening(operator):
        assert "close one" in str((await operator.get(STREAM, 503))["detail"])
    async with asyncio.timeout(10):  # the place is free again when the gateway has seen it leave
        while True:
            async with operator.session.get(operator.gateway.admin_url + STREAM, headers=BEARER) as response:
                if response.status == 200:
                    break


async def test_a_listener_that_reads_nothing_is_cut(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SLOWEST", 0.2)
    host, _, port = operator.gateway.admin_url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    headers = "".join(f"{name}: {value}\r\n" for name, value in BEARER.items())
    writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
    recent = operator.gateway.recent
    async with asyncio.timeout(10):
        await until(lambda: bool(recent._followers))
        end(operator, *map(str, range(60)), detail="what was said " * 20_000)
        await until(lambda: not recent._followers)
    writer.close()
    assert reader.at_eof() is False  # it has never read to the end


async def test_a_listener_whose_token_was_taken_back_hears_nothing_more(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with (
        started(tmp_path, without="GATEWAY_ADMIN_TOKEN", GATEWAY_ADMIN_TOKEN_FILE=str(file)) as operator,
        listening(operator) as listener,
    ):
        file.write_text("another-token")
        async with asyncio.timeout(10):
            assert await listener.block() == {}
        end(operator, "1")
        assert await listener.response.content.read() == b""


async def test_silence_is_filled(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEPALIVE", 1)
    async with listening(operator) as listener:
        assert await listener.block() == {"": "still here"}


async def test_streams_end_with_the_gateway(tmp_path: Path) -> None:
    async with ClientSession() as session, asyncio.timeout(10):
        async with started(tmp_path) as operator:
            response = await session.get(operator.gateway.admin_url + STREAM, headers=BEARER)
        assert (await response.content.read()).startswith(b": calls follow")
