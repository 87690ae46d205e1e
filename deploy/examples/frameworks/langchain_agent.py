"""A LangChain agent behind the gateway: one HTTP tool and all tools of one MCP server. It needs a base URL, nothing else.

    python langchain_agent.py '[["search", {"q": "budgets"}], ["note", {"text": "hello"}], "That is all."]'

The argument stands in for the model: the tools it calls, one after the other, and its last word. Put a real one in its place:
`create_agent("openai:gpt-5", ...)`.
"""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langchain_mcp_adapters.client import MultiServerMCPClient

TOOL_BASE_URL = os.environ.get("TOOL_BASE_URL", "http://127.0.0.1:8080")


class RunEnded(Exception):
    """The gateway's stop reason."""


class Scripted(BaseChatModel):
    """A model that says what it was told to say."""

    script: list[Any]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_options: Any) -> "Scripted":  # noqa: ARG002  a script needs no list of tools
        return self

    def _generate(self, messages: list[BaseMessage], *_given: Any, **_options: Any) -> ChatResult:
        line = self.script[sum(isinstance(message, AIMessage) for message in messages)]
        if isinstance(line, str):
            said = AIMessage(line)
        else:
            said = AIMessage("", tool_calls=[ToolCall(name=line[0], args=line[1], id=str(uuid.uuid4()))])
        return ChatResult(generations=[ChatGeneration(message=said)])


def http_tools(run: httpx.AsyncClient) -> list[BaseTool]:
    """For one run: its base URL is in the client."""

    @tool
    async def search(q: str) -> str:
        """Searches the documents."""
        answer = await run.post("tools/search.read", json={"q": q})
        refused = answer.headers.get("content-type") == "application/problem+json"
        if refused and answer.json()["stop_reason"]:
            raise RunEnded(answer.json()["stop_reason"])
        return answer.json()["detail"] if refused else answer.text  # a sentence that the model can act on

    return [search]


async def main(script: list[Any]) -> dict[str, Any]:
    """One task; how it ended."""
    base = f"{TOOL_BASE_URL}/runs/{uuid.uuid4()}/"  # a run of its own: its own budgets, and its own line in the console
    notes = MultiServerMCPClient({"notes": {"transport": "streamable_http", "url": f"{base}mcp/notes"}})
    async with httpx.AsyncClient(base_url=base, timeout=60) as run:
        agent = create_agent(Scripted(script=script), [*http_tools(run), *await notes.get_tools()])
        try:
            ended = await agent.ainvoke({"messages": [("user", "Find out, and write it down.")]})
        except RunEnded as end:
            return {"stopped": str(end)}
    told = [message.text for message in ended["messages"] if isinstance(message, ToolMessage)]
    return {"answer": ended["messages"][-1].text, "told": told}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
