"""`tool-gateway serve`: settings from the environment, then the event loop. Imports no click: it is start-up time."""

import gc
import os
import signal
import sys
from typing import NoReturn

from gateway.cli.by_need import load_by_need
from gateway.settings import Settings, SettingsError, read_settings


def serve() -> int:
    """The exit code: 0 after an orderly stop, 2 where the gateway cannot start."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # asks for what a start does anyway, and would end it
    signal.signal(signal.SIGINT, _ended_before_it_served)
    signal.signal(signal.SIGTERM, _ended_before_it_served)
    try:
        return _run(read_settings(os.environ))
    except SettingsError as error:
        print(f"tool-gateway: {error}", file=sys.stderr)  # noqa: T201  # a command speaks on stderr
        return 2


def _ended_before_it_served(*_: object) -> NoReturn:
    """Until the lifecycle takes the signals over. The kernel hands process 1, which a container's is, no signal that it does not handle."""
    os._exit(0)


def _run(settings: Settings) -> int:
    load_by_need("aiohttp")
    load_by_need("yaml")
    import asyncio

    import uvloop

    from gateway.app import serve as serve_app

    gc.freeze()  # what is imported stays: the garbage collector need not look through it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve_app(settings))
