"""What befalls the gateway: its upstream, its policy and candidate, its operator, its disk and its own process."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.chaos.life import Life
from tests.chaos.policy import BAD_POLICY, candidate, policy
from tests.chaos.upstream import WEATHER, Upstream
from tests.scenarios.installation import PATIENCE, Installation

CANDIDATE = "candidate.yaml"
JOURNAL_ONLY = 4096
"""Bytes of room: too few for a page of the database, enough for the journal."""


class Misfortunes:
    """One after the other, as the dice fall."""

    def __init__(self, installation: Installation, life: Life, upstream: Upstream, dice: random.Random) -> None:
        self.happened: Counter[str] = Counter()
        self._installation = installation
        self._life = life
        self._upstream = upstream
        self._dice = dice
        self._policy = policy(f"http://127.0.0.1:{upstream.port}")
        installation.write_policy(self._policy)

    async def reign(self, seconds: float, longest_rest: float) -> None:
        """Every one of them once in a row, as far as the time goes, then any."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        others: Sequence[Callable[[], Awaitable[None]]] = [
            self._kill_9, self._disk, self._candidate, self._kill_switch, self._disk_and_kill_9, self._roll_out, self._reload,
            self._reload_badly,
        ]  # fmt: skip
        turn = 0
        while loop.time() < end:
            misfortune = self._weather if turn % 2 == 0 else others[turn // 2 % len(others)]
            turn += 1
            if turn > 2 * len(others):
                misfortune = self._dice.choice([self._weather, self._weather, *others])
            self.happened[misfortune.__name__.strip("_").replace("_", " ")] += 1
            await misfortune()
            await asyncio.sleep(self._dice.uniform(0.1, 1) * longest_rest)

    async def end(self) -> None:
        """All is well again; what is counted from now on is final, and will be written down."""
        self._life.free_disk()
        await self._upstream.change(WEATHER[0])
        self._installation.write_policy(self._policy)
        self._candidate_file.unlink(missing_ok=True)

    async def all_is_kept(self) -> None:
        """Returns once the gateway says that nothing is wrong with its state."""
        async with asyncio.timeout(PATIENCE), self._installation.operator() as operator:
            while True:
                async with operator.get("/readyz") as answer:
                    if "state_unavailable" not in (await answer.json())["degraded"]:
                        return
                await asyncio.sleep(0.05)

    @property
    def _candidate_file(self) -> Path:
        return self._installation.policies / CANDIDATE

    async def _weather(self) -> None:
        await self._upstream.change(self._dice.choice(WEATHER))

    async def _kill_9(self) -> None:
        await self._life.kill()
        await self._life.begin()

    async def _roll_out(self) -> None:
        await self._life.stop()
        await self._life.begin()

    async def _disk(self) -> None:
        self._life.fill_disk(self._dice.choice([0, JOURNAL_ONLY]))
        await asyncio.sleep(self._dice.uniform(0.2, 2.5))
        self._life.free_disk()

    async def _disk_and_kill_9(self) -> None:
        self._life.fill_disk(self._dice.choice([0, JOURNAL_ONLY]))
        await asyncio.sleep(self._dice.uniform(0.2, 2.5))
        await self._kill_9()

    async def _reload(self) -> None:
        self._installation.write_policy(
            {**self._policy, "observability": {"max_logged_bytes": self._dice.randrange(2048)}}
        )

    async def _reload_badly(self) -> None:
        self._installation.write_policy(BAD_POLICY)
        await asyncio.sleep(1.5)
        self._installation.write_policy(self._policy)

    async def _candidate(self) -> None:
        """Comes, is another one, or goes."""
        if self._dice.random() < 0.2:
            self._candidate_file.unlink(missing_ok=True)
        else:
            self._installation.write_policy(candidate(self._dice.randrange(1, 1000)), CANDIDATE)

    async def _kill_switch(self) -> None:
        scope = self._dice.choice(["all", "writes", "tool:search.*", "tool:events.*", "agent:scout", "run:billing-1"])
        switch = {"scope": scope, "reason": "chaos", "for_seconds": 1, "cancel_in_flight": self._dice.random() < 0.5}
        async with self._installation.operator() as operator:
            await operator.post("/v1/kill-switches", json=switch)
