"""/v1: whose request it is, and which part of the API it asks for. Refusals are answered by the front; the SDK reads their `detail`."""

import asyncio
from collections.abc import Callable, Coroutine
from urllib.parse import parse_qsl, unquote

from aiohttp.web_response import Response

from gateway.doors.arrival import Arrival
from gateway.doors.governed.agents import AgentControl, Book
from gateway.doors.governed.asking import (
    AGENT,
    LONGEST_CALL,
    LONGEST_SETTING,
    Agents,
    Caller,
    Json,
    caller_of,
    document_of,
    not_found,
)
from gateway.doors.governed.governance import Governance
from gateway.doors.governed.keeping import NOT_IN_A_FLEET
from gateway.doors.governed.leases import Leases
from gateway.doors.governed.locks import Locks
from gateway.doors.governed.policies import Policies
from gateway.doors.governed.registry import Objection, Registry
from gateway.doors.governed.running import Fetched, Running
from gateway.doors.methods import check_method
from gateway.doors.refusal import Refusal
from gateway.model import Door, Event, Moment
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.policy.governed import GLOBAL, is_scope
from gateway.policy.plans.patterns import is_tool_name
from gateway.policy.snapshot import Snapshot
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts

_BUILT = (
    "ai/run, policies, agents/ID/(disable|enable|logs|metrics), tools, check-lock and "
    "ai/(lease|status|result|extend|complete|fail|cancel)"
)
_METHODS: dict[tuple[str, ...], set[str]] = {
    ("ai", "run"): {"POST"},
    ("ai", "lease"): {"POST"},
    ("ai", "extend"): {"POST"},
    ("ai", "complete"): {"POST"},
    ("ai", "fail"): {"POST"},
    ("ai", "cancel"): {"POST"},
    ("ai", "status"): {"GET"},
    ("ai", "result"): {"GET"},
    ("check-lock",): {"POST"},
    ("policies",): {"GET"},
    ("policies", "*"): {"GET", "POST"},
    ("policies", "*", "from-template"): {"POST"},
    ("agents", "*", "disable"): {"POST"},
    ("agents", "*", "enable"): {"POST"},
    ("agents", "*", "logs"): {"GET"},
    ("agents", "*", "metrics"): {"GET"},
    ("tools",): {"GET", "POST"},
    ("tools", "*"): {"GET", "DELETE"},
    ("tools", "*", "toggle"): {"POST"},
}
"""The paths below /v1, and what is taken there; `*` is a name."""

_CHANGES = {
    ("policies", "*"): "set_policy",
    ("policies", "*", "from-template"): "set_policy",
    ("agents", "*", "disable"): "disable",
    ("agents", "*", "enable"): "enable",
    ("tools",): "register",
    ("tools", "*"): "delete",
    ("tools", "*", "toggle"): "toggle",
}
"""What an operator reads in the log of those that set something."""


