"""One chaos from its beginning to the closing of the books."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.chaos.books import differences, saved_in, shown_by
from tests.chaos.life import Life
from tests.chaos.load import Load
from tests.chaos.misfortunes import Misfortunes
from tests.chaos.oracle import Oracle
from tests.chaos.upstream import Upstream
from tests.scenarios.installation import Installation

SETTINGS = {"GATEWAY_LOG": "-", "GATEWAY_DRAIN_SECONDS": "7"}
"""The log goes through a pipe, whatever becomes of the disk. The load never goes quiet: a lame duck lasts to its end."""


class Account(NamedTuple):
    """What a chaos came to."""

    oracle: Oracle
    happened: Counter[str]
    differences: list[str]


async def trial(folder: Path, seconds: float, seed: int, rate: float, longest_rest: float = 4.0) -> Account:
    """`rate`: calls a second. `longest_rest`: seconds between two misfortunes."""
    oracle, dice = Oracle(), random.Random(seed)
    async with Upstream(oracle, dice) as upstream:
        installation = Installation(folder, upstream=f"http://127.0.0.1:{upstream.port}", environment=SETTINGS)
        life = Life(installation, oracle)
        misfortunes = Misfortunes(installation, life, upstream, dice)
        load = None
        try:
            await life.begin()
            load = asyncio.create_task(Load(installation, oracle, dice, rate).run())
            await misfortunes.reign(seconds, longest_rest)
            await misfortunes.end()
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
            await misfortunes.all_is_kept()
            shown = await shown_by(installation, oracle)
            await life.stop()
            saved = saved_in(installation.folder / "gateway.db")
        finally:
            if load is not None:
                load.cancel()
            await life.kill()
    return Account(oracle, misfortunes.happened, differences(oracle, shown, saved))
