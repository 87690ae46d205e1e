"""The unmodified OnceOnly SDK for tests of the governed door, and a policy that opens it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from onceonly import OnceOnly  # type: ignore[import-untyped]  # it ships no types

from tests.doors.tool_server import ToolServer

KEY, ADMIN_KEY = "an-api-key-for-tests", "an-admin-key-for-tests"
KEYS = {"API_KEY": KEY, "ADMIN_KEY": ADMIN_KEY}
T = TypeVar("T")
opened: list[Any] = []


def policy(tool: ToolServer, *, definitions: dict[str, Any] | None = None, **more: Any) -> str:
    governed = {
        "enabled": True,
        "api_key": "${env:API_KEY}",
        "admin_key": "${env:ADMIN_KEY}",
        **more.pop("governed", {}),
    }
    named = {"search.read": {"effect": "read"}, "notes.write": {}, "http.get": {}, **(definitions or {})}
    return json.dumps(
        {
            "tools": {
                "allowlist": more.pop("allowlist", [*named]),
                "retries": {"max": 2, "backoff_ms": [5, 10]},
                "definitions": {name: definition for name, definition in named.items() if definition},
            },
            "egress": {
                "allow_hosts": ["127.0.0.1"],
                "ports": [int(tool.url.rpartition(":")[2])],
                "allow_private": ["127.0.0.0/8"],
            },
            "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 1000}},
            "governed": governed,
            **more,
        }
    )


class Sdk:
    """The sync client, in a thread, since the gateway has this one."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = OnceOnly(**{"api_key": KEY, "base_url": url, **options})
        opened.append(self.client)

    async def __call__(self, ask: Callable[[OnceOnly], T]) -> T:
        return await asyncio.to_thread(ask, self.client)

    async def run(self, tool: str = "search.read", agent: str = "billing-agent", **more: Any) -> Any:
        return await self(lambda client: client.ai.run_tool(agent_id=agent, tool=tool, **more))
