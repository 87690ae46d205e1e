"""The admin plane's operations: paths, statuses and meaning. What they do is in operations.py, what they take in forms.py, what they answer
with in answers.py, who may ask in gate.py; openapi.py describes them.
"""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse, json_response

from gateway.admin import answers, forms
from gateway.admin.console import pages
from gateway.admin.gate import Gate
from gateway.admin.live import Live
from gateway.admin.metrics import CONTENT_TYPE, scrape
from gateway.admin.operation import NOT_HERE, OPERATIONS, operation
from gateway.admin.operations import Conflict, NotFound, Operations
from gateway.admin.plane import Plane
from gateway.admin.problems import Refused
from gateway.admin.routes import Routes
from gateway.admin.token import AdminToken
from gateway.admin.wanted import wanted_of
from gateway.model import RunKey

EVENT_STREAM = "text/event-stream"
_NOT_FOUND = {404: "The gateway remembers none of that name"}
T = TypeVar("T")


def make_admin(operations: Operations, token: AdminToken, hosts: frozenset[str]) -> Plane:
    """The admin plane, to be made inside a running loop. `hosts` are the names it answers to beside IP addresses and localhost."""
    gate = Gate(token, hosts, operations.clock, operations.failed, operations.guessed)
    live, routes = Live(operations, token), Routes()
    api = Api(operations, live)
    for path in ("/", pages.PREFIX + "{name:.+}"):
        routes.add("GET", path, pages.serve)
        routes.add("HEAD", path, pages.serve)
    for each in OPERATIONS:
        routes.add(each.method, each.path, partial(each, api))
        if each.method == "GET" and each.media != EVENT_STREAM:  # whose headers alone would be held open
            routes.add("HEAD", each.path, partial(each, api))
    return Plane(gate, routes, live, operations.failed)


