"""A policy of ten thousand tools is replaced under traffic: no call fails, and each is judged by the one or the other."""

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import eventually

TOOLS = 10_000
AGENTS = 100
RELOADS = 2
CALLERS = 8
PATIENCE = 60.0
"""Seconds until such a policy is in force; on a machine that does much else at once."""


def large(tool: ToolServer, allowed: str) -> str:
    """Ten thousand tools at one upstream; only those of this family may be called."""
    definitions = {
        f"{family}.t{number}": {"upstream": "u"} for family in ("even", "odd") for number in range(TOOLS // 2)
    }
    agents = {f"a{number}": {"budgets": {"AGENT_MAX_TOOL_CALLS": 1000}} for number in range(AGENTS)}
    return json.dumps(
        {
            "tools": {"allowlist": [f"{allowed}.*"], "definitions": definitions},
            "upstreams": {"u": {"url": tool.url}},
            "agents": {"default": {}, **agents},
        }
    )


class Traffic:
    """Calls of ever other tools and agents; remembers which policy answered which family how."""

    def __init__(self, running: Running) -> None:
        self.seen: set[tuple[str, str, int]] = set()
        self.calls = 0
        self._agent = running.agent

    async def call(self, caller: int) -> None:
        for number in range(caller, 10**9, CALLERS):
            family = ("even", "odd")[number // CALLERS % 2]
            headers = {"Agent-Id": f"a{number % AGENTS}"}
            path = f"/runs/r{number}/tools/{family}.t{number % (TOOLS // 2)}"
            async with self._agent.post(path, json={}, headers=headers) as answer:
                await answer.read()
                self.seen.add((answer.headers["Tool-Gateway-Policy"], family, answer.status))
                self.calls += 1


def put(folder: Path, text: str) -> None:
    (folder / ".new").write_text(text)
    (folder / ".new").rename(folder / "policy.yaml")


async def test_a_large_policy_replaced_under_traffic_fails_no_call(
    start: StartGateway, tool: ToolServer, tmp_path: Path
) -> None:
    texts = [large(tool, "even"), large(tool, "odd")]
    running = await start(texts[0])
    policies, traffic = running.gateway.policies, Traffic(running)
    versions = [policies.snapshot.version]
    async with asyncio.TaskGroup() as calls:
        callers = [calls.create_task(traffic.call(caller)) for caller in range(CALLERS)]
        for reload in range(1, RELOADS + 1):
            loaded, before = running.seen.names().count("policy_loaded"), traffic.calls
            put(tmp_path / "policies", texts[reload % 2])
            await eventually(lambda: running.seen.names().count("policy_loaded") > loaded, PATIENCE)  # noqa: B023  awaited at once
            versions.append(policies.snapshot.version)
            assert traffic.calls > before, "calls went on meanwhile"
            more = traffic.calls + 4 * CALLERS
            await eventually(lambda: traffic.calls > more, PATIENCE)  # noqa: B023  as above
        for caller in callers:
            caller.cancel()
    even, odd = versions[0], versions[1]
    assert versions == [even, odd, even]
    assert even != odd
    assert traffic.seen == {(even, "even", 200), (even, "odd", 403), (odd, "odd", 200), (odd, "even", 403)}
    assert "policy_rejected" not in running.seen.names()
    warnings = [str(event.fields["warnings"]) for event in running.seen.events if event.name == "policy_loaded"]
    assert not [told for told in warnings if "own process" in told], "each was compiled in another process"


async def test_a_large_policy_whose_process_is_killed_changes_nothing_for_calls(
    start: StartGateway, tool: ToolServer, tmp_path: Path
) -> None:
    running = await start(large(tool, "even"))
    policies, traffic = running.gateway.policies, Traffic(running)
    version, processes = policies.snapshot.version, policies._judge._processes
    async with asyncio.TaskGroup() as calls:
        callers = [calls.create_task(traffic.call(caller)) for caller in range(CALLERS)]
        put(tmp_path / "policies", large(tool, "odd"))
        await eventually(lambda: processes, PATIENCE)
        for process in list(processes):
            os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: policies.problems, PATIENCE)
        for caller in callers:
            caller.cancel()
    (line,) = policies.problems
    assert line.startswith("policy.yaml:1:1 the process that compiled it ended with signal 9")
    assert {(policy, status) for policy, family, status in traffic.seen if family == "even"} == {(version, 200)}
    async with running.operator.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["degraded"]) == (200, ["policy_rejected"])
    async with running.operator.post("/v1/policy/reload") as answer:
        assert (await answer.json())["ok"]
    assert policies.snapshot.version != version
