"""MCP clients that people use, told alike. Here PyPI's `mcp`; npm's are in npm_clients.py."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, Self

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageResult, ElicitResult, TextContent

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


async def _answer(context: object, params: object) -> ElicitResult:
    return ElicitResult(action="accept", content={"colour": "green"})


async def _say(context: object, params: object) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="hello"), model="m")