class Api:
    """One method an operation; its docstring is what readers of the document are told."""

    def __init__(self, operations: Operations, live: Live) -> None:
        self._do = operations
        self._live = live
        self.operated = operations.operated

    @operation("GET", "/healthz", open=True)
    async def healthz(self) -> answers.Health:
        """The process can answer."""
        return self._do.health()

    @operation("GET", "/readyz", open=True, statuses={200: "Ready", 503: "Starting, or ending"},
               shape={200: answers.Readiness, 503: answers.Readiness})  # fmt: skip
    async def readyz(self) -> Response:
        """Does it take calls?"""
        ready = self._do.readiness()
        return json_response(ready, status=200 if ready["ready"] else 503)

    @operation("GET", "/metrics", open=True, media="text/plain")
    async def metrics(self) -> Response:
        """For Prometheus (docs/metrics.md)."""
        return Response(body=await scrape(self._do), headers={"Content-Type": CONTENT_TYPE})

    @operation("GET", "/openapi.json", open=True, problems=NOT_HERE, shape={200: dict[str, object]})
    async def openapi(self) -> Response:
        """This document."""
        from gateway.admin.openapi import document  # once, when somebody asks

        return Response(body=await asyncio.to_thread(document), content_type="application/json")

    @operation("GET", "/v1/status")
    async def status(self) -> answers.Status:
        """The whole picture, small enough to read."""
        return self._do.status()

    @operation("GET", "/v1/policy")
    async def policy(self) -> answers.Policy:
        """The policy in force, and what is wrong with the one on disk."""
        return self._do.policy()

    @operation("POST", "/v1/policy/check")
    async def check(self, policy: bytes) -> answers.CheckedPolicy:
        """Would this policy be taken? It is not put in force."""
        return await self._do.check_policy(policy)

    @operation("POST", "/v1/policy/reload", changes=True, problems={422: "The policy on disk is refused"},
               shape={422: answers.ReloadRefused})  # fmt: skip
    async def reload(self, _signed: forms.Signed) -> answers.Reloaded:
        """Reads the policy folder now rather than within the second."""
        answer = await self._do.reload()
        if not answer["ok"]:
            raise Refused(422, "The policy on disk is refused; the one in force stays.", members=answer)
        return answer

    @operation("GET", "/v1/kill-switches")
    async def switches(self) -> answers.Switches:
        """All that are on, from every source."""
        return self._do.switches()

    @operation("POST", "/v1/kill-switches", changes=True)
    async def kill(self, order: forms.KillOrder) -> answers.Killed:
        """Puts a switch on; in effect when this is answered."""
        try:
            return await self._do.kill(
                order.scope, order.reason, order.who, order.for_seconds, cancel_in_flight=order.cancel_in_flight
            )
        except ValueError as error:
            raise Refused(400, f"{error}.") from None

    @operation("DELETE", "/v1/kill-switches/{scope:.+}", changes=True, shape={409: answers.StillHeld},
               problems={404: "No such switch is on", 409: "Another source still holds it"})  # fmt: skip
    async def restore(self, scope: str, _signed: forms.Signed) -> answers.Restored:
        """Lifts the switch that was set at run time."""
        try:
            return await self._do.restore(scope)
        except ValueError as error:
            raise Refused(400, f"{error}.") from None
        except NotFound as error:
            raise Refused(404, str(error)) from None
        except Conflict as error:
            raise Refused(409, str(error), members={"held_by": error.held_by}) from None

    @operation("GET", "/v1/blast-radius")
    async def blast_radius(self, asked: forms.Foreseen) -> answers.BlastRadius:
        """What a switch would stop just now. Nothing is changed."""
        try:
            return self._do.blast_radius(asked.scope, cancel_in_flight=asked.cancel_in_flight)
        except ValueError as error:
            raise Refused(400, f"{error}.") from None

    @operation("GET", "/v1/runs")
    async def runs(self, asked: forms.RunsAsked) -> answers.Runs:
        """The latest started first."""
        return self._do.runs(asked.agent, asked.limit)

    @operation("GET", "/v1/runs/{agent}/{run}", problems=_NOT_FOUND)
    async def run(self, agent: str, run: str) -> answers.Run:
        """One run with its budgets."""
        return _found(self._do.run(RunKey(agent, run)), "run")

    @operation("POST", "/v1/runs/{agent}/{run}/stop", problems=_NOT_FOUND, changes=True)
    async def stop(self, agent: str, run: str, _signed: forms.Signed) -> answers.StoppedRun:
        """Ends the run for good: a kill switch can be lifted, this cannot."""
        return _found(await self._do.stop_run(RunKey(agent, run)), "run")

    @operation("GET", "/v1/calls")
    async def calls(self, asked: forms.CallsAsked) -> answers.Calls:
        """The latest ended first."""
        return self._do.calls(wanted_of(asdict(asked)), asked.limit)

    @operation(
        "GET", "/v1/calls/stream", media=EVENT_STREAM, problems={503: "As many streams are open as there may be"}
    )
    async def stream(self, request: BaseRequest, _asked: forms.Filter) -> StreamResponse:
        """Calls as they end, as server-sent events: `call` with what /v1/calls tells of one, `lost` with how many a slow reader missed.
        Last-Event-ID goes on behind that call.
        """
        return await self._live.stream(request)

    @operation("GET", "/v1/calls/{call}", problems=_NOT_FOUND)
    async def call(self, call: str) -> answers.CallStory:
        """One call's whole story."""
        return _found(self._do.call(call), "call")

    @operation("GET", "/v1/upstreams")
    async def upstreams(self) -> answers.Upstreams:
        """Those that are named, with their breakers and connections."""
        return self._do.upstreams()

    @operation("GET", "/v1/explain")
    async def explain(self, asked: forms.CallImagined) -> answers.Explained:
        """What would become of such a call now, and which guard decides it."""
        try:
            return self._do.explain(asked.agent, asked.tool, asked.args, asked.run)
        except ValueError as error:
            raise Refused(400, f"The url in args is not taken: {error}.") from None

    @operation("GET", "/v1/rollout")
    async def rollout(self) -> answers.Trial:
        """How the candidate policy fares."""
        return self._do.trial()

    @operation("POST", "/v1/rollout", changes=True, problems={404: "No candidate is on trial"})
    async def roll_back(self, order: forms.RollBackOrder) -> answers.RolledBack:
        """Ignores the candidate until its content changes."""
        try:
            return await self._do.roll_back(order.reason, order.who)
        except NotFound as error:
            raise Refused(404, str(error)) from None


def _found(what: T | None, name: str) -> T:
    if what is None:
        raise Refused(404, f"The gateway remembers no such {name}.")
    return what
