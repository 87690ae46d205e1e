"""The straightforward aiohttp proxy of bench/bare_proxy.py, on uvloop and on aiohttp's own default."""

import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.subjects import Command, Place, Subject

PROXY = Path(__file__).parents[1] / "bare_proxy.py"


def command(place: Place, loop: str) -> Command:
    return Command([sys.executable, str(PROXY), str(place.port), f"http://127.0.0.1:{place.tool_port}", loop])


SUBJECTS = (
    Subject("aiohttp proxy on uvloop", partial(version, "aiohttp"), partial(command, loop="uvloop")),
    Subject("aiohttp proxy on asyncio", partial(version, "aiohttp"), partial(command, loop="asyncio")),
)
