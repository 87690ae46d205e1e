"""The admin plane's HTTP surface: paths, parameters and statuses. What they do is in operations.py, who may ask in gate.py."""

import asyncio
import json

from aiohttp import web

from gateway.admin.console import pages
from gateway.admin.gate import Gate
from gateway.admin.live import Live
from gateway.admin.metrics import CONTENT_TYPE, scrape
from gateway.admin.operations import Conflict, NotFound, Operations
from gateway.admin.problems import Refused
from gateway.admin.token import AdminToken
from gateway.admin.wanted import wanted_of
from gateway.model import RunKey

_LARGEST_POLICY = 8 << 20
"""Bytes; what a policy file may have (SPEC 3)."""
_LARGEST_BODY = 64 << 10
_BODY_SECONDS = 10.0
_LONGEST_SWITCH = 366 * 86400
_MOST_LISTED = 1000
_LONGEST_REASON = 500


def make_admin(operations: Operations, token: AdminToken, hosts: frozenset[str]) -> web.Application:
    """The admin plane. `hosts` are the names it answers to beside IP addresses and localhost."""
    app = web.Application(middlewares=[Gate(token, hosts, operations.clock, operations.failed).admit])
    api, live = _Api(operations), Live(operations)
    app.on_shutdown.append(live.close)
    app.add_routes(
        [
            web.get("/", pages.serve),
            web.get(pages.PREFIX + "{name:.+}", pages.serve),
            web.get("/healthz", api.healthz),
            web.get("/readyz", api.readyz),
            web.get("/metrics", api.metrics),
            web.get("/v1/status", api.status),
            web.get("/v1/policy", api.policy),
            web.post("/v1/policy/check", api.check),
            web.post("/v1/policy/reload", api.reload),
            web.get("/v1/kill-switches", api.switches),
            web.post("/v1/kill-switches", api.kill),
            web.delete("/v1/kill-switches/{scope:.+}", api.restore),
            web.get("/v1/blast-radius", api.blast_radius),
            web.get("/v1/runs", api.runs),
            web.get("/v1/runs/{agent}/{run}", api.run),
            web.post("/v1/runs/{agent}/{run}/stop", api.stop),
            web.get("/v1/calls", api.calls),
            web.get("/v1/calls/stream", live.stream, allow_head=False),
            web.get("/v1/calls/{call}", api.call),
            web.get("/v1/upstreams", api.upstreams),
            web.get("/v1/explain", api.explain),
            web.get("/v1/rollout", api.rollout),
            web.post("/v1/rollout", api.roll_back),
        ]
    )
    return app


