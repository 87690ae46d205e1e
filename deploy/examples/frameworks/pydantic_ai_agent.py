"""A pydantic-ai agent behind the gateway: one HTTP tool and all tools of one MCP server. It needs a base URL, nothing else.

    python pydantic_ai_agent.py '[["search", {"q": "budgets"}], ["note", {"text": "hello"}], "That is all."]'

The argument stands in for the model: the tools it calls, one after the other, and its last word. Put a real one in its place:
`Agent("openai:gpt-5", ...)`.
"""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import httpx
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.function import AgentInfo, FunctionModel

TOOL_BASE_URL = os.environ.get("TOOL_BASE_URL", "http://127.0.0.1:8080")


class RunEnded(Exception):
    """The gateway's stop reason."""


def scripted(script: list[Any]) -> FunctionModel:
    """A model that says what it was told to say."""

    def say(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        line = script[sum(isinstance(message, ModelResponse) for message in messages)]
        return ModelResponse([TextPart(line) if isinstance(line, str) else ToolCallPart(*line)])

    return FunctionModel(say)


async def main(script: list[Any]) -> dict[str, Any]:
    """One task; how it ended."""
    base = f"{TOOL_BASE_URL}/runs/{uuid.uuid4()}/"  # a run of its own: its own budgets, and its own line in the console
    async with httpx.AsyncClient(base_url=base, timeout=60) as run:
        agent = Agent(scripted(script), toolsets=[MCPToolset(f"{base}mcp/notes")])

        @agent.tool_plain
        async def search(q: str) -> str:
            """Searches the documents."""
            answer = await run.post("tools/search.read", json={"q": q})
            refused = answer.headers.get("content-type") == "application/problem+json"
            if refused and answer.json()["stop_reason"]:
                raise RunEnded(answer.json()["stop_reason"])
            return answer.json()["detail"] if refused else answer.text  # a sentence that the model can act on

        try:
            ended = await agent.run("Find out, and write it down.")
        except RunEnded as end:
            return {"stopped": str(end)}
    parts = [part for message in ended.all_messages() for part in message.parts]
    return {"answer": ended.output, "told": [str(part.content) for part in parts if isinstance(part, ToolReturnPart)]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
