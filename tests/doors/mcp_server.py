"""What tests of the MCP door say and hear: hand-written messages, and a server's answers to them."""

import asyncio
import json
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import web

from tests.doors.conftest import Running
from tests.doors.tool_server import Behaviour

SERVER = "bed"
BOTH = "application/json, text/event-stream"
TEXT = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


def policy_of_server(url: str, *allowed: str, tools: dict[str, Any] | None = None, **server: Any) -> str:
    """Allows these tools of one MCP server. (JSON is YAML.)"""
    said = {"allowlist": [f"{SERVER}.{name}" for name in allowed], "retries": {"max": 2, "backoff_ms": [5, 10]}}
    return json.dumps({"tools": {**said, **(tools or {})}, "mcp_servers": {SERVER: {"url": f"{url}/mcp", **server}}})


def call(tool: str = "look", identity: Any = 1, **arguments: Any) -> dict[str, Any]:
    """A tools/call."""
    return asked("tools/call", identity, name=tool, arguments=arguments)


def asked(method: str, identity: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}


def result(identity: Any = 1, **content: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identity, "result": content or TEXT}).encode()


def event(data: bytes, *lines: bytes) -> bytes:
    return b"\n".join([*lines, b"data: " + data, b"", b""])


def says(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Behaviour:
    async def reply(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers={"Content-Type": kind, **named})

    return reply


def events(*pieces: bytes) -> Behaviour:
    """An event stream, piece by piece."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    return reply


def silent_after(piece: bytes) -> Behaviour:
    """An event stream that never ends."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(piece)
        await asyncio.Event().wait()
        return response

    return reply


class Answer:
    """What a client got."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def message(self) -> dict[str, Any]:
        """The one JSON-RPC message in it, as JSON or as the last event."""
        text = self.body
        if self.headers["Content-Type"] == "text/event-stream":
            text = [line[6:] for line in self.body.splitlines() if line.startswith(b"data: ")][-1]
        return json.loads(text)  # type: ignore[no-any-return]  # JSON is Any

    @property
    def reason(self) -> str:
        """Why a call was refused: every form of it must say the same."""
        message = self.message
        if "error" in message:
            return str(message["error"]["data"]["reason"])
        found = message["result"]
        assert found["isError"] is True
        assert found["resultType"] == "complete"
        assert found["content"][0]["text"].startswith(found["_meta"]["tool-gateway/reason"] + ": ")
        assert self.headers["Tool-Gateway-Reason"] == found["_meta"]["tool-gateway/denial"]["reason"]
        return str(found["_meta"]["tool-gateway/reason"])


async def post(running: Running, message: Any, path: str = f"/mcp/{SERVER}", **headers: str) -> Answer:
    """`message`: a document, or bytes as they are."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    named = {"Content-Type": "application/json", "Accept": BOTH}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with running.agent.post(path, data=BytesIO(body), headers=named) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def opened(running: Running, message: Any, **headers: str) -> aiohttp.ClientResponse:
    """The same, its body yet to be read; the caller closes it."""
    named = {"Content-Type": "application/json", "Accept": BOTH}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await running.agent.post(f"/mcp/{SERVER}", json=message, headers=named)
