"""Agents that go on calling whatever happens, at a fixed rate, and tell the oracle what they offered and what they heard."""

import asyncio
import random
from itertools import count

import aiohttp

from tests.chaos.oracle import Offered, Oracle
from tests.chaos.upstream import CALL
from tests.scenarios.installation import Installation

CALLS_A_RUN = 16
"""More than AGENT_MAX_TOOL_CALLS lets pass."""
IMPATIENT = 0.05
"""Share of callers that leave after LEAVES seconds."""
LEAVES = 0.2
AGENTS = ("billing", "scout", "default")


class Load:
    """`run` until cancelled; then `settle` waits for the calls that are still under way."""

    def __init__(
        self, installation: Installation, oracle: Oracle, dice: random.Random, tools: tuple[str, ...], rate: float
    ) -> None:
        self._installation = installation
        self._oracle = oracle
        self._dice = dice
        self._tools = tools
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """An open loop: a slow gateway is not offered less."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=False)) as session:
            try:
                for number in count():
                    await asyncio.sleep(max(0.0, began + number / self._rate - loop.time()))
                    task = asyncio.create_task(self._call(session, number))
                    self._calls.add(task)
                    task.add_done_callback(self._calls.discard)
            finally:
                await asyncio.gather(*self._calls, return_exceptions=True)

    async def _call(self, session: aiohttp.ClientSession, number: int) -> None:
        agent = AGENTS[number % len(AGENTS)]
        offered = Offered(
            at=asyncio.get_running_loop().time(),
            agent=agent,
            run=f"{agent}-{number // (CALLS_A_RUN * len(AGENTS))}",
            tool=self._dice.choice(self._tools),
        )
        call = f"c{number}"
        self._oracle.offered[call] = offered
        impatient = self._dice.random() < IMPATIENT
        try:
            async with session.post(
                f"{self._installation.data}/runs/{offered.run}/tools/{offered.tool}",
                json={"n": number},
                headers={CALL: call, "Agent-Id": agent},
                timeout=aiohttp.ClientTimeout(LEAVES if impatient else 40),
            ) as answer:
                await answer.read()
                heard = answer.headers["Tool-Gateway-Reason"]
        except TimeoutError:
            heard = "left"
        except aiohttp.ClientError:
            heard = "no answer"
        self._oracle.answers[heard] += 1
