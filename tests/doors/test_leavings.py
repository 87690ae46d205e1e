"""What ended calls leave to the garbage collector: nothing, on either lane and however they ended."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.doors.conftest import Running, StartGateway, nothing_is_left, policy_of
from tests.doors.wire import dial, request
from tests.upstreams.loopback import Request, loopback

TIMES = 3
HEAD = b"HTTP/1.1 200 OK\r\n"
DEFINITIONS = {
    "plain.read": {"effect": "read"},
    "reset.read": {"effect": "read"},
    "reset.write": {},
    "busy.read": {"effect": "read"},
    "silent.read": {"effect": "read", "timeout_ms": 200, "retries": {"max": 0}},
    "chunks.read": {"effect": "read"},
    "events.read": {"effect": "read"},
    "cut.read": {"effect": "read"},
    "large.read": {"effect": "read"},
    "keyed.write": {"idempotency_key": True},
    "waiting.read": {"effect": "read"},
    "http.get": {},
}
POLICY = json.dumps(
    {
        "tools": {
            "allowlist": [*DEFINITIONS],
            "retries": {"max": 1, "backoff_ms": [1], "budget_percent": 100},
            "definitions": DEFINITIONS,
        },
        "upstreams": {"default": {"url": "http://127.0.0.1:1", "circuit_breaker": {"failures": 1000}}},
        "egress": {"allow_hosts": ["127.0.0.1"], "ports": [0], "allow_private": ["127.0.0.0/8"]},
    }
)
REPLIES = {
    "plain.read": HEAD + b"Content-Length: 2\r\n\r\nhi",
    "busy.read": b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
    "chunks.read": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "events.read": HEAD
    + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n",
    "cut.read": HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 70_000,
    "large.read": HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000,
}


async def behave(asked: Request) -> None:
    """As the tool's name says."""
    name = asked.line.split(" ")[1][1:]
    if name.startswith("reset."):
        asked.reset()
    elif name in ("silent.read", "waiting.read"):
        await asked.reader.read()
    else:
        await asked.say(REPLIES.get(name, REPLIES["plain.read"]))
        if name == "cut.read":
            asked.reset()


@asynccontextmanager
async def seen_by_the_collector(found: dict[str, list[str]], what: str) -> AsyncIterator[None]:
    """What of ours is left to it by what is done meanwhile."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = [type(one) for one in gc.garbage]
        found[what] = sorted({one.__qualname__ for one in left if one.__module__.startswith("gateway.")})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def call(running: Running, name: str, body: bytes = b"{}", *fields: str) -> None:
    async with dial(running.gateway.data_url) as wire:
        await wire.say(request(f"POST /tools/{name}", *fields, body=body))
        if name == "waiting.read":
            while not len(running.gateway.counts.in_flight):  # noqa: ASYNC110  the gateway has no event for it
                await asyncio.sleep(0.001)
            await running.kill(f"tool:{name}", cancel_in_flight=True)
        if name == "cut.read":
            await wire.rest()
        else:
            await wire.answer()
        await running.restore(f"tool:{name}")
    await nothing_is_left(running.gateway)


async def test_ended_calls_leave_nothing_to_the_garbage_collector(start: StartGateway) -> None:
    """While it looks through what thousands of them have left, all others wait; and most calls that fail come when much else is wrong."""
    found: dict[str, list[str]] = {}
    async with loopback(behave) as upstream:
        policy = POLICY.replace('"ports": [0]', f'"ports": [{upstream.port}]')
        running = await start(policy, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}", AGENT_MAX_TOOL_CALLS="1000")
        bodies = {"http.get": b'{"url": "http://127.0.0.1:%d/"}' % upstream.port}
        for name in [*DEFINITIONS, "denied.run"]:
            fields = ["Idempotency-Key: k"] if name == "keyed.write" else []
            body = bodies.get(name, b"{}")
            await call(running, name, body, *fields)
            async with seen_by_the_collector(found, name):
                for _ in range(TIMES):
                    await call(running, name, body, *fields)
    assert not {name: left for name, left in found.items() if left}


async def test_a_former_policy_goes_with_all_it_holds(start: StartGateway, tmp_path: Path) -> None:
    """A compiled schema takes ten times the memory of its text. (A plan itself takes no weak reference.)"""
    schema = {"type": "object", "properties": {"q": {"type": "string", "maxLength": 9}}, "required": ["q"]}
    definition = {"effect": "read", "arguments": schema}
    first, second = policy_of({"plain.read": definition}), policy_of({"plain.read": definition | {"timeout_ms": 900}})
    async with loopback(behave) as upstream:
        running = await start(first, GATEWAY_UPSTREAM=f"http://127.0.0.1:{upstream.port}")
        former = weakref.ref(running.gateway.policies.snapshot.plan("default", "plain.read").arguments)
        await call(running, "plain.read", b'{"q": "a"}')
        (tmp_path / "policies" / "policy.yaml").write_text(second)
        await running.gateway.policies.reload()
        await call(running, "plain.read", b'{"q": "a"}')  # until then the fast lane remembers heads
        gc.collect()
        assert former() is None
