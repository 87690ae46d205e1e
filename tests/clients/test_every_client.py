"""What holds for every client that is told of the gateway by its proxy setting and of nothing else (docs/egress.md)."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.clients.conftest import Way
from tests.clients.everyday import CLIENTS, Asked, Client, Failed, Got
from tests.clients.site import PAGE, Site, told

pytestmark = [pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS), pytest.mark.needs("curl", "wget")]

Ask = Callable[..., Coroutine[Any, Any, Got]]


def through(client: Client, way: Way) -> Ask:
    """What asks by the gateway from now on."""
    if not client.by_option:
        way.set_environment()

    async def ask(url: str, method: str = "GET", body: bytes = b"") -> Got:
        return await client.exchange(Asked(url, method, body, way.proxy if client.by_option else None))

    return ask


async def refused(client: Client, ask: Ask, url: str, reason: str) -> None:
    """It is told the reason: by the whole document, or of a tunnel by what it has to say itself."""
    tunnel = client.only_tunnels or url.startswith("https:")
    try:
        answer = await ask(url)
    except Failed as failure:
        if not tunnel or client.says.format(reason=reason) not in str(failure):
            raise
        return
    assert (answer.status, json.loads(answer.body)["reason"], tunnel) == (403, reason, False)


async def test_the_site_is_told_what_it_would_be_told_without_a_gateway(there: Site, way: Way, client: Client) -> None:
    form, page = ("POST", b"a=1&b=2"), ("GET", b"")
    exchanges = [(f"{there.http}/?q=%7e&r=a%2Fb", *form), (f"{there.https}/?q=1", *page)]
    for url, method, body in exchanges:
        assert await client.exchange(Asked(url, method, body)) == Got(200, PAGE)
    ask = through(client, way)
    for url, method, body in exchanges:
        assert await ask(url, method, body) == Got(200, PAGE)
    for site in (there.plain, there.encrypted):
        direct, proxied = site.requests
        assert told(proxied) == told(direct)
    assert await way.tools(2) == ["http.connect" if client.only_tunnels else "http.post", "http.connect"]


async def test_a_refusal_says_why(there: Site, way: Way, client: Client) -> None:
    ask = through(client, way)
    for scheme in ("http", "https"):
        await refused(client, ask, f"{scheme}://elsewhere.example:{there.plain.port}/", "egress_not_allowed")
    assert there.plain.connections == there.encrypted.connections == 0
    await way.tools(2)
    for record in way.running.seen.records:
        assert "elsewhere.example" in (record.detail or "")
        assert "egress.allow_hosts" in (record.detail or "")


async def test_requests_and_tunnels_count_as_the_runs_calls(there: Site, short_way: Way, client: Client) -> None:
    ask = through(client, short_way)
    assert (await ask(there.http)).status == 200
    assert (await ask(there.https)).status == 200
    await refused(client, ask, there.http, "max_tool_calls")
    assert len(there.plain.requests) == len(there.encrypted.requests) == 1
    await short_way.tools(3)


async def test_a_kill_cuts_answers_so_that_they_do_not_look_whole(there: Site, way: Way, client: Client) -> None:
    ask = through(client, way)
    asking = [asyncio.create_task(ask(f"{url}/slow")) for url in (there.http, there.https)]
    await there.begun(2)
    await way.running.kill("agent:browser-agent", cancel_in_flight=True)
    for asked in asking:
        with pytest.raises(Failed):
            await asked
    await way.tools(2)
    assert [record.reason for record in way.running.seen.records] == ["agent_disabled"] * 2
