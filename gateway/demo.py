"""A toy tool server to try the gateway against: harmless tools that answer, dawdle, fail and break off, and a page that counts.

`GET /` tells what really arrived, to compare with what the gateway says. `tool-gateway demo --help` lists the tools.
"""

import asyncio
import json
import signal
from collections import Counter, deque
from collections.abc import Awaitable, Callable

from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DOCUMENTS = (
    {"title": "What a tool gateway is", "text": "A gateway stands between an agent and its tools."},
    {"title": "Budgets", "text": "A run has steps, tool calls and seconds; the gateway counts them."},
    {"title": "Contact", "text": "Write to ada@example.com; the gateway's log must not show this address."},
)
_LONGEST_SLEEP = 60
_MOST_NOTES = 100


class ToolServer:
    """The demo's tools and what they remember. `app` serves them."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.notes: deque[str] = deque(maxlen=_MOST_NOTES)
        self.app = web.Application(client_max_size=1 << 20, middlewares=[self._count])
        self.app.router.add_get("/", self._counts)
        self.app.router.add_delete("/", self._forget)
        for tool, handler in {
            "search.read": self._search,
            "notes.write": self._notes,
            "echo": self._echo,
            "slow": self._slow,
            "flaky": self._flaky,
            "fail": self._fail,
            "cut": self._cut,
        }.items():
            self.app.router.add_route("*", f"/{tool}", handler)

    @web.middleware
    async def _count(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path != "/":
            self.received[request.path.removeprefix("/")] += 1
        return await handler(request)

    async def _counts(self, _request: web.Request) -> web.Response:
        return web.json_response({"received": dict(sorted(self.received.items()))})

    async def _forget(self, _request: web.Request) -> web.Response:
        self.received.clear()
        return web.json_response({"received": {}})

    async def _search(self, request: web.Request) -> web.Response:
        arguments = await _arguments(request)
        wanted = str(arguments.get("q", "")).lower()
        found = [d for d in _DOCUMENTS if wanted in f"{d['title']} {d['text']}".lower()]
        return web.json_response({"q": wanted, "results": found})

    async def _notes(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"notes": list(self.notes)})
        self.notes.append(str((await _arguments(request)).get("text", ""))[:1000])
        return web.json_response({"kept": len(self.notes)}, status=201)

    async def _echo(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode("utf-8", "replace")
        headers = [[name, value] for name, value in request.headers.items()]
        return web.json_response({"method": request.method, "path": request.path_qs, "headers": headers, "body": body})

    async def _slow(self, request: web.Request) -> web.Response:
        seconds = _number(request, "seconds", 2, _LONGEST_SLEEP)
        await asyncio.sleep(seconds)
        return web.json_response({"slept": seconds})

    async def _flaky(self, request: web.Request) -> web.Response:
        if self.received["flaky"] % 3 == 0:
            return web.json_response({"ok": True, "requests": self.received["flaky"]})
        headers = {"Retry-After": str(_number(request, "after", 1, 60))} if "after" in request.query else {}
        return web.json_response({"error": "not now"}, status=503, headers=headers)

    async def _fail(self, request: web.Request) -> web.Response:
        return web.json_response({"error": "as asked"}, status=max(_number(request, "status", 500, 599), 400))

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"this is not the whole ans")
        if request.transport is not None:
            request.transport.close()
        return response


async def _arguments(request: web.Request) -> dict[str, object]:
    """The JSON body, or the query where there is none."""
    body = await request.read()
    if not body:
        return dict(request.query)
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return arguments


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise web.HTTPBadRequest(text=f"{name} is not a whole number")
    return min(int(text), most)


async def serve(host: str, port: int, listening: Callable[[str, int], None]) -> None:
    """Serves until SIGINT or SIGTERM; tells `listening` where. Raises OSError where the address cannot be had."""
    # handler_cancellation: a caller that leaves ends its call, as the gateway promises its own callers.
    runner = web.AppRunner(ToolServer().app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        listening(*runner.addresses[0][:2])
        await stop.wait()
    finally:
        await runner.cleanup()
