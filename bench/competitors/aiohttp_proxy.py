"""The straightforward aiohttp proxy of bench/bare_proxy.py, on uvloop and on aiohttp's own default."""

from functools import partial
from pathlib import Path

from bench.subjects import SHIPPED, Command, Place, Subject, version_in_venv

VERSION = partial(version_in_venv, "tool-gateway", "aiohttp")
PROXY = Path(__file__).parents[1] / "bare_proxy.py"


def command(place: Place, loop: str) -> Command:
    return Command([str(SHIPPED / "python"), str(PROXY), str(place.port), f"http://127.0.0.1:{place.tool_port}", loop])


SUBJECTS = (
    Subject("aiohttp proxy on uvloop", VERSION, partial(command, loop="uvloop")),
    Subject("aiohttp proxy on asyncio", VERSION, partial(command, loop="asyncio")),
)
