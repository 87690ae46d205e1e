"""The MCP clients that people use, told alike: PyPI's `mcp` and npm's two libraries, each on the wires it speaks."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageResult, ElicitResult, TextContent

from tests.mcp.node_tools import node

HERE = Path(__file__).parent
KINDS = ["python-2025", "python-2026", "npm-v1-2025", "npm-v2-2025", "npm-v2-2026"]
PATIENCE = 20.0
"""Seconds after which a test fails instead of hanging."""

Told = Callable[[float], None]


class Broken(Exception):
    """The library raised where it could have returned a result: the model does not see why."""


class Result(NamedTuple):
    """What a tools/call gave."""

    is_error: bool
    text: str
    meta: Mapping[str, Any]


class Agent(Protocol):
    """A connected client."""

    async def list(self) -> list[str]:
        """The names of the tools it is shown now. Raises Broken."""
        ...

    async def call(
        self, name: str, told: Told | None = None, *, within: float | None = None, **arguments: Any
    ) -> Result:
        """A tool's result. `told`: hears of progress; `within`: seconds after which the client gives up. Cancelled, it cancels the
        call in the way of its wire. Raises Broken.
        """
        ...


class PythonAgent:
    """PyPI's `mcp`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, wire: str, headers: Mapping[str, str]) -> AsyncIterator[Self]:
        async with httpx2.AsyncClient(headers=dict(headers), timeout=PATIENCE) as http:
            transport = streamable_http_client(url, http_client=http, max_sse_event_size=None)
            mode = "legacy" if wire == "2025" else "auto"
            async with Client(transport, mode=mode, elicitation_callback=_answer, sampling_callback=_say) as client:
                yield cls(client)

    async def list(self) -> list[str]:
        try:
            return [tool.name for tool in (await self.client.list_tools()).tools]
        except MCPError as error:
            raise Broken(error.message) from None

    async def call(
        self, name: str, told: Told | None = None, *, within: float | None = None, **arguments: Any
    ) -> Result:
        async def hear(progress: float, total: float | None, message: str | None) -> None:
            if told is not None:
                told(progress)

        try:
            result = await self.client.call_tool(name, arguments, within, hear)
        except MCPError as error:
            raise Broken(error.message) from None
        text = "".join(part.text for part in result.content if isinstance(part, TextContent))
        return Result(result.is_error, text, result.meta or {})


class NodeAgent:
    """One of npm's, in a process of its own (client.mjs)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._hearing: dict[int, Told] = {}

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, library: str, wire: str, headers: Mapping[str, str]) -> AsyncIterator[Self]:
        process = await asyncio.create_subprocess_exec(
            *(node(), "client.mjs", library, wire, url, json.dumps(dict(headers))),
            cwd=HERE / "node",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=64 << 20,
        )
        assert process.stdout is not None
        if not await process.stdout.readline():
            _, errors = await process.communicate()
            raise Broken(errors.decode())
        agent = cls(process)
        reading = asyncio.create_task(agent._read(process.stdout))
        try:
            yield agent
            await agent._ask({"op": "end"})
        finally:
            if process.returncode is None:
                process.kill()
            await reading
            await process.communicate()

    async def list(self) -> list[str]:
        names: list[str] = await self._ask({"op": "list"})
        return names

    async def call(
        self, name: str, told: Told | None = None, *, within: float | None = None, **arguments: Any
    ) -> Result:
        result = await self._ask({"op": "call", "name": name, "arguments": arguments, "timeout": within}, told)
        text = "".join(part.get("text", "") for part in result["content"])
        return Result(result.get("isError", False), text, result.get("_meta", {}))

    async def _ask(self, request: dict[str, Any], told: Told | None = None) -> Any:
        number = len(self._waiting)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        if told is not None:
            self._hearing[number] = told
        self._write({"id": number, **request})
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._waiting[number]
        except asyncio.CancelledError:
            self._write({"id": -1, "op": "stop", "call": number})
            raise
        if "error" in answer:
            raise Broken(answer["error"])
        return answer["result"]

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self, out: asyncio.StreamReader) -> None:
        while line := await out.readline():
            said = json.loads(line)
            if said.get("told") == "progress":
                if (told := self._hearing.get(said["id"])) is not None:
                    told(said["progress"])
            elif (waiting := self._waiting.get(said["id"])) is not None and not waiting.done():
                waiting.set_result(said)


def connected(kind: str, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Agent]:
    """A client of one of KINDS, connected."""
    if kind.startswith("python"):
        return PythonAgent.connected(url, kind.removeprefix("python-"), headers)
    _, library, wire = kind.split("-")
    return NodeAgent.connected(url, library, wire, headers)


async def _answer(context: object, params: object) -> ElicitResult:
    return ElicitResult(action="accept", content={"colour": "green"})


async def _say(context: object, params: object) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="hello"), model="m")
