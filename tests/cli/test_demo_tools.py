"""The toy tools behave as `demo --help` says: a guide is only as good as its toys."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from gateway.demo import ToolServer

Tools = TestClient[Request, Application]


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    async with TestClient(TestServer(ToolServer().app)) as client:
        yield client


async def test_search_takes_a_body_or_a_query(tools: Tools) -> None:
    for reply in (await tools.get("/search.read?q=BUDGETS"), await tools.post("/search.read", json={"q": "budgets"})):
        assert [found["title"] for found in (await reply.json())["results"]] == ["Budgets"]


async def test_notes_are_kept(tools: Tools) -> None:
    assert (await tools.post("/notes.write", json={"text": "hello"})).status == 201
    assert await (await tools.get("/notes.write")).json() == {"notes": ["hello"]}


async def test_flaky_fails_twice_then_works_over_and_over(tools: Tools) -> None:
    assert [(await tools.post("/flaky")).status for _ in range(6)] == [503, 503, 200, 503, 503, 200]
    assert (await tools.post("/flaky?after=3")).headers["Retry-After"] == "3"


async def test_cut_breaks_off(tools: Tools) -> None:
    reply = await tools.get("/cut")
    with pytest.raises(ClientPayloadError):
        await reply.read()


@pytest.mark.parametrize(
    ("path", "status"), [("/fail", 500), ("/fail?status=429", 429), ("/fail?status=12", 400), ("/slow?seconds=0", 200)]
)
async def test_failing_and_slow_do_as_asked(tools: Tools, path: str, status: int) -> None:
    assert (await tools.get(path)).status == status


@pytest.mark.parametrize("path", ["/slow?seconds=nan", "/slow?seconds=-1", "/fail?status=x"])
async def test_nonsense_is_400(tools: Tools, path: str) -> None:
    assert (await tools.get(path)).status == 400


async def test_the_page_counts_by_tool_until_it_is_reset(tools: Tools) -> None:
    await tools.get("/echo")
    await tools.post("/echo", data=b"x")
    assert await (await tools.get("/")).json() == {"received": {"echo": 2}}
    await tools.delete("/")
    assert await (await tools.get("/")).json() == {"received": {}}
