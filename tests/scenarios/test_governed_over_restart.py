"""The incident: the sidecar was restarted, and with it went the policies, stops and tools that had been set through the SDK."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from onceonly import OnceOnly  # type: ignore[import-untyped]  # it ships no types

from tests.doors.tool_server import ToolServer
from tests.governed.sdk import ADMIN_KEY, KEY, KEYS, policy
from tests.scenarios.installation import Installation, ended


@pytest.fixture
async def governed(installation: Installation, tool: ToolServer) -> Installation:
    text = policy(tool, allowlist=["search.read", "notes.write", "refund.*"])
    installation.write_policy(json.loads(text))
    installation.environment |= KEYS
    return installation


@pytest.fixture
def ask(governed: Installation) -> Callable[..., Any]:
    """A question to the process of the moment, with a client of its own."""

    async def asked(question: Callable[[Any], Any], key: str = ADMIN_KEY) -> Any:
        def once() -> Any:
            with OnceOnly(api_key=key, base_url=governed.data, timeout=15) as client:
                return question(client)

        return await asyncio.to_thread(once)

    return asked


def run(name: str, agent: str = "a1", **more: Any) -> Callable[[Any], Any]:
    return lambda client: client.ai.run_tool(agent_id=agent, tool=name, **more)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_what_was_set_stands_after_the_next_start(
    governed: Installation, tool: ToolServer, ask: Callable[..., Any], end: signal.Signals
) -> None:
    process = await governed.begin()
    limits = {"agent_id": "a1", "max_actions_per_hour": 2, "blocked_tools": ["notes.write"]}
    await ask(lambda c: c.gov.upsert_policy(limits), KEY)
    await ask(lambda c: c.gov.disable_agent("a2", "enough"), KEY)
    secret = "a-shared-secret-of-the-tests"
    hook = {"name": "refund.create", "url": f"{tool.url}/hook", "auth": {"type": "hmac_sha256", "secret": secret}}
    shown = await ask(lambda c: c.gov.create_tool(hook))
    assert (await ask(run("search.read", args={"n": 1}), KEY)).allowed
    assert (await ask(lambda c: c.check_lock("order:7"), KEY)).locked
    held, done = [await ask(lambda c, key=key: c.ai.lease(key), KEY) for key in ("held", "done")]
    await ask(lambda c: c.ai.complete("done", done["lease_id"], result={"answer": 42}), KEY)
    await ended(process, end)

    await governed.begin()
    assert (await ask(lambda c: c.check_lock("order:7"), KEY)).duplicate
    assert (await ask(lambda c: c.ai.lease("held"), KEY))["status"] == "polling"
    assert (await ask(lambda c: c.ai.extend("held", held["lease_id"]), KEY))["status"] == "extended"
    assert (await ask(lambda c: c.ai.result("done"), KEY)).result == {"answer": 42}
    if end is signal.SIGTERM:  # a crash may take what was told of the last second
        assert [line.tool for line in await ask(lambda c: c.gov.agent_logs("a1"))] == ["search.read"]
        assert (await ask(lambda c: c.gov.agent_metrics("a1"))).total_actions == 1
    assert (await ask(lambda c: c.gov.get_policy("a1"))).max_actions_per_hour == 2
    assert await ask(lambda c: c.gov.get_tool("refund.create")) == shown
    assert (await ask(run("notes.write"), KEY)).policy_reason == "tool_explicitly_blocked"
    assert (await ask(run("search.read", "a2"), KEY)).policy_reason == "agent_disabled"
    assert (await ask(run("refund.create", args={"order": 7}), KEY)).ok
    assert (await ask(run("search.read", args={"n": 2}), KEY)).policy_reason == "max_actions_per_hour_exceeded"
    assert [request.path for request in tool.received] == ["/search.read", "/hook"]
    assert "X-OnceOnly-Signature" in tool.received[1].headers
    assert secret not in governed.log.read_text()
    assert (await ask(lambda c: c.gov.enable_agent("a2"), KEY)).is_enabled
    assert (await ask(lambda c: c.gov.delete_tool("refund.create")))["ok"]


async def test_a_state_that_cannot_be_read_keeps_the_gateway_from_starting(
    governed: Installation, ask: Callable[..., Any]
) -> None:
    process = await governed.begin()
    await ask(lambda c: c.gov.upsert_policy({"agent_id": "a1", "max_actions_per_hour": 2}))
    await ended(process, signal.SIGTERM)
    with sqlite3.connect(governed.folder / "gateway.db") as state:
        state.execute('UPDATE notes SET value = \'{"agent_id": "a1", "max_actions_per_hour": "two"}\'')
    state.close()
    answer = await governed.run("serve")
    assert answer.code == 2
    assert "the policy of a1, set at /v1, cannot be read (max_actions_per_hour: expected an integer" in answer.err
