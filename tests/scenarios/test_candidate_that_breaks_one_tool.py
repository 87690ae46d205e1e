"""The incident: a policy change broke one tool for some agents, and nobody noticed until it was in force for all of them."""

import asyncio
import itertools
import json
import signal
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from gateway.state.rollout import is_chosen
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation, call, ended, eventually

PERCENT = 30
TOOLS: dict[str, Any] = {"search.read": {"effect": "read"}, "notes.write": {"effect": "write", "path": "/notes"}}
ROLLED_BACK = "candidate_rolled_back"


def tools(**changed: Any) -> dict[str, Any]:
    definitions = TOOLS | {name.replace("_", "."): definition for name, definition in changed.items()}
    return {"allowlist": [*TOOLS], "retries": {"max": 0}, "definitions": definitions}


def policy(**rollout: Any) -> dict[str, Any]:
    return {"tools": tools(), "rollout": {"canary_percent": PERCENT, "min_calls": 30, **rollout}}


BROKEN_HALF = tools(notes_write={"effect": "write", "path": "/broken"})
REFUSED = tools() | {"denylist": ["notes.*"]}
HARMLESS = tools(notes_write={"effect": "write", "path": "/notes", "timeout_ms": 5000})


def half_broken() -> Any:
    turns = itertools.cycle([200, 500])

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, status=next(turns) if request.path == "/broken" else 200)

    return answer


async def broken(request: web.Request) -> web.StreamResponse:
    return web.json_response({}, status=500 if request.path == "/broken" else 200)


class Agents:
    """Tasks that each search and then write, as many at once as a small team has."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._number = itertools.count()
        self.ends: Counter[tuple[bool, str, int, str]] = Counter()
        """By whether the run was one of the candidate's share, tool, status and reason."""

    async def work(self, tasks: int) -> None:
        async with self._installation.agent() as agent, asyncio.TaskGroup() as group:
            turns = asyncio.Semaphore(8)

            async def task(run: str) -> None:
                async with turns:
                    for tool in TOOLS:
                        end = await call(agent, tool, run)
                        self.ends[is_chosen("default", run, PERCENT), tool, *end] += 1

            for _ in range(tasks):
                group.create_task(task(f"task-{next(self._number)}"))

    def of(self, *, chosen: bool) -> set[tuple[str, int, str]]:
        return {(tool, status, reason) for share, tool, status, reason in self.ends if share is chosen}


async def trial(installation: Installation) -> Any:
    async with installation.operator() as operator, operator.get("/v1/rollout") as answer:
        return await answer.json()


async def degraded(installation: Installation) -> Any:
    async with installation.operator() as operator, operator.get("/readyz") as answer:
        assert answer.status == 200
        return (await answer.json())["degraded"]


def actions(installation: Installation) -> list[str]:
    return [line["action"] for line in installation.lines("rollout")]


@pytest.mark.parametrize(
    ("candidate", "hurt"),
    [(BROKEN_HALF, ("notes.write", 500, "tool_error")), (REFUSED, ("notes.write", 403, "tool_not_allowed"))],
    ids=["half-of-its-calls-fail", "refused"],
)
async def test_it_is_rolled_back_by_itself_and_remembered(
    installation: Installation, tool: ToolServer, candidate: dict[str, Any], hurt: tuple[str, int, str]
) -> None:
    tool.behaviour = half_broken()
    installation.write_policy(policy())
    installation.write_policy({"tools": candidate}, "candidate.yaml")
    process = await installation.begin()
    agents = Agents(installation)
    assert (await trial(installation))["state"] == "canary"
    for _ in range(20):
        await agents.work(40)
        if "rolled_back" in actions(installation):
            break
        await asyncio.sleep(0.2)  # the decision is taken once a second
    [told] = [line for line in installation.lines("rollout") if line["action"] == "rolled_back"]
    assert min(told["candidate_calls"], told["live_calls"]) >= 30
    share = told["candidate_errors"] / told["candidate_calls"] - told["live_errors"] / told["live_calls"]
    assert share > 0.05
    assert f"{told['candidate_errors']} of {told['candidate_calls']} calls under the candidate" in told["reason"]
    assert agents.of(chosen=False) == {("search.read", 200, "ok"), ("notes.write", 200, "ok")}, (
        "live runs are untouched"
    )
    assert hurt in agents.of(chosen=True)
    assert await degraded(installation) == [ROLLED_BACK]

    agents.ends.clear()
    await agents.work(40)
    assert agents.of(chosen=True) == agents.of(chosen=False) == {("search.read", 200, "ok"), ("notes.write", 200, "ok")}

    await ended(process, signal.SIGKILL)
    await installation.begin()
    after = await trial(installation)
    assert (after["state"], after["rolled_back"]["reason"]) == ("rolled_back", told["reason"])
    assert await degraded(installation) == [ROLLED_BACK]
    await agents.work(20)
    assert agents.of(chosen=True) == {("search.read", 200, "ok"), ("notes.write", 200, "ok")}
    assert actions(installation) == ["started", "rolled_back"]

    installation.write_policy({"tools": HARMLESS}, "candidate.yaml")
    await eventually(lambda: actions(installation)[-1] == "started")
    assert (await trial(installation))["state"] == "canary"
    assert await degraded(installation) == []


async def test_a_candidate_that_is_no_worse_stays(installation: Installation, tool: ToolServer) -> None:
    """Its upstream fails as often for the live runs: that is not the candidate's doing."""
    tool.behaviour = broken
    installation.write_policy({**policy(rollback_on_error_rate=0.2), "tools": BROKEN_HALF})
    candidate = BROKEN_HALF | {"timeouts_ms": {"default": 5000}}
    installation.write_policy({"tools": candidate, "egress": {"allow_hosts": ["a.example"]}}, "candidate.yaml")
    await installation.begin()
    agents = Agents(installation)
    await agents.work(120)
    await asyncio.sleep(1.5)  # at least one look at the figures
    figures = await trial(installation)
    assert figures["state"] == "canary"
    assert min(figures["candidate"]["errors"], figures["live"]["errors"]) > 0
    assert actions(installation) == ["started"]


async def test_the_log_says_of_each_call_what_the_candidate_made_of_it(
    installation: Installation, tool: ToolServer
) -> None:
    installation.write_policy(policy(min_calls=1_000_000))
    installation.write_policy({"tools": REFUSED}, "candidate.yaml")
    process = await installation.begin()
    await Agents(installation).work(40)
    await ended(process, signal.SIGTERM)
    told = Counter(
        (is_chosen("default", line["run_id"], PERCENT), line["tool"], line["candidate"])
        for line in installation.lines("tool_call")
    )
    assert set(told) == {
        (True, "search.read", "canary"),
        (True, "notes.write", "denied:tool_not_allowed"),
        (False, "search.read", "same"),
        (False, "notes.write", "would_deny:tool_not_allowed"),
    }
    assert sum(told.values()) == 80
    assert json.dumps(installation.lines("rollout")[0]["changes"]) == '["tools.denylist"]'
