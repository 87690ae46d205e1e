"""The test bed itself, without a gateway: every client reaches every kind of tool. What fails here is no fault of the gateway's."""

import asyncio

from tests.mcp.conftest import ConnectAgent
from tests.mcp.servers import EverythingServer, FixtureServer


async def test_every_client_can_do_all_that_the_tests_of_the_door_ask_for(
    server: FixtureServer, agent_of: ConnectAgent
) -> None:
    async with agent_of(server.url) as agent:
        assert "look_up" in await agent.list()
        assert (await agent.call("look_up", q="it")).text == "found it"
        assert (await agent.call("region", region="eu")).text == "eu"
        assert (await agent.call("fail")).is_error
        assert (await agent.call("ask")).text == "the answer is green"
        assert (await agent.call("sample")).text == "the model says hello"
        assert len((await agent.call("big")).text) == 5_000_000

        heard: asyncio.Queue[float] = asyncio.Queue()
        call = asyncio.create_task(agent.call("progress", heard.put_nowait))
        assert await asyncio.wait_for(heard.get(), 10) == 1
        await server.add("seen")
        assert (await call).text == "done"

        call = asyncio.create_task(agent.call("slow"))
        await server.reached("slow")
        call.cancel()
        await server.reached("slow cancelled")

    ran = await server.counts()
    assert [ran[name] for name in ("look_up", "region", "fail", "ask", "sample", "big", "progress", "slow")] == [1] * 8


async def test_server_everything_answers(everything: EverythingServer, agent_of: ConnectAgent) -> None:
    before = everything.posts
    async with agent_of(everything.url) as agent:
        assert "echo" in await agent.list()
        assert "hi" in (await agent.call("echo", message="hi")).text

    assert everything.posts >= before + 3
