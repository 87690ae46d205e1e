"""Both lanes are one gateway: what is true of an answer, an upstream request and a record is true whichever lane a call took."""

import pytest

from tests.doors.conftest import FAST, ORDINARY, StartGateway
from tests.doors.tool_server import ToolServer
from tests.doors.wire import dial, request


@pytest.mark.parametrize(("start", "share"), [(ORDINARY, 0), (FAST, 20)], indirect=["start"])
async def test_the_lanes_that_the_other_tests_take_are_two(start: StartGateway, tool: ToolServer, share: int) -> None:
    running = await start()
    async with dial(running.gateway.data_url) as wire:
        for call in range(20):
            await wire.say(request("POST /tools/search.read", f"Agent-Run-Id: r{call}", body=b"{}"))
            assert (await wire.answer()).status == 200
    assert (running.fast, tool.calls) == (share, 20)
