"""The incident: a policy that was changed under traffic failed requests, was not noticed, or was noticed and broken."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.doors.conftest import Running, StartGateway
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import eventually

PER_SECOND = 200
IN_EFFECT_WITHIN = 5.0
"""Seconds after a file changed. Promised is one; the rest is for machines that have other work."""
ENOUGH = 50
"""Answers under either policy."""
BROKEN = "tools:\n  allowlist: [search.read]\n  retries: {max: two}\n"


def rules(name: str, upstream: ToolServer, *tools: str) -> str:
    """A policy that allows these tools. Its upstream adds its name to each request: the rules that a call was made under."""
    definitions = {tool: {"effect": "read", "upstream": "tools"} for tool in tools}
    upstreams = {"tools": {"url": upstream.url, "headers": {"X-Rules": name}}}
    return json.dumps({"tools": {"allowlist": [*tools], "definitions": definitions}, "upstreams": upstreams})


class Judged(NamedTuple):
    """One answer of the traffic."""

    sent: float
    tool: str
    status: int
    policy: str
    rules: str | None


class Traffic:
    """Steady calls of two tools in turn, each in a run of its own, sent on time whether or not earlier ones were answered."""

    def __init__(self, running: Running) -> None:
        self.answers: list[Judged] = []
        self._agent = running.agent

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Fails with the first call that gets no answer."""
        async with asyncio.TaskGroup() as calls:
            source = calls.create_task(self._flow(calls))
            yield
            source.cancel()

    async def _flow(self, calls: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number, tool in enumerate(itertools.cycle(["old.tool", "new.tool"])):
            await asyncio.sleep(start + number / PER_SECOND - loop.time())
            calls.create_task(self._call(tool, f"r{number}"))

    async def _call(self, tool: str, run: str) -> None:
        sent = asyncio.get_running_loop().time()
        async with self._agent.post(f"/runs/{run}/tools/{tool}", json={}) as answer:
            await answer.read()
            policy, judged_by = answer.headers["Tool-Gateway-Policy"], answer.headers.get("X-Rules")
            self.answers.append(Judged(sent, tool, answer.status, policy, judged_by))


async def echo_rules(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.02)  # so that at any moment a few calls are in flight
    return web.json_response({}, headers={"X-Rules": request.headers["X-Rules"]})


def in_place(folder: Path, text: str) -> None:
    (folder / "policy.yaml").write_text(text)


def rename_over(folder: Path, text: str) -> None:
    (folder / ".policy.yaml.tmp").write_text(text)
    (folder / ".policy.yaml.tmp").rename(folder / "policy.yaml")


def symlink_swap(folder: Path, text: str) -> None:
    """As Kubernetes updates a mounted ConfigMap: policy.yaml never changes, the folder it points into does."""
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    (fresh / "policy.yaml").write_text(text)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").rename(folder / "..data")


def mount(folder: Path, text: str) -> None:
    folder.mkdir()
    symlink_swap(folder, text)
    (folder / "policy.yaml").symlink_to("..data/policy.yaml")


@pytest.mark.parametrize("change", [in_place, rename_over, symlink_swap])
async def test_a_changed_policy_fails_no_request_and_soon_holds_for_all(
    start: StartGateway, tool: ToolServer, tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    first, second = rules("first", tool, "old.tool"), rules("second", tool, "new.tool", "old.tool")
    if change is symlink_swap:
        mount(tmp_path / "policies", first)
    running = await start(first)
    tool.behaviour = echo_rules
    policies, traffic = running.gateway.policies, Traffic(running)
    before = policies.snapshot.version
    async with traffic.flowing():
        await eventually(lambda: len(traffic.answers) >= ENOUGH)
        changed = asyncio.get_running_loop().time()
        change(tmp_path / "policies", second)
        await eventually(lambda: policies.snapshot.version != before, IN_EFFECT_WITHIN)
        in_effect, after = asyncio.get_running_loop().time(), policies.snapshot.version
        await eventually(lambda: sum(answer.sent > in_effect for answer in traffic.answers) >= ENOUGH)
    made = {(answer.policy, answer.tool, answer.status, answer.rules) for answer in traffic.answers}
    assert made == {
        (before, "old.tool", 200, "first"),
        (before, "new.tool", 403, None),
        (after, "old.tool", 200, "second"),
        (after, "new.tool", 200, "second"),
    }
    assert {answer.policy for answer in traffic.answers if answer.sent < changed} == {before}
    assert {answer.policy for answer in traffic.answers if answer.sent > in_effect} == {after}
    assert running.seen.names().count("policy_loaded") == 2


async def degraded(running: Running) -> Any:
    async with running.operator.get("/readyz") as answer:
        assert answer.status == 200
        return (await answer.json())["degraded"]


async def policy_in_force(running: Running) -> Any:
    async with running.operator.get("/v1/policy") as answer:
        return await answer.json()


async def test_a_broken_policy_changes_nothing_and_is_reported_once(
    start: StartGateway, tool: ToolServer, tmp_path: Path
) -> None:
    good = rules("first", tool, "old.tool")
    running = await start(good)
    tool.behaviour = echo_rules
    traffic, version = Traffic(running), running.gateway.policies.snapshot.version
    line = 'policy.yaml:3:13 tools.retries.max: expected an integer 0..10, got "two"'
    async with traffic.flowing():
        in_place(tmp_path / "policies", BROKEN)
        await eventually(lambda: "policy_rejected" in running.seen.names(), IN_EFFECT_WITHIN)
        assert await degraded(running) == ["policy_rejected"]
        shown = await policy_in_force(running)
        assert (shown["version"], shown["rejected"]) == (version, [line])
        await asyncio.sleep(0.8)  # more than one look at the same broken file
        in_place(tmp_path / "policies", good)
        await eventually(lambda: not running.gateway.policies.problems, IN_EFFECT_WITHIN)
        assert await degraded(running) == []
    made = {(answer.policy, answer.tool, answer.status, answer.rules) for answer in traffic.answers}
    assert made == {(version, "old.tool", 200, "first"), (version, "new.tool", 403, None)}
    [told] = [event.fields for event in running.seen.events if event.name == "policy_rejected"]
    assert told["problems"] == [line]
    assert (told["file"], told["line"], told["column"], told["key"]) == ("policy.yaml", 3, 13, "tools.retries.max")
    await eventually(lambda: "policy_rejected" in (tmp_path / "log.jsonl").read_text())
    logged = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines() if "_rejected" in text]
    assert [(entry["line"], entry["column"], entry["problem"]) for entry in logged] == [
        (3, 13, 'expected an integer 0..10, got "two"')
    ]


async def test_a_policy_that_vanishes_leaves_the_last_one_in_force(start: StartGateway, tmp_path: Path) -> None:
    running = await start()
    version = running.gateway.policies.snapshot.version
    (tmp_path / "policies" / "policy.yaml").unlink()
    await eventually(lambda: "policy_rejected" in running.seen.names(), IN_EFFECT_WITHIN)
    async with running.agent.post("/tools/search.read", json={}) as answer:
        assert (answer.status, answer.headers["Tool-Gateway-Policy"]) == (200, version)


async def test_kill_switch_yaml_holds_while_it_is_there_and_keeps_its_last_word_while_it_is_broken(
    running: Running, tmp_path: Path
) -> None:
    file, version = tmp_path / "policies" / "kill_switch.yaml", running.gateway.policies.snapshot.version
    runs = itertools.count()

    async def reasons() -> dict[str, str]:
        told = {}
        for tool in ("search.read", "notes.write"):
            async with running.agent.post(f"/runs/r{next(runs)}/tools/{tool}", json={}) as answer:
                told[tool] = answer.headers["Tool-Gateway-Reason"]
                assert answer.headers["Tool-Gateway-Policy"] == version
        return told

    async def becomes(search: str, notes: str) -> None:
        async with asyncio.timeout(IN_EFFECT_WITHIN):
            while await reasons() != {"search.read": search, "notes.write": notes}:
                pass  # each question is a call over a socket

    file.write_text("disable_writes: true\nreason: the wiki is under attack\n")
    await becomes("ok", "kill_switch")
    async with running.agent.post("/tools/notes.write", json={}) as answer:
        assert "the wiki is under attack" in (await answer.json())["detail"]
    file.write_text("kill_switch: {disable_tools: [search.read]}")
    await becomes("kill_switch", "ok")
    file.write_text("disable_tools: [search.read\n")
    await eventually(lambda: "policy_rejected" in running.seen.names(), IN_EFFECT_WITHIN)
    await becomes("kill_switch", "ok")
    assert await degraded(running) == ["policy_rejected", "kill_switch"]
    assert [line.partition(" ")[0] for line in (await policy_in_force(running))["rejected"]] == ["kill_switch.yaml:2:1"]
    file.unlink()
    await becomes("ok", "ok")
    assert await degraded(running) == []
    flips = [event.fields for event in running.seen.events if event.name == "kill_switch"]
    assert [(flip["action"], flip["scope"]) for flip in flips] == [
        ("on", "writes"),
        ("off", "writes"),
        ("on", "tool:search.read"),
        ("off", "tool:search.read"),
    ]
    assert {flip["source"] for flip in flips} == {"kill_switch.yaml"}
