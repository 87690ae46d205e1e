"""The incident: an agent that called the same tool again whatever it heard, and a client library that tried each call again for it."""

import asyncio
import json
from collections import Counter

from tests.doors.conftest import Running
from tests.doors.tool_server import ToolServer, status
from tests.scenarios.installation import Installation, call

MORE_THAN_ENOUGH = 40


async def test_an_agent_that_never_stops_is_stopped_by_its_budget_and_told_so(
    running: Running, tool: ToolServer
) -> None:
    heard = []
    for _ in range(MORE_THAN_ENOUGH):
        async with running.agent.post("/runs/r1/tools/search.read", json={"q": "tea"}) as answer:
            heard.append(await answer.json())
    assert tool.calls == 12
    refusals = heard[12:]
    assert {refusal["reason"] for refusal in refusals} == {"max_tool_calls"}
    assert {refusal["stop_reason"] for refusal in refusals} == {"max_tool_calls"}
    assert "12 of its 12 tool calls" in refusals[0]["detail"]
    finished = [event.fields for event in running.seen.events if event.name == "run_finished"]
    assert [(each["run_id"], each["stop_reason"], each["tool_calls"]) for each in finished] == [
        ("r1", "max_tool_calls", 12)
    ]


async def test_an_agent_that_listens_ends_with_its_first_stop_reason(running: Running, tool: ToolServer) -> None:
    for turn in range(MORE_THAN_ENOUGH):
        async with running.agent.post(
            "/runs/r1/tools/search.read", json={}, headers={"Agent-Step": str(turn)}
        ) as answer:
            if (await answer.json()).get("stop_reason"):
                break
    assert (turn, tool.calls) == (12, 12)


async def test_a_client_that_retries_by_itself_does_not_repeat_a_spent_budget(
    running: Running, tool: ToolServer
) -> None:
    """It repeats what common client libraries repeat: 408, 409, 429 and 5xx, unless x-should-retry says no."""
    sent: Counter[int] = Counter()

    async def insisting(turn: int) -> int:
        for attempt in range(3):
            async with running.agent.post("/runs/r1/tools/search.read", json={"turn": turn}) as answer:
                sent[turn] += 1
                again = answer.status in (408, 409, 429) or answer.status >= 500
                if not again or answer.headers.get("x-should-retry") == "false":
                    return answer.status
                await asyncio.sleep(0.001 * attempt)
        return answer.status

    tool.replies += [status(500)]  # the tool's own error: the gateway does not repeat it, the client may
    statuses = [await insisting(turn) for turn in range(15)]
    assert statuses == [200] * 11 + [403] * 4
    assert sent == Counter({turn: 2 if turn == 0 else 1 for turn in range(15)})
    assert tool.calls == 12


async def test_a_thousand_parallel_calls_of_one_run_admit_twelve(installation: Installation, tool: ToolServer) -> None:
    await installation.begin()
    async with installation.agent() as agent:
        ends = Counter(await asyncio.gather(*(call(agent, "search.read", "r1") for _ in range(1000))))
        assert ends == Counter({(200, "ok"): 12, (403, "max_tool_calls"): 988})
        async with agent.post("/runs/r1/tools/search.read", json={}) as answer:
            problem = json.loads(await answer.read())
            assert answer.headers["Tool-Gateway-Remaining"].startswith("tool_calls=0, ")
    assert problem["stop_reason"] == "max_tool_calls"
    assert tool.calls == 12


async def test_a_thousand_parallel_steps_of_one_run_admit_twenty_five(installation: Installation) -> None:
    await installation.begin()

    async def step() -> int:
        async with agent.post("/_gateway/runs/r1/steps") as answer:
            return answer.status

    async with installation.agent() as agent:
        assert Counter(await asyncio.gather(*(step() for _ in range(1000)))) == Counter({200: 25, 403: 975})
