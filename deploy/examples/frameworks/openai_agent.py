"""An agent of the OpenAI Agents SDK behind the gateway: one HTTP tool and all tools of one MCP server. It needs a base URL, nothing else.

    python openai_agent.py '[["search", {"q": "budgets"}], ["note", {"text": "hello"}], "That is all."]'

The argument stands in for the model: the tools it calls, one after the other, and its last word. Leave `model=` away for a real one.
"""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.exceptions import UserError
from agents.items import ToolCallOutputItem, TResponseStreamEvent
from agents.mcp import MCPServerStreamableHttp
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

TOOL_BASE_URL = os.environ.get("TOOL_BASE_URL", "http://127.0.0.1:8080")


class RunEnded(Exception):
    """The gateway's stop reason."""


class Scripted(Model):
    """A model that says what it was told to say."""

    def __init__(self, script: list[Any]) -> None:
        self._lines = iter(script)

    async def get_response(self, *_given: Any, **_options: Any) -> ModelResponse:
        line, name = next(self._lines), str(uuid.uuid4())
        said: Any
        if isinstance(line, str):
            text = ResponseOutputText(type="output_text", text=line, annotations=[])
            said = ResponseOutputMessage(id=name, type="message", role="assistant", status="completed", content=[text])
        else:
            tool, arguments = line
            said = ResponseFunctionToolCall(
                type="function_call", call_id=name, name=tool, arguments=json.dumps(arguments)
            )
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *_given: Any, **_options: Any) -> AsyncIterator[TResponseStreamEvent]:
        raise NotImplementedError("this script is not streamed")


async def main(script: list[Any]) -> dict[str, Any]:
    """One task; how it ended."""
    base = f"{TOOL_BASE_URL}/runs/{uuid.uuid4()}/"  # a run of its own: its own budgets, and its own line in the console
    notes = MCPServerStreamableHttp({"url": f"{base}mcp/notes"})
    async with httpx.AsyncClient(base_url=base, timeout=60) as run, notes:

        @function_tool(failure_error_function=None)  # else a RunEnded would be told to the model and the loop go on
        async def search(q: str) -> str:
            """Searches the documents."""
            answer = await run.post("tools/search.read", json={"q": q})
            refused = answer.headers.get("content-type") == "application/problem+json"
            if refused and answer.json()["stop_reason"]:
                raise RunEnded(answer.json()["stop_reason"])
            return str(answer.json()["detail"]) if refused else answer.text  # a sentence that the model can act on

        agent = Agent("scout", tools=[search], mcp_servers=[notes], model=Scripted(script))
        try:
            ended = await Runner.run(agent, "Find out, and write it down.", run_config=RunConfig(tracing_disabled=True))
        except UserError as error:  # the SDK wraps what a tool raises
            if isinstance(error.__cause__, RunEnded):
                return {"stopped": str(error.__cause__)}
            raise
    told = [str(item.output) for item in ended.new_items if isinstance(item, ToolCallOutputItem)]
    return {"answer": ended.final_output, "told": told}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
