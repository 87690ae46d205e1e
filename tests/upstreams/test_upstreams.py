"""All upstreams of a policy: kept over reloads, closed when no longer named, told apart for the operator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.model import UpstreamError
from gateway.policy.snapshot import Snapshot, UpstreamPlan
from gateway.upstreams.http import Upstreams
from gateway.upstreams.listeners import NO_LISTENERS, Listeners
from gateway.upstreams.resolver import Resolver
from tests.unit.made_up import UPSTREAM
from tests.upstreams.calling import Names, an_attempt
from tests.upstreams.loopback import Request, always, free_port, loopback, reply


def plan(port: int, **changes: Any) -> UpstreamPlan:
    return replace(UPSTREAM, **{"host": "127.0.0.1", "port": port, **changes})


def naming(*plans: UpstreamPlan) -> Snapshot:
    """Of a snapshot, adopt() looks at the upstreams only."""
    return cast(Snapshot, SimpleNamespace(upstreams={plan.name: plan for plan in plans}))


@asynccontextmanager
async def upstreams(resolver: Resolver | None = None, listeners: Listeners = NO_LISTENERS) -> AsyncIterator[Upstreams]:
    made = Upstreams(resolver or Resolver(), listeners)
    try:
        yield made
    finally:
        await made.close()


async def test_a_reload_keeps_the_connections_of_what_did_not_change() -> None:
    async with loopback(always(reply())) as server, upstreams() as every:
        kept = plan(server.port)
        every.adopt(naming(kept))
        await every.of(kept).send(an_attempt())
        again = plan(server.port)
        every.adopt(naming(again, plan(server.port, name="other", key="other")))
        await every.of(again).send(an_attempt())
        assert server.connections == 1


async def test_an_upstream_no_longer_named_closes_its_idle_connections_and_lets_calls_finish() -> None:
    go_on = asyncio.Event()

    async def answer(request: Request) -> None:
        if request.line.startswith("GET"):
            await go_on.wait()
        await request.say(reply())

    async with loopback(answer) as server, upstreams() as every:
        gone = plan(server.port, keepalive=300.0)
        every.adopt(naming(gone))
        call = asyncio.create_task(every.of(gone).send(an_attempt("GET")))
        await server.seen(1)
        await every.of(gone).send(an_attempt())
        every.adopt(naming())
        await server.closed(left=1)
        go_on.set()
        assert (await call).body == b"ok"
        await server.closed()


async def test_a_call_that_began_under_the_old_policy_may_still_repeat() -> None:
    async with loopback(always(reply())) as server, upstreams() as every:
        old = plan(server.port, keepalive=300.0)
        every.adopt(naming())
        assert (await every.of(old).send(an_attempt())).body == b"ok"
        every.adopt(naming())
        await server.closed()


async def test_the_status_counts_connections_and_shows_no_header() -> None:
    async with loopback(always(reply())) as server, upstreams() as every:
        secret = plan(server.port, headers=(("Authorization", "Bearer hidden"),), base_path="/api")
        await every.of(secret).send(an_attempt())
        assert every.status() == [
            {
                "upstream": "search",
                "url": f"http://127.0.0.1:{server.port}/api",
                "connections": 1,
                "idle": 1,
                "waiting": 0,
                "max_connections": 100,
            }
        ]


async def test_a_probe_tells_what_is_wrong_and_where() -> None:
    names = Names(**{"tools.internal": ["127.0.0.1"]})
    async with loopback(always(reply())) as server, upstreams(names) as every:
        assert await every.probe(plan(server.port)) is None
        await server.closed()
        assert not server.requests
        port = free_port()
        refused = await every.probe(plan(port, key="a"))
        assert refused is not None
        assert refused.detail == f"upstream search refused the connection (http://127.0.0.1:{port})"
        problem = await every.probe(plan(80, key="b", host="gone.internal"))
        assert problem is not None
        assert problem.detail == "upstream search: the host name has no address (http://gone.internal)"


async def test_the_gateways_own_listeners_are_no_upstream() -> None:
    async with loopback(always(reply())) as server:
        for listening, host in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "tools.internal")]:
            own = Listeners([(ip_address(listening), server.port)])
            names = Names(**{"tools.internal": ["127.0.0.9", "127.0.0.1"]})
            async with upstreams(names, own) as every:
                attempt = an_attempt()
                with pytest.raises(UpstreamError) as failed:
                    await every.of(plan(server.port, host=host)).send(attempt)
                assert (failed.value.kind, failed.value.sent, attempt.sent) == ("refused", False, False)
                assert "gateway itself" in failed.value.detail
        assert server.connections == 0


@pytest.mark.parametrize(
    ("listening", "dialled", "own"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("::1", "::", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("::", "127.0.0.1", True),
        ("0.0.0.0", "192.0.2.1", False),
        ("::", "2001:db8::1", False),
    ],
)
def test_a_listener_on_every_address_is_met_at_every_address_of_this_machine(
    listening: str, dialled: str, own: bool
) -> None:
    listeners = Listeners([(ip_address(listening), 8080)])
    assert listeners.own(ip_address(dialled), 8080) == own
    assert not listeners.own(ip_address(dialled), 8081)
