"""Agents that go on calling whatever happens, at a fixed rate, and tell the oracle what they offered and what they heard."""

import asyncio
import json
import random
from itertools import count
from typing import NamedTuple

import aiohttp

from tests.chaos.oracle import LARGEST_KEPT, Heard, Offered, Oracle
from tests.chaos.policy import AGENTS, PRICES, WRITES
from tests.chaos.upstream import CALL, LAST_EVENT, performer
from tests.scenarios.installation import ANYWHERE, Installation

CALLS_A_RUN = 16
"""More than AGENT_MAX_TOOL_CALLS lets pass."""
IMPATIENT, HALF_CLOSING, ANONYMOUS, KEYED = 0.05, 0.05, 0.05, 0.4
"""Shares of callers: who leave after LEAVES seconds, who say that they will send no more, who name no run; of writes: with a key."""
LEAVES = 0.2
PATIENCE = 40.0
CALLS_A_KEY = 12
TOOLS = (*PRICES, "search.read", "search.read", "notes.write", "notes.write")
LARGEST_BODY = 400_000


class Request(NamedTuple):
    """As it goes out."""

    path: str
    headers: dict[str, str]
    body: bytes


class Response(NamedTuple):
    """As it came in, whole as far as HTTP can tell."""

    status: int
    reason: str
    body: bytes


class Load:
    """`run` until cancelled; then it waits for the calls that are still under way."""

    def __init__(self, installation: Installation, oracle: Oracle, dice: random.Random, rate: float) -> None:
        self._installation = installation
        self._oracle = oracle
        self._dice = dice
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """An open loop: a slow gateway is not offered less."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            try:
                for number in count():
                    await asyncio.sleep(max(0.0, began + number / self._rate - loop.time()))
                    task = asyncio.create_task(self._call(session, number))
                    self._calls.add(task)
                    task.add_done_callback(self._calls.discard)
            finally:
                for end in await asyncio.gather(*self._calls, return_exceptions=True):
                    if isinstance(end, Exception):
                        self._oracle.faults.append(f"a caller met {end!r}")

    async def _call(self, session: aiohttp.ClientSession, number: int) -> None:
        dice, loop, call = self._dice, asyncio.get_running_loop(), f"c{number}"
        offered = self._offer(number, loop.time())
        self._oracle.offered[call] = offered
        request = self._request(call, number, offered)
        try:
            if dice.random() < HALF_CLOSING:
                response = await self._half_close(request)
            else:
                leaves = LEAVES if dice.random() < IMPATIENT else PATIENCE
                response = await self._post(session, request, leaves)
        except TimeoutError:
            heard = Heard(loop.time(), "left")
        except (aiohttp.ClientError, OSError, EOFError):
            heard = Heard(loop.time(), "no answer")
        else:
            heard = Heard(loop.time(), response.reason, self._judged(call, offered, request, response))
        self._oracle.heard[call] = heard

    def _offer(self, number: int, now: float) -> Offered:
        agent = AGENTS[number % len(AGENTS)]
        run = "" if self._dice.random() < ANONYMOUS else f"{agent}-{number // (CALLS_A_RUN * len(AGENTS))}"
        tool = self._dice.choice(TOOLS)
        keyed = tool in WRITES and self._dice.random() < KEYED
        return Offered(
            now, agent, run, tool, f"{agent}.{tool}.{number // (CALLS_A_KEY * len(AGENTS))}" if keyed else ""
        )

    def _request(self, call: str, number: int, offered: Offered) -> Request:
        prefix = f"/runs/{offered.run}" if offered.run else ""
        headers = {CALL: call, "Agent-Id": offered.agent, "traceparent": f"00-{number + 1:032x}-{1:016x}-01"}
        name, size = call, 0
        if offered.key:
            headers["Idempotency-Key"] = name = offered.key
        if offered.tool == "large.write":
            size = random.Random(name).randrange(LARGEST_BODY)  # who repeats a call sends the same
        body = json.dumps({"call": name, "fill": "x" * size}).encode()
        return Request(f"{prefix}/tools/{offered.tool}", headers | {"Content-Type": "application/json"}, body)

    async def _post(self, session: aiohttp.ClientSession, request: Request, leaves: float) -> Response:
        timeout = aiohttp.ClientTimeout(leaves)
        url = self._installation.data + request.path
        async with session.post(url, data=request.body, headers=request.headers, timeout=timeout) as answer:
            return Response(answer.status, answer.headers["Tool-Gateway-Reason"], await answer.read())

    async def _half_close(self, request: Request) -> Response:
        """Says with a FIN that nothing more will come, and still wants its answer."""
        if self._installation.data == ANYWHERE:
            raise ConnectionError
        host, _, port = self._installation.data.removeprefix("http://").rpartition(":")
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                fields = request.headers | {
                    "Host": host,
                    "Content-Length": str(len(request.body)),
                    "Connection": "close",
                }
                head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                writer.write(f"POST {request.path} HTTP/1.1\r\n{head}\r\n".encode() + request.body)
                await writer.drain()
                writer.write_eof()
                return response_in(await reader.read())
            finally:
                writer.close()

    def _judged(self, call: str, offered: Offered, request: Request, response: Response) -> str:
        """A 200 is whole and of the call that was made. The call that was performed for it, where it is one to be kept."""
        if response.status != 200:
            return ""
        if offered.tool == "events.stream":
            if not response.body.endswith(LAST_EVENT) and b"event: error" not in response.body:
                self._oracle.faults.append(f"{call} looks whole and is not")
            return ""
        try:
            by = performer(response.body, request.body)
        except ValueError:
            self._oracle.faults.append(f"{call} ({response.reason}) got another answer than the upstream gave")
            return ""
        if by != call and not (
            offered.key and self._oracle.offered[by].key == offered.key and response.reason == "dedup"
        ):
            self._oracle.faults.append(f"{call} ({response.reason}) got the answer of {by}")
        return by if len(response.body) <= LARGEST_KEPT else ""


def response_in(data: bytes) -> Response:
    """Of a connection's whole input. Raises EOFError where it ends too early."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        raise EOFError
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    elif len(body) != int(headers["content-length"]):
        raise EOFError
    return Response(int(status.split()[1]), headers["tool-gateway-reason"], body)


def _unchunked(data: bytes) -> bytes:
    pieces: list[bytes] = []
    while True:
        size, line_end, data = data.partition(b"\r\n")
        if not line_end or len(data) < int(size, 16) + 2:
            raise EOFError
        if size == b"0":
            return b"".join(pieces)
        pieces.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
