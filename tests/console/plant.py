"""A gateway with the toy tools behind it, three agents that use them, and an operator's token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp.test_utils import TestServer

from gateway.demo import ToolServer
from tests.admin.admin_plane import Operator, started

POLICY = """
runtime: {{env: {{AGENT_MAX_TOOL_CALLS: 40, AGENT_MAX_SECONDS: 900}}}}
runs: {{max_usd: 0.25}}
tools:
  allowlist: ["search.read", "notes.write", "flaky", "echo"]
  retries: {{max: 2, backoff_ms: [20, 40]}}
  definitions:
    search.read: {{effect: read, upstream: search, path: /search.read, cost_usd: 0.004}}
    notes.write: {{effect: write, upstream: search, path: /notes.write, methods: [POST]}}
    flaky: {{effect: read, upstream: crm, path: /flaky, max_identical_calls: 4}}
    echo: {{effect: read, upstream: crm, path: /echo}}
upstreams:
  search: {{url: "{tools}"}}
  crm: {{url: "{tools}"}}
agents:
  default: {{allowlist: []}}
  support-agent: {{max_actions_per_hour: 400, max_calls_per_tool: {{notes.write: 200}}}}
  research-agent: {{max_actions_per_hour: 300, max_spend_usd_per_day: 2.0}}
  billing-agent: {{max_actions_per_hour: 100, allowlist: ["search.read", "flaky"]}}
"""
CANDIDATE = """
tools:
  allowlist: ["search.read", "notes.write", "echo"]
  retries: {{max: 1, backoff_ms: [20]}}
  definitions:
    search.read: {{effect: read, upstream: search, path: /search.read, cost_usd: 0.004, rate: {{per_second: 20, burst: 20}}}}
    notes.write: {{effect: write, upstream: search, path: /notes.write, methods: [POST]}}
    echo: {{effect: read, upstream: crm, path: /echo}}
"""


class Plant:
    """Calls go through the data plane."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.url = operator.gateway.admin_url + "/"

    async def call(
        self, tool: str, agent: str = "support-agent", run: str = "ticket-1", body: object = None
    ) -> tuple[int, str]:
        """Status and reason."""
        headers = {"Agent-Id": agent, "Agent-Run-Id": run}
        url = f"{self.operator.gateway.data_url}/tools/{tool}"
        async with self.operator.session.post(url, json=body or {"q": "x", "text": "x"}, headers=headers) as answer:
            await answer.read()
            return answer.status, answer.headers["Tool-Gateway-Reason"]


@asynccontextmanager
async def plant(folder: Path, *, candidate: bool = False) -> AsyncIterator[Plant]:
    async with TestServer(ToolServer().app) as tools:
        policies = folder / "policies"
        policies.mkdir()
        url = f"http://127.0.0.1:{tools.port}"
        (policies / "policy.yaml").write_text(POLICY.format(tools=url))
        if candidate:
            (policies / "candidate.yaml").write_text(CANDIDATE.format(tools=url))
        async with started(folder) as operator:
            yield Plant(operator)
