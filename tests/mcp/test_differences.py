"""Bodies that one parser reads otherwise than another: none may carry a denied call past the gateway to a real server (MCP.md 9).

What reaches a server is counted at the server. That they would run there is shown by sending a few of them past the gateway.
"""

import gzip
import json
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

import aiohttp
import pytest
import yarl

from tests.doors.conftest import Running, StartGateway
from tests.mcp.conftest import door, policy_for
from tests.mcp.servers import EverythingServer, FixtureServer

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
STATELESS = {**HEADERS, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "drop"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def call(name: str = "drop", **more: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": name, "arguments": {}, "_meta": META},
    } | more


def text(name: str = "drop") -> str:
    return json.dumps(call(name))


DENIED = text().encode()
ALLOWED = text("look_up").encode()
DEEP = '{"a":' * 3000 + "1" + "}" * 3000
BODIES: dict[str, bytes] = {
    "a batch of one": b"[" + DENIED + b"]",
    "a batch that begins with an allowed call": b"[" + ALLOWED.replace(b'"id": 7', b'"id": 6') + b"," + DENIED + b"]",
    "an empty batch": b"[]",
    "a BOM": b"\xef\xbb\xbf" + DENIED,
    "UTF-16": text().encode("utf-16"),
    "UTF-16 without a BOM": text().encode("utf-16-le"),
    "UTF-32": text().encode("utf-32"),
    "two names, the allowed one first": DENIED.replace(b'"name": "drop"', b'"name": "look_up", "name": "drop"'),
    "two names, the allowed one last": DENIED.replace(b'"name": "drop"', b'"name": "drop", "name": "look_up"'),
    "two names, one in escapes": DENIED.replace(b'"name": "drop"', b'"name": "look_up", "n\\u0061me": "drop"'),
    "two methods": DENIED.replace(b'"method"', b'"method": "ping", "method"'),
    "two params": DENIED.replace(b'"params"', b'"params": {"name": "look_up"}, "params"'),
    "two ids": DENIED.replace(b'"id"', b'"id": 1, "id"'),
    "a name in other case": DENIED.replace(b'"name": "drop"', b'"name": "look_up", "Name": "drop"'),
    "a method in other case": DENIED.replace(b'"method"', b'"method": "ping", "METHOD"'),
    "NaN": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": NaN}'),
    "Infinity": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": -Infinity}'),
    "a number beyond all floats": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": 1e400}'),
    "a lone surrogate": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": "\\ud800"}'),
    "bytes that are not UTF-8": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": "\xff"}'),
    "an overlong NUL": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": "\xc0\x80"}'),
    "depth": DENIED.replace(b'"arguments": {}', b'"arguments": ' + DEEP.encode()),
    "a comment": b"/* ping */" + DENIED,
    "something behind the end": DENIED + b"x",
    "two documents": ALLOWED + b"\n" + DENIED,
    "a NUL behind the end": DENIED + b"\x00",
    "single quotes": DENIED.replace(b'"', b"'"),
    "a raw line break in a text": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": "\n"}'),
    "a string": json.dumps(text()).encode(),
    "no id": json.dumps({k: v for k, v in call().items() if k != "id"}).encode(),
    "a null id": json.dumps(call(id=None)).encode(),
    "an id that is an object": json.dumps(call(id={})).encode(),
    "a name that is a list": json.dumps(call(params={"name": ["drop"]})).encode(),
    "params that are a list": json.dumps(call(params=["drop"])).encode(),
    "arguments that are a text": json.dumps(call(params={"name": "look_up", "arguments": "drop"})).encode(),
    "a request that is an answer too": json.dumps(call(result={})).encode(),
    "no jsonrpc": json.dumps({k: v for k, v in call().items() if k != "jsonrpc"}).encode(),
    "nothing": b"",
}
"""What must be refused as it stands, whatever it says."""
SPELT: dict[str, bytes] = {
    "as it is": DENIED,
    "its name in escapes": DENIED.replace(b'"drop"', b'"\\u0064r\\u006fp"'),
    "its method in escapes": DENIED.replace(b"tools/call", b"tools\\/c\\u0061ll"),
    "with blanks": DENIED.replace(b'"drop"', b' \t\r\n"drop" '),
    "with a wide id": json.dumps(call(id=2**80)).encode(),
    "with a wide number": DENIED.replace(b'"arguments": {}', b'"arguments": {"x": 1e300, "y": 18446744073709551617}'),
    "with another method behind it": DENIED.replace(b'"_meta"', b'"method": "ping", "_meta"'),
    "as the answer to a question": json.dumps(
        call(params={"name": "drop", "arguments": {}, "_meta": META, "inputResponses": {}, "requestState": "x"})
    ).encode(),
}
"""A denied call that can be read in one way only: it is denied."""


class Answered(NamedTuple):
    status: int
    body: bytes


async def post(url: str, body: bytes, headers: Mapping[str, str] = HEADERS) -> Answered:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return Answered(answer.status, await answer.read())


def said(answered: Answered) -> Any:
    """The JSON-RPC message, from JSON or from one event."""
    body = answered.body
    return json.loads(body if body.startswith(b"{") else body.partition(b"data: ")[2].partition(b"\n")[0])


async def session_of(url: str) -> dict[str, str]:
    """A session of the handshake wire: the headers that name it."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    async with aiohttp.ClientSession() as client, client.post(url, json=first, headers=HEADERS) as answer:
        assert answer.status == 200, await answer.text()
        named = {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    await post(url, b'{"jsonrpc":"2.0","method":"notifications/initialized"}', {**HEADERS, **named})
    return {**HEADERS, **named}


@pytest.fixture
async def guarded(server: FixtureServer, start: StartGateway) -> Running:
    return await start(policy_for(server.url, "look_up"))


@pytest.fixture(params=["2025", "2026"])
async def headers(request: pytest.FixtureRequest, guarded: Running, server: FixtureServer) -> dict[str, str]:
    found = STATELESS if request.param == "2026" else await session_of(door(guarded))
    await server.forget()
    return found


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_what_could_be_read_in_two_ways_is_refused_and_never_forwarded(
    body: bytes, guarded: Running, server: FixtureServer, headers: dict[str, str]
) -> None:
    answered = await post(door(guarded), body, headers)

    assert answered.status == 400
    assert said(answered)["error"]["code"] in (-32700, -32600)
    assert said(answered)["id"] is None
    assert await server.counts() == {}


@pytest.mark.parametrize("body", SPELT.values(), ids=SPELT.keys())
async def test_a_denied_call_is_denied_however_it_is_spelt(
    body: bytes, guarded: Running, server: FixtureServer, headers: dict[str, str]
) -> None:
    answered = await post(door(guarded), body, headers)

    result = said(answered)
    assert answered.status == 200
    assert result["id"] == json.loads(body)["id"]
    assert result["result"]["isError"] is True
    assert result["result"]["resultType"] == "complete"
    assert result["result"]["_meta"]["tool-gateway/reason"] == "tool_not_allowed"
    assert await server.counts() == {}


@pytest.mark.parametrize(
    "lying",
    [
        {"Mcp-Name": "look_up"},
        {"Mcp-Method": "ping", "Mcp-Name": "look_up"},
        {"Mcp-Method": "tools/list"},
        {"Mcp-Name": "=?base64?bG9va191cA==?="},
        {"Mcp-Method": "Tools/Call"},
    ],
)
async def test_headers_that_say_something_else_than_the_body_are_a_mismatch(
    lying: dict[str, str], guarded: Running, server: FixtureServer, headers: dict[str, str]
) -> None:
    answered = await post(door(guarded), DENIED, {**headers, **lying})

    assert answered.status == 400
    assert said(answered)["error"]["code"] == -32020
    assert await server.counts() == {}


@pytest.mark.parametrize(
    ("kind", "coding", "body"),
    [
        ("text/plain", None, DENIED),
        ("application/x-www-form-urlencoded", None, DENIED),
        ("application/json; charset=utf-16", None, text().encode("utf-16")),
        ("application/json; charset=utf-7", None, DENIED),
        ("application/json, text/plain", None, DENIED),
        ("application/json", "gzip", gzip.compress(DENIED)),
        ("application/json", "identity, gzip", gzip.compress(DENIED)),
    ],
)
async def test_only_plain_json_in_utf_8_is_taken(
    kind: str, coding: str | None, body: bytes, guarded: Running, server: FixtureServer, headers: dict[str, str]
) -> None:
    sent = {**headers, "Content-Type": kind} | ({"Content-Encoding": coding} if coding else {})
    answered = await post(door(guarded), body, sent)

    assert answered.status in (400, 415)
    assert await server.counts() == {}


@pytest.mark.parametrize(
    "path",
    ["/mcp/bed%2f..%2fbed", "/mcp//bed", "/mcp/./bed", "/mcp/bed/../bed", "/mcp/BED", "/mcp/bed/mcp", "/mcp", "/mcp/"],
)
async def test_another_spelling_of_the_path_leads_nowhere(
    path: str, guarded: Running, server: FixtureServer, headers: dict[str, str]
) -> None:
    url = yarl.URL(guarded.gateway.data_url + path, encoded=True)
    async with aiohttp.ClientSession() as session, session.post(url, data=ALLOWED, headers=headers) as answer:
        assert answer.status in (400, 404)
    assert await server.counts() == {}


async def test_a_denied_call_with_random_changes_never_runs(guarded: Running, server: FixtureServer) -> None:
    """Bytes changed, dropped, doubled or swapped: many are not JSON any more, some are, and none may run the denied tool."""
    dice, statuses = Random(20), set()
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            body = mutated(DENIED, dice)
            sent = {k: v for k, v in STATELESS.items() if not (k.startswith("Mcp-") and dice.random() < 0.7)}
            async with session.post(door(guarded), data=body, headers=sent) as answer:
                statuses.add(answer.status)

    assert "drop" not in await server.counts()
    assert {200, 400} <= statuses, "some were read and denied, some were not"


def mutated(body: bytes, dice: Random) -> bytes:
    text = bytearray(body)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(text))
        match dice.randrange(5):
            case 0:
                text[at] = dice.randrange(256)
            case 1:
                del text[at]
            case 2:
                text[at:at] = text[at : at + dice.randrange(1, 30)]
            case 3:
                text[at:at] = dice.choice(
                    (b" ", b"\t", b"\\u0000", b'"', b"{", b",", b'"name":"drop",', b"\xef\xbb\xbf")
                )
            case 4:
                text[at] ^= 0x20
    return bytes(text)


async def test_past_the_gateway_some_of_these_do_run(server: FixtureServer) -> None:
    """Else the tests above would show nothing. (mcp 2.3 takes a BOM on the 2026 wire; the last of two names holds.)"""
    for name in ("a BOM", "two names, the allowed one first"):
        await server.forget()
        await post(server.url, BODIES[name], STATELESS)
        assert (await server.counts())["drop"] == 1, name


@pytest.mark.parametrize("name", ["a batch of one", "a batch that begins with an allowed call", "a BOM"])
async def test_nor_does_server_everything_see_any_of_them(
    name: str, everything: EverythingServer, start: StartGateway
) -> None:
    """It runs all three when they reach it."""
    guarded = await start(policy_for(everything.url, "look_up"))
    body = BODIES[name].replace(b'"drop"', b'"echo"').replace(b'"arguments": {}', b'"arguments": {"message": "ran"}')

    past = await post(everything.url, body, await session_of(everything.url))
    assert b"Echo: ran" in past.body

    headers = await session_of(door(guarded))
    before = everything.posts
    answered = await post(door(guarded), body, headers)
    assert answered.status == 400
    assert everything.posts == before
