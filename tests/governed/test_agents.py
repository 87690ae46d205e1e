"""An agent's stop, log and metrics through the SDK."""

from collections.abc import Callable
from typing import Any

import pytest
from onceonly.exceptions import ValidationError  # type: ignore[import-untyped]  # it ships no types

from tests.doors.conftest import Running
from tests.doors.tool_server import ToolServer, status
from tests.governed.sdk import Sdk


async def test_a_disabled_agent_is_stopped_at_every_door_until_it_is_enabled(
    running: Running, sdk: Sdk, tool: ToolServer
) -> None:
    found = await sdk(lambda c: c.gov.disable_agent("a1", reason="it spends too much"))
    assert (found.agent_id, found.is_enabled, found.disabled_reason) == ("a1", False, "it spends too much")
    assert found.disabled_at.endswith("Z")
    res = await sdk.run("search.read", "a1")
    assert (res.allowed, res.decision, res.policy_reason) == (False, "blocked", "agent_disabled")
    assert "it spends too much" in res.result["detail"]
    assert res.result["stop_reason"] == "agent_disabled"
    assert (await sdk.run("search.read", "a2")).allowed
    found = await sdk(lambda c: c.gov.enable_agent("a1"))
    assert (found.is_enabled, found.disabled_reason, found.disabled_at) == (True, None, None)
    assert (await sdk.run("search.read", "a1")).allowed
    flips = [event.fields for event in running.seen.events if event.name == "kill_switch"]
    assert [(flip["action"], flip["scope"], flip["source"]) for flip in flips] == [
        ("on", "agent:a1", "governed"),
        ("off", "agent:a1", "governed"),
    ]


async def test_enable_lifts_only_what_disable_set(running: Running, sdk: Sdk) -> None:
    await running.kill("agent:a1")
    await sdk(lambda c: c.gov.disable_agent("a1"))
    found = await sdk(lambda c: c.gov.enable_agent("a1"))
    assert (found.is_enabled, found.disabled_reason) == (False, "test")
    assert not (await sdk.run("search.read", "a1")).allowed
    await sdk(lambda c: c.gov.disable_agent("a1"))
    assert await running.restore("agent:a1") == 409
    assert not (await sdk.run("search.read", "a1")).allowed


async def test_what_the_admin_key_disabled_takes_it_to_enable(sdk: Sdk, admin: Sdk) -> None:
    await admin(lambda c: c.gov.disable_agent("a1"))
    with pytest.raises(ValidationError, match=r"disabled with governed\.admin_key"):
        await sdk(lambda c: c.gov.enable_agent("a1"))
    assert (await admin(lambda c: c.gov.enable_agent("a1"))).is_enabled


async def test_the_log_is_newest_first_without_arguments(running: Running, sdk: Sdk, tool: ToolServer) -> None:
    tool.replies = [status(500)]
    await sdk.run("notes.write", "a1", args={"card": "of-somebody"}, spend_usd=0.5)
    await sdk.run("search.read", "a1", args={"q": 1})
    await sdk.run("mail.send", "a1")
    await sdk.run("search.read", "a2")
    lines = await sdk(lambda c: c.gov.agent_logs("a1"))
    assert [(line.tool, line.allowed, line.decision, line.policy_reason, line.spend_usd) for line in lines] == [
        ("mail.send", False, "blocked", "tool_not_in_allowed_list", 0.0),
        ("search.read", True, "executed", "ok", 0.0),
        ("notes.write", True, "executed", "tool_error", 0.5),
    ]
    assert [line.risk_level for line in lines] == ["medium", "low", "medium"]
    assert lines[0].ts >= lines[1].ts >= lines[2].ts > 1e9
    assert lines[1].args_hash == running.seen.records[1].args_hash
    assert "somebody" not in str([line.raw for line in lines])
    assert [line.tool for line in await sdk(lambda c: c.gov.agent_logs("a1", limit=1))] == ["mail.send"]
    with pytest.raises(ValidationError, match="limit must be"):
        await sdk(lambda c: c.gov.agent_logs("a1", limit=501))


def _metrics(period: str) -> Callable[[Any], Any]:
    return lambda c: c.gov.agent_metrics("a1", period=period)


async def test_metrics_count_actions_refusals_spend_and_tools(sdk: Sdk) -> None:
    for n in range(3):
        await sdk.run("search.read", "a1", args={"n": n}, spend_usd=0.1)
    await sdk.run("search.read", "a1", args={"n": 0}, spend_usd=0.1)  # a repeat
    await sdk.run("notes.write", "a1")
    await sdk.run("mail.send", "a1")
    for period in ("hour", "day", "week"):
        found = await sdk(_metrics(period))
        assert (found.period, found.total_actions, found.blocked_actions) == (period, 4, 1)
        assert found.total_spend_usd == pytest.approx(0.3)
        assert found.top_tools == [{"tool": "search.read", "count": 3}, {"tool": "notes.write", "count": 1}]
    empty = await sdk(lambda c: c.gov.agent_metrics("nobody"))
    assert (empty.total_actions, empty.top_tools) == (0, [])
    with pytest.raises(ValidationError, match="period must be one of"):
        await sdk(lambda c: c.gov.agent_metrics("a1", period="year"))
