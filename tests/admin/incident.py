"""A gateway that five agents work through, four of them as they should: what an operator is called to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from aiohttp.test_utils import TestServer

from gateway.demo import ToolServer
from tests.admin.admin_plane import Operator, started

PACE = 0.05
"""Seconds between two calls of an agent."""
POLICY = """
tools:
  allowlist: [search.read, notes.write, refunds.write, vision.read, slow]
  denylist: ["shell.*"]
  definitions:
    search.read: {{effect: read, path: /search.read}}
    notes.write: {{effect: write, path: /notes.write, methods: [POST]}}
    refunds.write: {{effect: write, path: /fail, methods: [POST]}}
    vision.read: {{effect: read, path: /search.read, cost_usd: 0.25}}
    slow: {{effect: read, path: /slow, max_concurrency: 1}}
upstreams: {{default: {{url: "{tools}"}}}}
agents:
  default: {{allowlist: []}}
  billing-agent: {{max_actions_per_hour: 20000}}
  research-agent: {{max_spend_usd_per_day: 5.0}}
  support-agent: {{}}
  ops-agent: {{}}
  mail-agent: {{}}
"""


class Trouble(NamedTuple):
    """What one agent does instead of its work, and the word its calls end with."""

    agent: str
    tool: str
    reason: str
    calls_a_run: int


FAILING_WRITE = Trouble("billing-agent", "refunds.write", "tool_error", 8)
FORBIDDEN_TOOL = Trouble("ops-agent", "shell.run", "tool_not_allowed", 8)
SPENDING = Trouble("research-agent", "vision.read", "max_spend_usd_per_day", 3)


_looks = count()


class Incident(NamedTuple):
    """What goes on, and the way to look at it."""

    operator: Operator
    trouble: Trouble

    async def until_it_shows(self) -> None:
        """The agent is named for the reason that its calls come to in the end."""
        reason = None
        while reason != self.trouble.reason:
            status = await self.operator.get("/v1/status")
            assert isinstance(status["in_trouble"], list)
            reason = next((one["reason"] for one in status["in_trouble"]), None)

    async def call(self, agent: str, tool: str) -> str:
        """The reason that one more call ends for, in a run of its own."""
        headers = {"Agent-Id": agent, "Agent-Run-Id": f"look-{next(_looks)}"}
        url = f"{self.operator.gateway.data_url}/tools/{tool}"
        async with self.operator.session.post(url, json={"q": "x", "text": "x"}, headers=headers) as answer:
            await answer.read()
            return answer.headers["Tool-Gateway-Reason"]


async def _work(operator: Operator, agent: str, calls: Iterator[tuple[str, str]]) -> None:
    """One agent's loop: a tool and a run at a time, whatever it is told."""
    for tool, run in calls:
        headers = {"Agent-Id": agent, "Agent-Run-Id": run}
        url = f"{operator.gateway.data_url}/tools/{tool}"
        async with operator.session.post(url, json={"q": "budgets", "text": run}, headers=headers) as answer:
            await answer.read()
        await asyncio.sleep(PACE)


def _daily(agent: str, tool: str) -> Iterator[tuple[str, str]]:
    """Eight calls a run; now and then one that is refused, as happens to the best."""
    for number in count():
        yield ("echo" if number % 40 == 20 else tool), f"{agent.partition('-')[0]}-{number // 8}"


def _bent(trouble: Trouble) -> Iterator[tuple[str, str]]:
    """Whenever a run of it ends it begins another, so that no budget of a run holds it."""
    for number in count():
        yield trouble.tool, f"task-{number // trouble.calls_a_run}"


@asynccontextmanager
async def incident(folder: Path, trouble: Trouble) -> AsyncIterator[Incident]:
    """As long as somebody looks."""
    async with TestServer(ToolServer().app) as tools:
        policies = folder / "policies"
        policies.mkdir()
        (policies / "policy.yaml").write_text(POLICY.format(tools=f"http://127.0.0.1:{tools.port}"))
        async with started(folder) as operator, asyncio.TaskGroup() as agents:
            usual = {"support-agent": "search.read", "mail-agent": "notes.write", "research-agent": "search.read"}
            usual |= {"billing-agent": "notes.write", "ops-agent": "search.read"}
            tasks = [
                agents.create_task(
                    _work(operator, agent, _bent(trouble) if agent == trouble.agent else _daily(agent, tool))
                )
                for agent, tool in usual.items()
            ]
            try:
                yield Incident(operator, trouble)
            finally:
                for task in tasks:
                    task.cancel()
