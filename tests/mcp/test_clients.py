"""The MCP door with the clients that people use, each on the wires it speaks, in front of a real server."""

import asyncio
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.doors.conftest import Running, StartGateway
from tests.mcp.agents import Broken, PythonAgent, Result
from tests.mcp.conftest import KINDS, ConnectAgent, door, policy_for
from tests.mcp.servers import EverythingServer, FixtureServer
from tests.mcp.test_differences import call, session_of

RUN = {"Agent_Run_Id": "r1"}
REASON = "tool-gateway/reason"
HANDSHAKE = [kind for kind in KINDS if kind.endswith("2025")]


def refused_for(result: Result, reason: str) -> bool:
    """An isError result that tells the model why, in words and in `_meta`."""
    return result.is_error and result.text.startswith(f"{reason}: ") and result.meta[REASON] == reason


async def test_only_allowed_tools_are_listed_and_can_be_called(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url, "look_up", "region", "fail"))

    async with agent_of(door(running)) as agent:
        assert sorted(await agent.list()) == ["fail", "look_up", "region"]
        assert refused_for(await agent.call("drop", table="users"), "tool_not_allowed")
        assert (await agent.call("look_up", q="it")).text == "found it"
        assert (await agent.call("region", region="eu")).text == "eu"
        failed = await agent.call("fail")
        assert failed.is_error
        assert "the tool says no" in failed.text

    assert "drop" not in await server.counts()


async def test_a_run_that_spent_its_calls_is_told_so_and_goes_on_listing(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url), AGENT_MAX_TOOL_CALLS="2")

    async with agent_of(door(running), **RUN) as agent:
        results = [await agent.call("note", text=str(number)) for number in range(4)]
        assert [result.is_error for result in results] == [False, False, True, True]
        assert refused_for(results[-1], "max_tool_calls")
        assert "note" in await agent.list()
    async with agent_of(door(running), **RUN) as again:
        assert refused_for(await again.call("look_up"), "max_tool_calls"), "a new session is no new run"

    assert (await server.counts())["note"] == 2


async def test_of_twelve_parallel_calls_against_a_budget_of_six_exactly_six_run(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url), AGENT_MAX_TOOL_CALLS="6")

    async with agent_of(door(running), **RUN) as agent:
        results = await asyncio.gather(*(agent.call("note", text=str(number)) for number in range(12)))

    assert [result.is_error for result in results].count(False) == 6
    assert (await server.counts())["note"] == 6


async def test_a_kill_stops_a_session_half_way_and_a_restore_lets_it_go_on(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url, tools={"definitions": {"bed.look_up": {"effect": "read"}}}))

    async with agent_of(door(running), **RUN) as agent:
        assert not (await agent.call("note")).is_error
        await running.kill("writes")
        assert refused_for(await agent.call("note"), "kill_switch")
        assert not (await agent.call("look_up")).is_error
        assert await agent.list() == ["look_up"]
        await running.kill("run:r1")
        assert refused_for(await agent.call("look_up"), "kill_switch")
        with pytest.raises(Broken, match="kill_switch"):
            await agent.list()
        await running.restore("run:r1")
        await running.restore("writes")
        assert not (await agent.call("note")).is_error

    assert (await server.counts())["note"] == 2


async def test_a_kill_that_cancels_ends_a_call_in_flight_and_the_server_stops_too(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        call = asyncio.create_task(agent.call("slow"))
        await server.reached("slow")
        await running.kill("tool:bed.slow", cancel_in_flight=True)
        assert refused_for(await call, "kill_switch")
        await server.reached("slow cancelled")
        assert not (await agent.call("note")).is_error


async def test_progress_is_heard_as_it_happens(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))
    heard: asyncio.Queue[float] = asyncio.Queue()

    async with agent_of(door(running), **RUN) as agent:
        call = asyncio.create_task(agent.call("progress", heard.put_nowait))
        assert await asyncio.wait_for(heard.get(), 10) == 1
        await server.add("seen")
        assert (await call).text == "done"
    assert [heard.get_nowait() for _ in range(heard.qsize())] == [2, 3]