class _Api:
    def __init__(self, operations: Operations) -> None:
        self._do = operations

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.health())

    async def readyz(self, _request: web.Request) -> web.Response:
        ready = self._do.readiness()
        return web.json_response(ready, status=200 if ready["ready"] else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await scrape(self._do), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.status())

    async def policy(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.policy())

    async def check(self, request: web.Request) -> web.Response:
        return web.json_response(await self._do.check_policy(await _body(request, _LARGEST_POLICY)))

    async def reload(self, _request: web.Request) -> web.Response:
        answer = await self._do.reload()
        if not answer["ok"]:
            raise Refused(422, "The policy on disk is refused; the one in force stays.", members=answer)
        return web.json_response(answer)

    async def switches(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.switches())

    async def kill(self, request: web.Request) -> web.Response:
        body = _Members(await _body(request, _LARGEST_BODY))
        scope = body.text("scope", 300)
        reason = body.text("reason", _LONGEST_REASON)
        who = body.text("who", 100, "admin API")
        for_seconds = body.seconds("for_seconds", _LONGEST_SWITCH)
        cancel = body.flag("cancel_in_flight")
        body.refuse_others()
        try:
            return web.json_response(await self._do.kill(scope, reason, who, for_seconds, cancel_in_flight=cancel))
        except ValueError as error:
            raise Refused(400, f"{error}.") from None

    async def restore(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(await self._do.restore(request.match_info["scope"]))
        except ValueError as error:
            raise Refused(400, f"{error}.") from None
        except NotFound as error:
            raise Refused(404, str(error)) from None
        except Conflict as error:
            raise Refused(409, str(error), members={"held_by": error.held_by}) from None

    async def blast_radius(self, request: web.Request) -> web.Response:
        query = request.query
        if "scope" not in query:
            raise Refused(400, "Give ?scope=; &cancel_in_flight=true is optional.")
        cancel = query.get("cancel_in_flight", "false")
        if cancel not in ("true", "false"):
            raise Refused(400, "cancel_in_flight: expected true or false.")
        try:
            return web.json_response(self._do.blast_radius(query["scope"], cancel_in_flight=cancel == "true"))
        except ValueError as error:
            raise Refused(400, f"{error}.") from None

    async def runs(self, request: web.Request) -> web.Response:
        return web.json_response(self._do.runs(request.query.get("agent"), _limit(request)))

    async def run(self, request: web.Request) -> web.Response:
        return web.json_response(_found(self._do.run(_run_key(request)), "run"))

    async def stop(self, request: web.Request) -> web.Response:
        return web.json_response(_found(await self._do.stop_run(_run_key(request)), "run"))

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response(self._do.calls(wanted_of(request.query), _limit(request)))

    async def call(self, request: web.Request) -> web.Response:
        return web.json_response(_found(self._do.call(request.match_info["call"]), "call"))

    async def upstreams(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.upstreams())

    async def explain(self, request: web.Request) -> web.Response:
        query = request.query
        if "agent" not in query or "tool" not in query:
            raise Refused(400, "Give ?agent= and &tool=; &args= (JSON) and &run= are optional.")
        try:
            args = json.loads(query["args"]) if "args" in query else None
        except (ValueError, RecursionError):
            raise Refused(400, "args is not JSON.") from None
        try:
            explained = self._do.explain(query["agent"], query["tool"], args, query.get("run"))
        except ValueError as error:
            raise Refused(400, f"The url in args is not taken: {error}.") from None
        return web.json_response(explained)

    async def rollout(self, _request: web.Request) -> web.Response:
        return web.json_response(self._do.trial())

    async def roll_back(self, request: web.Request) -> web.Response:
        body = _Members(await _body(request, _LARGEST_BODY))
        action = body.text("action", 20)
        reason = body.text("reason", _LONGEST_REASON)
        who = body.text("who", 100, "admin API")
        body.refuse_others()
        if action != "rollback":
            raise Refused(400, "action: expected rollback. Promotion is replacing policy.yaml.")
        try:
            return web.json_response(await self._do.roll_back(reason, who))
        except NotFound as error:
            raise Refused(404, str(error)) from None


class _Members:
    """The members of a JSON object body, taken one by one; what is left over is refused."""

    def __init__(self, body: bytes) -> None:
        try:
            members = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None
        if not isinstance(members, dict):
            raise Refused(400, "The body is not a JSON object.")
        self._members: dict[str, object] = members
        self._known: list[str] = []

    def text(self, name: str, longest: int, default: str | None = None) -> str:
        value = self._take(name, default)
        if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
            raise Refused(400, f"{name}: expected one line of 1 to {longest} characters.")
        return value

    def seconds(self, name: str, most: int) -> float | None:
        value = self._take(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise Refused(400, f"{name}: expected a number of seconds above 0 and up to {most}.")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._take(name, default=False)
        if not isinstance(value, bool):
            raise Refused(400, f"{name}: expected true or false.")
        return value

    def refuse_others(self) -> None:
        """A mistyped member must not silently make a weaker switch."""
        if self._members:
            raise Refused(400, f"The body has an unknown member; known are {', '.join(self._known)}.")

    def _take(self, name: str, default: object) -> object:
        self._known.append(name)
        return self._members.pop(name, default)


async def _body(request: web.Request, largest: int) -> bytes:
    pieces = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.content.iter_any():
                pieces += piece
                if len(pieces) > largest:
                    raise Refused(413, f"The body is larger than {largest} bytes.")
    except TimeoutError:
        raise Refused(408, "The body did not arrive in time.") from None
    return bytes(pieces)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST_LISTED):
        raise Refused(400, f"limit: expected an integer 1..{_MOST_LISTED}.")
    return int(text)


def _run_key(request: web.Request) -> RunKey:
    return RunKey(request.match_info["agent"], request.match_info["run"])


def _found(what: dict[str, object] | None, name: str) -> dict[str, object]:
    if what is None:
        raise Refused(404, f"The gateway remembers no such {name}.")
    return what
