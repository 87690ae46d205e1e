"""npm's MCP clients, in one Node process for all tests (node/client.mjs): starting one takes longer than most tests."""

import asyncio
import itertools
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.mcp.agents import PATIENCE, Broken, Result, Told
from tests.mcp.node_tools import HERE, node


class Node:
    """The process. Answers come on a thread of its own and go to the loop that asked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[dict[str, Any]], Told | None]] = {}
        self.reader = threading.Thread(target=self._read, daemon=True)

    async def ask(self, op: str, told: Told | None = None, **what: Any) -> Any:
        """Raises Broken. Cancelled, it stops what it has asked for."""
        number, loop = next(self._numbers), asyncio.get_running_loop()
        answered: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._waiting[number] = loop, answered, told
        self._write(id=number, op=op, **what)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await answered
        except asyncio.CancelledError:
            self._write(id=next(self._numbers), op="stop", call=number)
            raise
        finally:
            del self._waiting[number]
        if "error" in answer:
            raise Broken(answer["error"])
        return answer["result"]

    def _write(self, **line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            waiting = self._waiting.get(said.get("told", said.get("id")))
            if waiting is None:
                continue
            loop, answered, told = waiting
            if "told" not in said:
                loop.call_soon_threadsafe(_settle, answered, said)
            elif told is not None:
                loop.call_soon_threadsafe(told, said["progress"])


def _settle(answered: asyncio.Future[dict[str, Any]], said: dict[str, Any]) -> None:
    if not answered.done():
        answered.set_result(said)


@contextmanager
def node_process() -> Iterator[Node]:
    with subprocess.Popen(
        [node(), "client.mjs"], cwd=HERE / "node", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        running = Node(process)
        running.reader.start()
        try:
            yield running
        finally:
            process.kill()
            running.reader.join()


class NodeAgent:
    """One of its clients: an Agent."""

    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self._number = number

    async def list(self) -> list[str]:
        names: list[str] = await self._node.ask("list", number=self._number)
        return names

    async def call(
        self, name: str, told: Told | None = None, *, within: float | None = None, **arguments: Any
    ) -> Result:
        asked = {"number": self._number, "name": name, "arguments": arguments, "within": within}
        result = await self._node.ask("call", told, **asked)
        text = "".join(part.get("text", "") for part in result["content"])
        return Result(result.get("isError", False), text, result.get("_meta", {}))


@asynccontextmanager
async def npm_client(
    node: Node, library: str, wire: str, url: str, headers: Mapping[str, str]
) -> AsyncIterator[NodeAgent]:
    """Connected; closed when the test is done with it."""
    number = await node.ask("connect", library=library, wire=wire, url=url, headers=dict(headers))
    yield NodeAgent(node, number)
    await node.ask("end", number=number)
