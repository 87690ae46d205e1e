"""A real MCP server to put behind the gateway: PyPI's `mcp`, both wires, a process of its own. Tools of every kind, each counting its runs.

`python -m tests.mcp.fixture_server` prints its address as its first line. Beside /mcp it serves /counts, by which a test sees what ran.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp_types import CreateMessageResult, SamplingMessage, TextContent, ToolAnnotations
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.mcp.serving import RESUMED_AFTER_MS, Kept, serve


class Counts:
    """What has happened, by name, and a way to wait for more of it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    async def add(self, name: str) -> None:
        async with self._changed:
            self._counts[name] += 1
            self._changed.notify_all()

    def forget(self) -> None:
        self._counts.clear()

    def all(self) -> dict[str, int]:
        return dict(self._counts)

    async def reached(self, name: str, count: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self._counts[name] >= count)


BEGUN = "tests.mcp.begun"
"""In a request's ASGI scope: set once a piece of its answer's body is out."""
A_MINUTE = CacheHint(ttl_ms=60_000, scope="public")
"""What it says of its list of tools (2026-07-28): clients that believe it do not ask again."""

server = MCPServer("fixture", log_level="ERROR", cache_hints={"tools/list": A_MINUTE})
counts = Counts()


class Answer(BaseModel):
    colour: str


def ask_for_a_colour() -> Elicit[Answer]:
    return Elicit("Which colour?", Answer)


def ask_a_model() -> Sample:
    asked = SamplingMessage(role="user", content=TextContent(type="text", text="Say something."))
    return Sample([asked], max_tokens=20)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def look_up(q: str = "") -> str:
    """Reads."""
    await counts.add("look_up")
    return f"found {q}"


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
async def drop(table: str = "") -> str:
    """Destroys."""
    await counts.add("drop")
    return f"dropped {table}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True, destructive_hint=True))
async def contradict() -> str:
    """Says of itself that it reads and that it destroys."""
    await counts.add("contradict")
    return "done"


@server.tool()
async def note(text: str = "") -> str:
    """Says nothing of itself."""
    await counts.add("note")
    return f"noted {text}"


@server.tool()
async def region(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Its argument travels in a header as well (2026-07-28)."""
    await counts.add("region")
    return region


@server.tool()
async def slow(seconds: float = 30) -> str:
    """Takes its time, and counts where it is told to stop."""
    await counts.add("slow")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.shield(counts.add("slow cancelled"))
        raise
    await counts.add("slow finished")
    return "slept"


@server.tool()
async def progress(ctx: Context, steps: int = 3) -> str:
    """Tells how far it is; goes on behind step 1 only when the test has seen it (POST /counts/seen)."""
    await counts.add("progress")
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        if step == 1:
            await counts.reached("seen", 1)
    return "done"


@server.tool()
async def ask(answer: Annotated[Answer, Resolve(ask_for_a_colour)]) -> str:
    """Asks the person: a request of its own on the older wires, input_required on 2026-07-28."""
    await counts.add("ask")
    return f"the answer is {answer.colour}"


@server.tool()
async def sample(said: Annotated[CreateMessageResult, Resolve(ask_a_model)]) -> str:
    """Asks the client's model, in the same two ways."""
    await counts.add("sample")
    text = said.content.text if isinstance(said.content, TextContent) else ""
    return f"the model says {text}"


@server.tool()
async def resume(ctx: Context) -> str:
    """Cuts the stream on purpose: who calls gets the result only by resuming (not on 2026-07-28)."""
    await counts.add("resume")
    request: Any = ctx.request_context.request
    with suppress(TimeoutError):  # else the server may cut a stream whose first event, which has the id, is not out yet
        await asyncio.wait_for(request.scope[BEGUN].wait(), 5)
    await ctx.close_sse_stream()
    await counts.reached("streams resumed", 1)
    return "resumed"


@server.tool()
async def big(megabytes: int = 5) -> str:
    """A long result."""
    await counts.add("big")
    return "x" * (megabytes * 1_000_000)


@server.tool()
async def fail() -> str:
    """An error of the tool's own."""
    await counts.add("fail")
    raise ToolError("the tool says no")


@server.tool()
async def announce(ctx: Context) -> str:
    """Tells who listens that the tools have changed."""
    await counts.add("announce")
    await ctx.notify_tools_changed()
    return "told"


@server.custom_route("/counts", methods=["GET", "DELETE"])  # type: ignore[untyped-decorator]  # the library leaves it so
async def tell_counts(request: Request) -> Response:
    if request.method == "DELETE":
        counts.forget()
    return JSONResponse(counts.all())


@server.custom_route("/counts/{name}", methods=["GET", "POST"])  # type: ignore[untyped-decorator]  # as above
async def wait_or_count(request: Request) -> Response:
    """GET waits until `at_least` of it have happened; POST is one more."""
    name = request.path_params["name"]
    if request.method == "POST":
        await counts.add(name)
    else:
        await counts.reached(name, int(request.query_params["at_least"]))
    return JSONResponse(counts.all())


def noticing(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Counts what arrives, by HTTP method, and which streams are resumed."""

    async def noticed(scope: dict[str, Any], receive: object, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] == "http" and scope["path"] == "/mcp":
            await counts.add(f"HTTP {scope['method']}")
            if any(name == b"last-event-id" for name, _ in scope["headers"]):
                await counts.add("streams resumed")
        begun = scope[BEGUN] = asyncio.Event()

        async def sent(message: dict[str, Any]) -> None:
            await send(message)
            if message.get("body"):
                begun.set()

        await application(scope, receive, sent)

    return noticed


if __name__ == "__main__":
    serve(noticing(server.streamable_http_app(event_store=Kept(), retry_interval=RESUMED_AFTER_MS)))