class GovernedDoor:
    """Constructed once, by app.py; the front hands it every request below /v1/ while the policy enables it."""

    def __init__(
        self,
        *,
        governance: Governance,
        book: Book,
        pipeline: Pipeline,
        rollout: Rollout,
        counts: Counts,
        buffers: Buffers,
        fetched: Fetched,
        objection: Objection,
        snapshot: Callable[[], Snapshot],
        reach: str,
        alone: bool,
        fixed_agent: str | None,
        clock: Callable[[], Moment],
        emit: Callable[[Event], None],
        read_timeout: float,
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._buffers = buffers
        self._read_timeout = read_timeout
        self._agents = Agents(snapshot, fixed_agent)
        self._running = Running(pipeline, rollout, buffers, self._agents, fetched)
        self._policies = Policies(governance, self._agents)
        self._control = AgentControl(governance, counts, book, reach, clock)
        self._registry = Registry(governance, self._agents, objection)
        self._alone = alone
        self._locks = Locks(governance.locks, clock)
        self._leases = Leases(governance.leases, clock)

    async def answer(self, arrival: Arrival) -> Response:
        """Raises Refusal."""
        arrival.door = Door.GOVERNED
        caller = caller_of(arrival)
        segments = [unquote(segment) for segment in arrival.path.split("/")[2:]] or [""]
        form = segments if len(segments) == 1 or segments[0] == "ai" else [segments[0], "*", *segments[2:]]
        methods = _METHODS.get(tuple(form))
        if methods is None:
            raise not_found(f"This part of the API is not built: under /v1 there are {_BUILT}.")
        check_method(arrival, frozenset(methods))
        if segments == ["ai", "run"]:  # whose document nobody holds but who lets go of it
            return await self._running.answer(arrival, await self._document(arrival, LONGEST_CALL))
        if not self._alone and segments[0] in ("ai", "check-lock"):
            raise not_found(NOT_IN_A_FLEET)
        document = await self._document(arrival, LONGEST_SETTING)
        method, action = arrival.request.method, _CHANGES.get(tuple(form))
        change = self._do(arrival, caller, method, segments, document)
        if action is not None and method != "GET":
            change = self._told(change, action, _on(segments, arrival, document), caller)
        return await _to_its_end(change)

    async def _told(
        self, change: Coroutine[None, None, Response], action: str, on: str | None, caller: Caller
    ) -> Response:
        """Somebody sets something, or tries to: the log says which key was shown for what, and what came of it."""
        status = 500
        try:
            answer = await change
            status = answer.status
        except Refusal as refusal:
            status = refusal.denial.status
            raise
        finally:
            fields = {"action": action, "on": on, "who": caller.by, "reason": None, "status": status}
            self._emit(Event("operated", self._clock(), fields))
        return answer

    def _document(self, arrival: Arrival, limit: int) -> Coroutine[None, None, Json]:
        return document_of(arrival, limit, self._buffers, self._read_timeout)

    async def _do(self, arrival: Arrival, caller: Caller, method: str, segments: list[str], document: Json) -> Response:
        match segments:
            case ["check-lock"]:
                return await self._locks.check(arrival, document)
            case ["ai", what]:
                return await self._lease(arrival, what, document)
            case ["policies", *rest]:
                return await self._policy(arrival, caller, method, rest, document)
            case ["agents", name, what]:
                return await self._agent(arrival, caller, self._agents.named(name), what, document)
            case _:
                return await self._tool(arrival, caller, method, segments[1:], document)

    async def _lease(self, arrival: Arrival, what: str, document: Json) -> Response:
        leases, asked = self._leases, dict[str, object](parse_qsl(arrival.query))
        match what:
            case "lease":
                return await leases.lease(arrival, document)
            case "extend":
                return await leases.extend(arrival, document)
            case "complete":
                return await leases.complete(arrival, document)
            case "fail":
                return await leases.fail(arrival, document)
            case "cancel":
                return await leases.cancel(arrival, document)
            case "status":
                return leases.status(arrival, asked)
            case _:
                return leases.result(arrival, asked)

    async def _policy(self, arrival: Arrival, caller: Caller, method: str, rest: list[str], document: Json) -> Response:
        if not rest:
            return self._policies.list(arrival)
        agent = self._agents.named(rest[0])
        if len(rest) > 1:
            return await self._policies.from_template(arrival, caller, agent, document)
        if method == "GET":
            return self._policies.show(arrival, agent)
        return await self._policies.put(arrival, caller, agent, document)

    async def _agent(self, arrival: Arrival, caller: Caller, agent: str, what: str, document: Json) -> Response:
        query = dict(parse_qsl(arrival.query))
        match what:
            case "disable":
                return await self._control.disable(arrival, caller, agent, document)
            case "enable":
                return await self._control.enable(arrival, caller, agent, document)
            case "logs":
                return self._control.logs(arrival, agent, query.get("limit"))
            case _:
                return self._control.metrics(arrival, agent, query.get("period"))

    async def _tool(self, arrival: Arrival, caller: Caller, method: str, rest: list[str], document: Json) -> Response:
        scope = self._agents.scope(dict(parse_qsl(arrival.query)).get("scope_id", GLOBAL))
        if not rest:
            return (
                self._registry.list(arrival, scope)
                if method == "GET"
                else await self._registry.put(arrival, caller, document)
            )
        if len(rest) > 1:
            return await self._registry.toggle(arrival, caller, rest[0], scope, document)
        if method == "DELETE":
            return await self._registry.delete(arrival, caller, rest[0], scope)
        return self._registry.show(arrival, rest[0], scope)


def _on(segments: list[str], arrival: Arrival, document: Json) -> str | None:
    """The agent, or the tool behind its scope; None where it is no name of one."""
    kind, name = segments[0], segments[1] if len(segments) > 1 else document.get("name")
    if not isinstance(name, str):
        return None
    if kind != "tools":
        return name if AGENT.fullmatch(name) else None
    asked = document if len(segments) == 1 else dict[str, object](parse_qsl(arrival.query))
    scope = asked.get("scope_id") or GLOBAL
    named = isinstance(scope, str) and is_scope(scope) and is_tool_name(name)
    return f"{scope} {name}" if named else None


async def _to_its_end(change: Coroutine[None, None, Response]) -> Response:
    """What has begun to be written is taken up, too, when its caller leaves meanwhile."""
    task = asyncio.ensure_future(change)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # there is nobody left to be told
        raise
