"""What a call costs the event loop, counted and not timed: the same on every machine. Fails where it has grown beyond the record.

python -m bench.cost [--record]

`--record` writes the figures for the Python that runs it into bench/cost.toml. All of them anew:
for v in 3.11 3.12 3.13; do uv run --no-project --python $v --with-requirements requirements.lock -m bench.cost --record; done

Counted are bytecodes and calls of C functions in the event loop's thread, in a started gateway, over loopback sockets. What a C function
does is not weighed (`make bench` does): machine instructions would, but they differ with processor, compiler and build of Python.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, NamedTuple

import uvloop

from bench.cost_counter import Counter
from bench.wire import Messages, Tool, request_for
from gateway.app import Gateway
from gateway.settings import read_settings

RECORD = Path(__file__).with_name("cost.toml")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
TOLERATED = 1.10
"""So much of the recorded figure is no growth yet."""
WARM_UP, CALLS, BATCHES = 50, 40, 10

POLICY = """
tools:
  allowlist: [search.read, search.checked]
  definitions:
    search.read: {effect: read}
    search.checked:
      effect: read
      arguments: {type: object, properties: {q: {type: string, maxLength: 400}}, required: [q], additionalProperties: false}
"""


class Kind(NamedTuple):
    """A kind of call. All are POSTs of 300 bytes over keep-alive; what is allowed is answered with 600 bytes."""

    tool: str
    status: int


KINDS = {
    "allowed": Kind("search.read", 200),
    "with a schema": Kind("search.checked", 200),
    "denied": Kind("shell.run", 403),
}


class Cost(NamedTuple):
    """Of one call."""

    bytecodes: float
    c_calls: float


Costs = Mapping[str, Cost]
"""By kind of call."""


class Caller(Messages):
    """An agent with one connection that makes its next call when the last one is answered."""

    def __init__(self, kind: Kind, port: int) -> None:
        super().__init__()
        self._request = request_for(f"/tools/{kind.tool}", port, "bench")
        self._answer = b"HTTP/1.1 %d " % kind.status
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    async def make_calls(self, count: int) -> None:
        self._left, self._done = count, asyncio.get_running_loop().create_future()
        self._call()
        await self._done

    def message(self, message: bytes, /) -> None:
        self._left -= 1
        if not message.startswith(self._answer):
            self.connection_lost(AssertionError(f"expected {self._answer!r}, got {message!r}"))
        elif self._left:
            self._call()
        elif self._done is not None:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("the gateway closed the connection"))

    def _call(self) -> None:
        if self.transport is not None:
            self.transport.write(self._request)


class Elsewhere:
    """An event loop in a thread of its own, for both ends of the wire: what they do is not counted."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()

    async def run(self, what: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, self.loop))

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join()
            self.loop.close()


async def measure() -> Costs:
    elsewhere = Elsewhere()
    with tempfile.TemporaryDirectory() as folder, elsewhere.running():
        tool = await elsewhere.run(elsewhere.loop.create_server(Tool, "127.0.0.1", 0))
        gateway = await started(Path(folder), tool.sockets[0].getsockname()[1])
        try:
            return {name: await cost_of(kind, gateway, elsewhere) for name, kind in KINDS.items()}
        finally:
            await gateway.stop()


async def started(folder: Path, upstream: int) -> Gateway:
    """As shipped. Only the budget is raised, or the calls would use it up."""
    (folder / "policy.yaml").write_text(POLICY)
    environ = {
        "AGENT_MAX_TOOL_CALLS": "1000000",
        "GATEWAY_POLICY": str(folder),
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_TOKEN": "bench-token-of-no-value",
        "GATEWAY_UPSTREAM": f"http://127.0.0.1:{upstream}",
        "GATEWAY_STATE": f"sqlite:{folder / 'gateway.db'}",
        "GATEWAY_LOG": str(folder / "log.jsonl"),
    }
    gateway = Gateway(read_settings(environ), environ)
    await gateway.start()
    return gateway


async def cost_of(kind: Kind, gateway: Gateway, elsewhere: Elsewhere) -> Cost:
    """The least of several batches: chores that the clock brings, and the payload of a sampled call, come on top in some of them."""
    port = int(gateway.data_url.rpartition(":")[2])
    connect = elsewhere.loop.create_connection(partial(Caller, kind, port), "127.0.0.1", port)
    transport, caller = await elsewhere.run(connect)
    await elsewhere.run(caller.make_calls(WARM_UP))
    batches = []
    for _ in range(BATCHES):
        with Counter() as counted:
            await elsewhere.run(caller.make_calls(CALLS))
        batches.append(counted)
    elsewhere.loop.call_soon_threadsafe(transport.abort)
    return Cost(
        round(min(batch.bytecodes for batch in batches) / CALLS, 1),
        round(min(batch.c_calls for batch in batches) / CALLS, 1),
    )


def recorded() -> Mapping[str, Mapping[str, Any]]:
    """What the file holds, by version of Python."""
    return tomllib.loads(RECORD.read_text()) if RECORD.exists() else {}


def record(costs: Costs) -> None:
    """Writes the figures for this version of Python; those of others stay."""
    figures = {name: cost._asdict() for name, cost in costs.items()}
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))
    all_of_them = {**recorded(), PYTHON: {"with": f"Python {python_version()}, {libraries}", **figures}}
    lines = [
        "# What a call costs the event loop, by version of Python. Written by `python -m bench.cost --record`, never by hand."
    ]
    for python, section in sorted(all_of_them.items()):
        lines += ["", f'["{python}"]', f'with = "{section["with"]}"']
        for name in KINDS:
            inline = ", ".join(f"{unit} = {section[name][unit]}" for unit in Cost._fields)
            lines.append(f'"{name}" = {{ {inline} }}')
    RECORD.write_text("\n".join(lines) + "\n")


def growth(costs: Costs, before: Mapping[str, Any]) -> list[str]:
    """A line for each figure that is more than TOLERATED of the one recorded before."""
    lines = []
    for name, cost in costs.items():
        for unit, now in cost._asdict().items():
            then = before[name][unit]
            if now > then * TOLERATED:
                lines.append(f"{name}: {now} {unit} a call, recorded {then}: {now / then - 1:+.1%}")
    return lines


def verdict(costs: Costs) -> str | None:
    """None where no figure has grown too much; else what has, and what to do."""
    before = recorded().get(PYTHON)
    if before is None:
        return f"{RECORD.name} has no figures for Python {PYTHON}: python -m bench.cost --record"
    if grown := growth(costs, before):
        return "\n".join(
            [
                *grown,
                f"A call may cost {TOLERATED - 1:.0%} more than recorded (with {before['with']}).",
                "Find what was added to each call; where it is worth its price: python -m bench.cost --record, the reason in the commit.",
            ]
        )
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--record", action="store_true", help=f"write the figures into {RECORD.name}")
    options = parser.parse_args()
    gc.disable()
    costs = uvloop.run(measure())
    for name, cost in costs.items():
        print(f"{name:<16}{cost.bytecodes:>8.1f} bytecodes{cost.c_calls:>7.1f} C calls")
    if options.record:
        record(costs)
    elif problem := verdict(costs):
        raise SystemExit(problem)


if __name__ == "__main__":
    main()
