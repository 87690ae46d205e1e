"""The suite's tools and prompt that ask the client for something: by a request of their own on the older wires, by an input_required
result on 2026-07-28.
"""

import json
from typing import Any

import mcp_types as types
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY, InputRequiredResult

from tests.mcp.conformance.fixtures import server

ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {
        "type": "string",
        "oneOf": [
            {"const": "value1", "title": "First Option"},
            {"const": "value2", "title": "Second Option"},
            {"const": "value3", "title": "Third Option"},
        ],
    },
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {
        "type": "array",
        "items": {
            "anyOf": [
                {"const": "value1", "title": "First Choice"},
                {"const": "value2", "title": "Second Choice"},
                {"const": "value3", "title": "Third Choice"},
            ]
        },
    },
}
DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


def form(message: str, **properties: Any) -> types.ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def question(text: str, longest: int) -> types.CreateMessageRequest:
    asked = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[asked], max_tokens=longest))


TEXT = {"type": "string"}
WHO = form("What is your name?", name=TEXT)


async def elicited(ctx: Context, message: str, required: bool = True, **properties: Any) -> str:
    """On the older wires."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = [*properties]
    answer = await ctx.session.elicit_form(message, schema, ctx.request_context.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    asked = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
    said = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_context.request_id)
    return f"LLM response: {said.content.text if isinstance(said.content, types.TextContent) else ''}"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the person."""
    username = {"type": "string", "description": "User's response"}
    email = {"type": "string", "description": "User's email address"}
    return "User response: " + await elicited(ctx, message, username=username, email=email)


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks with defaults."""
    return "Elicitation completed: " + await elicited(ctx, "Please fill this in", required=False, **DEFAULTS)


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks with choices."""
    return "Elicitation completed: " + await elicited(ctx, "Please choose", required=False, **ENUMS)


@server.tool()
async def test_missing_capability(ctx: Context) -> str:
    """Needs a client that can sample."""
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling.", data)
    return "done"


@server.tool()
async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Progress, then a question."""
    await ctx.report_progress(1, 2)
    return answered(ctx, "user_name") or InputRequiredResult(input_requests={"user_name": WHO})


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Asks for a name."""
    name = content(ctx, "user_name").get("name")
    return f"Hello, {name}!" if name else InputRequiredResult(input_requests={"user_name": WHO})


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
    """Asks the model."""
    asked = question("What is the capital of France?", 100)
    return answered(ctx, "capital_question") or InputRequiredResult(input_requests={"capital_question": asked})


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
    """Asks for roots."""
    return answered(ctx, "client_roots") or InputRequiredResult(
        input_requests={"client_roots": types.ListRootsRequest()}
    )


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
    """Asks, and wants its state back."""
    if ctx.request_state == "asked" and answered(ctx, "confirm"):
        return "state-ok"
    asked = form("Please confirm", ok={"type": "boolean"})
    return InputRequiredResult(input_requests={"confirm": asked}, request_state="asked")


@server.tool()
async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
    """Asks with a state that must come back as it went; the library seals it."""
    return await test_input_required_result_request_state(ctx)


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequiredResult:
    """Asks three things at once."""
    asked: types.InputRequests = {
        "user_name": WHO,
        "greeting": question("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    if all(answered(ctx, name) for name in asked):
        return "all answered"
    return InputRequiredResult(input_requests=asked, request_state="asked")


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
    """Asks twice."""
    if ctx.request_state == "second" and answered(ctx, "step2"):
        return "both answered"
    if ctx.request_state == "first" and answered(ctx, "step1"):
        asked = form("Step 2: What is your favorite color?", color=TEXT)
        return InputRequiredResult(input_requests={"step2": asked}, request_state="second")
    asked = form("Step 1: What is your name?", name=TEXT)
    return InputRequiredResult(input_requests={"step1": asked}, request_state="first")


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequiredResult:
    """Asks only what the client has said it can answer."""
    has = ctx.client_capabilities or types.ClientCapabilities()
    able: dict[str, types.InputRequest] = {}
    if has.elicitation is not None:
        able["user_name"] = WHO
    if has.sampling is not None:
        able["greeting"] = question("Generate a greeting", 50)
    if has.roots is not None:
        able["client_roots"] = types.ListRootsRequest()
    if not able or any(answered(ctx, name) for name in able):
        return "done"
    return InputRequiredResult(input_requests=able)


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | InputRequiredResult:
    """A prompt that asks."""
    told = content(ctx, "user_context").get("context")
    if told:
        return [UserMessage(f"The context is {told}.")]
    asked = form("What context should the prompt use?", context=TEXT)
    return InputRequiredResult(input_requests={"user_context": asked})


def answered(ctx: Context, name: str) -> str | None:
    """What came back for it, as text; None: nothing has."""
    response = (ctx.input_responses or {}).get(name)
    return None if response is None else response.model_dump_json(by_alias=True, exclude_none=True)


def content(ctx: Context, name: str) -> dict[str, Any]:
    """What a person has filled in."""
    response = (ctx.input_responses or {}).get(name)
    return dict(response.content or {}) if isinstance(response, types.ElicitResult) else {}
