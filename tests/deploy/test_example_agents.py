"""deploy/examples: both agents against a real gateway end for each stop reason, by their own budgets and by the gateway's."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from gateway.demo import ToolServer
from gateway.settings import Address
from tests.deploy.stack import GatewayProcess, ask, clean_environment

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy/examples"
COMMANDS = {"python": [sys.executable, str(EXAMPLES / "agent.py")], "javascript": ["node", str(EXAMPLES / "agent.mjs")]}
MANY = {"AGENT_MAX_STEPS": "1000", "AGENT_MAX_TOOL_CALLS": "1000", "AGENT_MAX_SECONDS": "1000"}
SEARCH = {"tool": "search.read", "arguments": {"q": "budgets"}}

Json = dict[str, Any]
ServerOf = Callable[[web.Application], Awaitable[TestServer]]


@pytest.fixture(params=["python", pytest.param("javascript", marks=pytest.mark.needs("node"))])
def command(request: pytest.FixtureRequest) -> list[str]:
    return COMMANDS[request.param]


@pytest.fixture
def tools() -> ToolServer:
    return ToolServer()


@pytest.fixture
async def upstream(tools: ToolServer, aiohttp_server: ServerOf) -> str:
    server = await aiohttp_server(tools.app)
    return str(server.make_url("")).rstrip("/")


@pytest.fixture
def gateway(tmp_path: Path, upstream: str) -> Iterator[GatewayProcess]:
    """With budgets that no run here uses up."""
    with GatewayProcess(tmp_path / "gateway", upstream, environment=MANY) as gateway:
        yield gateway


def environment(data: Address, **budgets: str) -> dict[str, str]:
    return clean_environment(TOOL_BASE_URL=f"http://{data}", PYTHONUNBUFFERED="1", **MANY | budgets)


async def run(command: list[str], data: Address, task: Json, **budgets: str) -> Json:
    """The result that the agent prints for a task."""
    process = await asyncio.create_subprocess_exec(
        *command, json.dumps(task), env=environment(data, **budgets), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    result: Json = json.loads(output)
    return result


def run_at(gateway: GatewayProcess, run_id: str) -> Json:
    """What the gateway knows of the run."""
    status, run = ask(gateway.data, "GET", f"/_gateway/runs/{run_id}")
    assert status == 200
    assert isinstance(run, dict)
    return run


async def test_a_plan_carried_out_ends_with_finish(
    command: list[str], gateway: GatewayProcess, tools: ToolServer
) -> None:
    result = await run(command, gateway.data, {"plan": [[SEARCH], [], [SEARCH, SEARCH]]})

    assert (result["stop_reason"], result["steps"], result["tool_calls"]) == ("finish", 3, 3)
    assert [observation["status"] for observation in result["observations"]] == [200, 200, 200]
    assert "A run has steps" in result["observations"][0]["result"]
    assert tools.received == {"search.read": 3}
    assert run_at(gateway, result["id"])["stop_reason"] == "finish"


async def test_nothing_can_be_called_in_the_name_of_a_finished_run(command: list[str], gateway: GatewayProcess) -> None:
    result = await run(command, gateway.data, {"plan": [[SEARCH]]})

    status, problem = await asyncio.to_thread(
        ask, gateway.data, "POST", f"/runs/{result['id']}/tools/search.read", {"q": "x"}
    )
    assert (status, problem["reason"]) == (403, "run_finished")


@pytest.mark.parametrize(
    ("plan", "budget", "count", "stop_reason"),
    [
        ([[]], {"AGENT_MAX_STEPS": "3"}, ("steps", 3), "max_steps"),
        ([[SEARCH, SEARCH]], {"AGENT_MAX_TOOL_CALLS": "3"}, ("tool_calls", 3), "max_tool_calls"),
        ([[{"tool": "slow"}]], {"AGENT_MAX_SECONDS": "1"}, ("steps", 1), "max_seconds"),
    ],
)
class TestALostModel:
    """It would go on for ever. Each budget ends it, whoever holds the budget: agent or gateway."""

    async def test_is_ended_by_its_own_budget(
        self,
        command: list[str],
        gateway: GatewayProcess,
        plan: list[Json],
        budget: dict[str, str],
        count: tuple[str, int],
        stop_reason: str,
    ) -> None:
        result = await run(command, gateway.data, {"plan": plan, "repeat": True}, **budget)

        assert (result["stop_reason"], result[count[0]]) == (stop_reason, count[1])
        assert run_at(gateway, result["id"])["stop_reason"] == stop_reason

    async def test_is_ended_by_the_gateways_budget(
        self,
        command: list[str],
        tmp_path: Path,
        upstream: str,
        plan: list[Json],
        budget: dict[str, str],
        count: tuple[str, int],
        stop_reason: str,
    ) -> None:
        with GatewayProcess(tmp_path / "gateway", upstream, environment=MANY | budget) as gateway:
            result = await run(command, gateway.data, {"plan": plan, "repeat": True})

            assert (result["stop_reason"], result[count[0]]) == (stop_reason, count[1])
            assert run_at(gateway, result["id"])["stop_reason"] == stop_reason


async def test_a_refused_tool_is_told_to_the_model_and_the_run_goes_on(
    command: list[str], gateway: GatewayProcess, tools: ToolServer
) -> None:
    result = await run(command, gateway.data, {"plan": [[{"tool": "shell.run"}], [SEARCH]]})

    refused, found = result["observations"]
    assert (refused["refused"], found["status"]) == ("tool_not_allowed", 200)
    assert "shell.run" in refused["detail"]
    assert result["stop_reason"] == "finish"
    assert tools.received == {"search.read": 1}


async def test_under_the_shipped_policy_a_model_that_repeats_itself_is_told_so(
    command: list[str], tmp_path: Path, upstream: str, tools: ToolServer
) -> None:
    policy = (EXAMPLES.parents[1] / "policies/policy.yaml").read_text()
    with GatewayProcess(tmp_path / "gateway", upstream, policy) as gateway:
        result = await run(command, gateway.data, {"plan": [[{"tool": "search.read"}]], "repeat": True})

        assert result["stop_reason"] == "loop_detected"
        assert run_at(gateway, result["id"])["stop_reason"] == "loop_detected"
    assert tools.received == {"search.read": 5}


async def test_a_tools_own_error_is_its_answer(command: list[str], gateway: GatewayProcess, tools: ToolServer) -> None:
    result = await run(command, gateway.data, {"plan": [[{"tool": "flaky"}]]})

    assert [(o["status"], "not now" in o["result"]) for o in result["observations"]] == [(503, True)]
    assert tools.received == {"flaky": 1}


async def test_the_kill_switch_ends_the_run(command: list[str], gateway: GatewayProcess, tools: ToolServer) -> None:
    status, _ = await asyncio.to_thread(
        gateway.operate, "POST", "/v1/kill-switches", {"scope": "all", "reason": "a drill"}
    )
    assert status < 300

    result = await run(command, gateway.data, {"plan": [[SEARCH]], "repeat": True})

    assert result["stop_reason"] == "kill_switch"
    assert tools.received == {}


async def test_without_a_gateway_nothing_is_called(command: list[str], tools: ToolServer) -> None:
    result = await run(command, Address("127.0.0.1", 9), {"plan": [[SEARCH]]})

    assert result["stop_reason"] == "gateway_unreachable"
    assert result["tool_calls"] == 0


class Waiting:
    """What a gateway answers where waiting helps, and where it does not: refusals that no gateway gives at will."""

    def __init__(self) -> None:
        self.calls = 0
        self.app = web.Application()
        self.app.router.add_post("/runs/{run}/tools/{tool}", self.tool)
        self.app.router.add_post("/_gateway/{rest:.*}", self.control)

    async def tool(self, request: web.Request) -> web.Response:
        self.calls += 1
        headers = {"Retry-After": "1", "Tool-Gateway-Reason": "rate_limited"}
        if request.match_info["tool"] == "never":
            return web.json_response(
                {"reason": "x", "retryable": True}, status=429, headers=headers | {"x-should-retry": "false"}
            )
        if self.calls == 1:
            return web.json_response({"reason": "rate_limited", "retryable": True}, status=429, headers=headers)
        return web.json_response({"done": True}, headers={"Tool-Gateway-Reason": "ok"})

    async def control(self, _request: web.Request) -> web.Response:
        return web.json_response({})


@pytest.mark.parametrize(("tool", "calls", "seen"), [("soon", 2, "status"), ("never", 1, "refused")])
async def test_only_what_may_be_repeated_is_repeated(
    command: list[str], aiohttp_server: ServerOf, tool: str, calls: int, seen: str
) -> None:
    waiting = Waiting()
    server = await aiohttp_server(waiting.app)

    result = await run(command, Address("127.0.0.1", server.port or 0), {"plan": [[{"tool": tool}]]})

    assert (waiting.calls, result["tool_calls"], result["stop_reason"]) == (calls, calls, "finish")
    assert [seen in observation for observation in result["observations"]] == [True]


@pytest.fixture
async def served(command: list[str], gateway: GatewayProcess) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The agent as a service, and its address."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(gateway.data) | {"PORT": "0"}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    yield process, line.decode().split()[2].rstrip(",")
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_as_a_service_it_tells_its_health_runs_tasks_and_ends_on_sigterm(
    served: tuple[asyncio.subprocess.Process, str],
) -> None:
    process, url = served
    async with ClientSession() as session:
        async with session.get(f"{url}/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        async with session.post(f"{url}/tasks", json={"plan": [[SEARCH]]}) as answer:
            assert (answer.status, (await answer.json())["stop_reason"]) == (200, "finish")
        async with session.post(f"{url}/tasks", data=b"no task") as answer:
            assert answer.status == 400

    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
