"""A WebSocket in a tunnel: what is said after the upgrade is the client's and the site's alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.clients.conftest import Authority, lead
from tests.clients.everyday import trusted
from tests.clients.site import HOST
from tests.doors.conftest import StartGateway


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"you said {message.data}")
    return socket


@pytest.fixture
async def port(authority: Authority) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(echo), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def connected(port: int, proxy: str | None) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession(trust_env=proxy is None) as session,
        session.ws_connect(f"wss://{HOST}:{port}/", proxy=proxy, ssl=trusted()) as socket,
    ):
        yield socket


@pytest.mark.parametrize("by_option", [True, False])
async def test_it_stands_and_carries(
    port: int, start: StartGateway, monkeypatch: pytest.MonkeyPatch, by_option: bool
) -> None:
    way = await lead(start, monkeypatch, [port])
    if not by_option:
        monkeypatch.setenv("wss_proxy", way.proxy)
    async with connected(port, way.proxy if by_option else None) as socket:
        for word in ("hello", "x" * 200_000):
            await socket.send_str(word)
            assert await socket.receive_str(timeout=10) == f"you said {word}"
    assert await way.tools(1) == ["http.connect"]


async def test_a_kill_cuts_it(port: int, start: StartGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    way = await lead(start, monkeypatch, [port])
    async with connected(port, way.proxy) as socket:
        await socket.send_str("hello")
        await socket.receive_str(timeout=10)
        await way.running.kill("tool:http.connect", cancel_in_flight=True)
        message = await socket.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await way.tools(1)
    assert way.running.seen.records[0].reason == "kill_switch"


async def test_outside_of_a_tunnel_there_is_none(
    port: int, start: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = await lead(start, monkeypatch, [port])
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"ws://{HOST}:{port}/", proxy=way.proxy)  # in absolute form, as aiohttp has it
    await way.tools(1)
    assert "neither http nor https" in (way.running.seen.records[0].detail or "")