async def test_what_a_tool_asks_back_reaches_the_client_and_its_answer_the_tool(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        assert (await agent.call("ask")).text == "the answer is green"
        assert (await agent.call("sample")).text == "the model says hello"


async def test_a_repeat_that_answers_counts_as_a_call(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent, request: pytest.FixtureRequest
) -> None:
    """input_required and the repeat are two calls; a request of the server's own is part of the one call."""
    running = await start(policy_for(server.url), AGENT_MAX_TOOL_CALLS="2")
    stateless = request.node.callspec.id.endswith("2026")

    async with agent_of(door(running), **RUN) as agent:
        assert (await agent.call("ask")).text == "the answer is green"
        assert (await agent.call("note")).is_error is stateless


async def test_a_client_that_cancels_stops_the_tool(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        call = asyncio.create_task(agent.call("slow"))
        await server.reached("slow")
        call.cancel()
        await server.reached("slow cancelled")
        assert not (await agent.call("note")).is_error


async def test_a_call_that_takes_too_long_is_explained_and_the_server_told_to_stop(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    tools = {"definitions": {"bed.slow": {"effect": "write", "deadline_ms": 300}}}
    running = await start(policy_for(server.url, tools=tools))

    async with agent_of(door(running), **RUN) as agent:
        result = await agent.call("slow")
        assert refused_for(result, "outcome_unknown")
        await server.reached("slow cancelled")
        assert not (await agent.call("note")).is_error


async def test_a_reload_shows_in_the_next_list_whatever_the_server_says_of_caching(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url, "note"))

    async with agent_of(door(running), **RUN) as agent:
        assert await agent.list() == ["note"]
        await replaced(running, policy_for(server.url, "look_up"))
        assert await agent.list() == ["look_up"]
        assert refused_for(await agent.call("note"), "tool_not_allowed")


async def test_a_result_of_five_megabytes_arrives(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        assert len((await agent.call("big")).text) == 5_000_000


@pytest.mark.parametrize("trusted", [True, False])
async def test_hints_of_the_server_count_only_where_it_is_trusted(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent, trusted: bool
) -> None:
    running = await start(policy_for(server.url, server={"trust_annotations": trusted}))

    async with agent_of(door(running), **RUN) as agent:
        await agent.list()
        await running.kill("writes")
        assert (await agent.call("look_up")).is_error is not trusted
        for name in ("drop", "contradict", "note"):
            assert refused_for(await agent.call(name), "kill_switch")
        assert await agent.list() == (["look_up"] if trusted else [])

    ran = await server.counts()
    assert not {"drop", "contradict", "note"} & ran.keys()


@pytest.mark.parametrize("agent_of", HANDSHAKE, indirect=True)
async def test_a_stream_that_the_server_cuts_is_resumed_through_the_gateway(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        assert (await agent.call("resume")).text == "resumed"


async def test_a_client_that_gives_up_stops_the_tool_and_can_go_on(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        with pytest.raises(Broken, match="timed out"):
            await agent.call("slow", within=0.3)
        await server.reached("slow cancelled")
        assert not (await agent.call("note")).is_error


async def test_server_everything_works_through_the_gateway(
    everything: EverythingServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    allowed = ("echo", "trigger-elicitation-request", "trigger-sampling-request", "trigger-long-running-operation")
    running = await start(policy_for(everything.url, *allowed))
    heard: asyncio.Queue[float] = asyncio.Queue()

    async with agent_of(door(running), **RUN) as agent:
        assert "echo" in await agent.list()
        assert "get-env" not in await agent.list()
        assert "hi" in (await agent.call("echo", message="hi")).text
        before = everything.posts
        assert refused_for(await agent.call("get-env"), "tool_not_allowed")
        assert everything.posts == before
        assert "hello" in (await agent.call("trigger-sampling-request", prompt="p", maxTokens=9)).text
        long = agent.call("trigger-long-running-operation", heard.put_nowait, duration=0.2, steps=2)
        assert "completed" in (await long).text.lower()
    assert heard.qsize() > 0


async def test_a_server_out_of_reach_is_an_error_that_clients_survive(
    server: FixtureServer, start: StartGateway, agent_of: ConnectAgent
) -> None:
    """Where it goes away in the middle: the connection of a client lives on."""
    running = await start(policy_for(server.url))

    async with agent_of(door(running), **RUN) as agent:
        assert not (await agent.call("note")).is_error
        policy = policy_for("http://127.0.0.1:9/mcp", tools={"retries": {"max": 0}})
        await replaced(running, policy)
        assert refused_for(await agent.call("note"), "upstream_failed")
        with pytest.raises(Broken):
            await agent.list()
        await replaced(running, policy_for(server.url))
        assert not (await agent.call("note")).is_error


async def replaced(running: Running, policy: str) -> None:
    """Another policy is in force."""
    before = running.seen.names().count("policy_loaded")
    file = Path(running.gateway.settings.policy, "policy.yaml")
    file.write_text(policy)  # noqa: ASYNC240  a few bytes
    async with asyncio.timeout(10):
        while running.seen.names().count("policy_loaded") == before:  # noqa: ASYNC110  the observer has no event for it
            await asyncio.sleep(0.005)


async def test_who_listens_hears_that_tools_have_changed(server: FixtureServer, start: StartGateway) -> None:
    """subscriptions/listen, on 2026-07-28."""
    running = await start(policy_for(server.url))

    async with (
        PythonAgent.connected(door(running), "2026", {"Agent-Run-Id": "r1"}) as agent,
        agent.client.listen(tools_list_changed=True) as changes,
        asyncio.timeout(10),
    ):
        assert not (await agent.call("announce")).is_error
        await anext(aiter(changes))


async def test_a_client_that_loses_its_connection_on_an_older_wire_gets_the_result_by_resuming(
    server: FixtureServer, start: StartGateway
) -> None:
    """There, leaving is not cancelling: the tool goes on, and Last-Event-ID fetches what it says."""
    running = await start(policy_for(server.url))
    headers = await session_of(door(running))
    async with aiohttp.ClientSession() as session:
        async with session.post(door(running), json=call("progress"), headers=headers) as answer:
            first = await answer.content.readuntil(b"\r\n\r\n")
            await server.reached("progress")
            answer.close()
        headers["Last-Event-ID"] = first.partition(b"id: ")[2].split(maxsplit=1)[0].decode()
        await server.add("seen")
        result = b""
        async with asyncio.timeout(10):
            # While the server has not seen that the first stream is gone, it ends the second one; what it says between looking back and
            # listening, it tells that one never. A client asks again.
            while b"done" not in result:
                with suppress(TimeoutError):
                    async with asyncio.timeout(2), session.get(door(running), headers=headers) as resumed:
                        result = await resumed.content.readuntil(b"done")
