"""What the public conformance suite expects of a server under test: tools, resources and prompts by the names it calls.

On PyPI's `mcp`, so that both wires are spoken. What asks back is in asking.py.
"""

import asyncio
import base64
import json
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from pydantic import Field

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""One pixel."""
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
"""No sample."""
A_WHILE = 0.05
"""Seconds between two notifications, so that they travel apart."""
SCHEMA_TOOL = "json_schema_2020_12_tool"
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class Server(MCPServer[Any]):
    """One tool's schema says more than Python types can."""

    async def list_tools(self) -> list[types.Tool]:
        tools = await super().list_tools()
        return [
            tool.model_copy(update={"input_schema": SCHEMA}) if tool.name == SCHEMA_TOOL else tool for tool in tools
        ]


server = Server("conformance", log_level="CRITICAL")


@server.tool()
async def test_simple_text() -> str:
    """Text."""
    return "This is a simple text response for testing."


@server.tool()
async def test_image_content() -> types.ImageContent:
    """An image."""
    return types.ImageContent(data=PNG, mime_type="image/png")


@server.tool()
async def test_audio_content() -> types.AudioContent:
    """A sound."""
    return types.AudioContent(data=WAV, mime_type="audio/wav")


@server.tool()
async def test_embedded_resource() -> types.EmbeddedResource:
    """A resource."""
    return embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")


@server.tool()
async def test_multiple_content_types() -> list[types.TextContent | types.ImageContent | types.EmbeddedResource]:
    """Text, an image and a resource."""
    return [
        types.TextContent(text="Multiple content types test:"),
        types.ImageContent(data=PNG, mime_type="image/png"),
        embedded("test://mixed-content-resource", "application/json", json.dumps({"test": "data", "value": 123})),
    ]


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Three log messages."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(text)
        await asyncio.sleep(A_WHILE)
    return "logged"


@server.tool()
async def test_logging_tool(ctx: Context) -> str:
    """A log message for who asked for them."""
    await ctx.info("a message")
    return "logged"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Three words of progress."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100)
        await asyncio.sleep(A_WHILE)
    return "done"


@server.tool()
async def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """Cuts its stream: the client resumes it."""
    await ctx.close_sse_stream()
    await asyncio.sleep(A_WHILE)
    return "reconnected"


@server.tool()
async def test_custom_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Its argument travels in a header as well."""
    return region


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Tells that tools have changed."""
    await ctx.notify_tools_changed()
    return "told"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Tells that prompts have changed."""
    await ctx.notify_prompts_changed()
    return "told"


@server.tool(name=SCHEMA_TOOL)
async def schema_tool() -> str:
    """Its schema uses what JSON Schema 2020-12 brought."""
    return "done"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Bytes."""
    return base64.b64decode(PNG)


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """To subscribe to."""
    return "watched"


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002  the placeholder's name is the suite's
    """A template."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.prompt()
def test_simple_prompt() -> str:
    """Without arguments."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """With two."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803  the suite's name
    """With a resource."""
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """With an image."""
    image = types.ImageContent(data=PNG, mime_type="image/png")
    return [UserMessage(image), UserMessage("Please analyze the image above.")]


@server.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # the library leaves it so
async def complete(ref: object, argument: object, context: object) -> types.Completion:
    return types.Completion(values=["paris", "park", "party"], total=3, has_more=False)


def embedded(uri: str, kind: str, text: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=kind, text=text))


async def _nothing(context: object, params: object) -> types.EmptyResult:
    return types.EmptyResult()


_PARAMS: dict[str, type[types.RequestParams]] = {
    "resources/subscribe": types.SubscribeRequestParams,
    "resources/unsubscribe": types.UnsubscribeRequestParams,
    "logging/setLevel": types.SetLevelRequestParams,
}
for method, params in _PARAMS.items():
    server._lowlevel_server.add_request_handler(method, params, _nothing)
