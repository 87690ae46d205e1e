"""The data plane's one handler: HTTP rules, run prefix and identity, then the door that the first path segment names."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import Final

import orjson
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from gateway.denial import Denial, Reason
from gateway.doors import egress, fetch, native, toolpath, tunnel
from gateway.doors.answers import NATIVE_PREFIX, SERVER, answer, outcome_headers, problem
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import read_body
from gateway.doors.governed import SEGMENT as GOVERNED
from gateway.doors.headers import IDEMPOTENCY_KEY, idempotency_key_of
from gateway.doors.http_rules import check_host, check_http, malformed, speak_http_1_1
from gateway.doors.identity import caller_of, refuse_foreign_bearer, run_of, session_window, step_of
from gateway.doors.mcp import SEGMENT as MCP
from gateway.doors.paths import PathError, decoded
from gateway.doors.refusal import Refusal
from gateway.doors.runs import RunControl
from gateway.model import BodyStream, Door, Moment, ToolCall
from gateway.pipeline.failures import RETRY_LATER
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.pipeline.shadow import Shadow
from gateway.policy.snapshot import Plan, Snapshot
from gateway.state.buffers import Buffers

TOOLS, RUNS, OURS = "tools", "runs", "_gateway"
PROBES = ("/healthz", "/readyz")
Whole = Callable[[Arrival], Awaitable[StreamResponse]]
"""A door that answers by itself. May raise Refusal."""
_LAST_DIGITS: Final = tuple(f"{byte:02x}" for byte in range(256))
"""Of call ids."""
NOT_IN_QUERIES = re.compile(r"[\x00-\x20\x7f#]")


class Front:
    """Constructed once, by app.py; called by the listener for every request."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        pipeline: Pipeline,
        rollout: Rollout,
        runs: RunControl,
        mcp: Whole,
        governed: Whole,
        buffers: Buffers,
        clock: Callable[[], Moment],
        ready: Callable[[], bool],
        fixed_agent: str | None,
        on_loopback: bool,
        read_timeout: float,
    ) -> None:
        self._snapshot = snapshot
        self._pipeline = pipeline
        self._rollout = rollout
        self._runs = runs
        self._mcp = mcp
        self._governed = governed
        self._buffers = buffers
        self._clock = clock
        self._ready = ready
        self._fixed_agent = fixed_agent
        self._on_loopback = on_loopback
        self._read_timeout = read_timeout
        self._prefix, self._calls = token_hex(4), 0
        """Of call ids."""
        self._block = f"{self._prefix}000000"
        """What 256 of them begin with."""

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        arrival = Arrival(request, self._snapshot(), self.next_call_id(), self._clock())
        try:
            check_http(request)
            if not self._begin(arrival):
                return self._probe(arrival.path)
            if arrival.path.startswith("/_gateway/runs/"):
                return await self._runs.answer(arrival)
            if self._is_governed(arrival):
                return await self._governed(arrival)
            if self._rollout.candidate is not None:
                arrival.choose(self._rollout)
            if arrival.first == MCP:
                return await self._mcp(arrival)
            plan = self._door(arrival)
            if request.method == egress.CONNECT:
                return await self._tunnel(arrival, plan)
            if IDEMPOTENCY_KEY in request.headers and arrival.door is not Door.EGRESS:  # there it is the target's
                arrival.idempotency_key = idempotency_key_of(request.headers.getall(IDEMPOTENCY_KEY))
            keyed = arrival.idempotency_key is not None
            body = await read_body(request, plan, self._buffers, self._read_timeout, keyed=keyed)
        except Refusal as refusal:
            return self.refuse(arrival, refusal.denial)
        try:
            call = destined(arrival, body) if plan.builtin else arrival.call(body)
        except Refusal as refusal:
            return self.refuse(arrival, refusal.denial, body if isinstance(body, bytes) else b"")
        handling = self._pipeline.handle(call, plan, arrival.snapshot.version, partial(answer, arrival), arrival.shadow)
        del call  # the pipeline lets go of its parsed arguments, so this must, too
        return await handling

    def understand(self, request: BaseRequest) -> Arrival | None:
        """For the fast lane: what a whole request asks of the tool path or native door, as far as its head says. None: it asks for other
        things. Raises Refusal.
        """
        arrival = Arrival(request, self._snapshot(), "", self._clock())
        check_http(request)
        if egress.is_proxied(request) or IDEMPOTENCY_KEY in request.headers or not self._begin(arrival):
            return None
        if arrival.first == MCP or self._is_governed(arrival) or arrival.path.startswith("/_gateway/runs/"):
            return None
        self._door(arrival)
        return arrival

    def next_call_id(self) -> str:
        """Unique over restarts and replicas: a counter behind a random prefix, at a fraction of a uuid4's price."""
        self._calls += 1
        if not self._calls & 0xFF:
            self._block = f"{self._prefix}{self._calls >> 8:06x}"
        return self._block + _LAST_DIGITS[self._calls & 0xFF]

    async def _tunnel(self, arrival: Arrival, plan: Plan) -> StreamResponse:
        call, version = arrival.call(headers=()), arrival.snapshot.version
        return await self._pipeline.handle(call, plan, version, partial(tunnel.answer, arrival), arrival.shadow)

    def refuse(self, arrival: Arrival, denial: Denial, body: bytes = b"") -> Response:
        """A denial before the guards: answered and logged like theirs."""
        version = arrival.snapshot.version
        # Past the door a body is refused for what it is, but for its size: that is policy's word again.
        by_policy = not arrival.passed or denial.reason is Reason.REQUEST_TOO_LARGE
        shadow = arrival.shadow if by_policy else None
        outcome = self._pipeline.refuse(arrival.call(body), arrival.plan, version, denial, shadow)
        return problem(arrival, denial, outcome_headers(arrival.call_id, outcome), version)

    def broken(self, request: BaseRequest, status: int, error: BaseException | None) -> Response:
        """For the listener: a request that could not be read, a connection too many, or a fault of ours (500).

        Answered and logged like every denial, with the little that is known.
        """
        speak_http_1_1(request)
        arrival = Arrival(request, self._snapshot(), self.next_call_id(), self._clock())
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return self.refuse(arrival, crowded())
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self.refuse(arrival, self._pipeline.internal_error(arrival.call_id, error))
        if status == HTTPStatus.REQUEST_TIMEOUT:
            detail = f"The request's head did not come within {self._read_timeout:g} s (GATEWAY_READ_TIMEOUT)."
            return self.refuse(arrival, malformed(detail, status).denial)
        detail = f"The request is not valid HTTP/1.1 ({HTTPStatus(status).phrase.lower()})."
        return self.refuse(arrival, malformed(detail, status).denial)

    def _begin(self, arrival: Arrival) -> bool:
        """Finds out who asks, and for which path. False for a probe, which anybody may ask. Raises Refusal."""
        if egress.is_proxied(arrival.request):
            egress.identify(arrival, self._fixed_agent)
            return True
        self._split(arrival)
        if arrival.path in PROBES and not arrival.run_prefix:
            return False
        check_host(arrival.request, arrival.snapshot.allowed_origins, on_loopback=self._on_loopback)
        self._identify(arrival)
        return True

    def _is_governed(self, arrival: Arrival) -> bool:
        return arrival.first == GOVERNED and arrival.snapshot.governed.enabled

    def _split(self, arrival: Arrival) -> None:
        """Path, query and run prefix. The path is checked as it came, whatever door it leads to."""
        raw, _, arrival.query = arrival.request.raw_path.partition("?")
        try:
            decoded(raw)
        except PathError as error:
            raise Refusal(Denial(Reason.INVALID_REQUEST, f"The request path is not taken: {error}.")) from None
        if arrival.query and NOT_IN_QUERIES.search(arrival.query):
            raise Refusal(Denial(Reason.INVALID_REQUEST, "The query holds a blank, a control character or a fragment."))
        if raw.startswith("/runs/"):
            run, slash, rest = raw.removeprefix("/runs/").partition("/")
            arrival.run_prefix, raw = f"/runs/{run}", slash + rest
            if not rest:
                detail = "A run prefix stands before a door: /runs/ID/tools/NAME, for example. Counts: GET /_gateway/runs/ID."
                raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
        arrival.path = raw
        arrival.first = raw[1:].partition("/")[0]

    def _identify(self, arrival: Arrival) -> None:
        headers, snapshot = arrival.request.headers, arrival.snapshot
        arrival.agent, arrival.foreign_bearer, arrival.own_token = caller_of(headers, snapshot, self._fixed_agent)
        prefix = arrival.run_prefix.removeprefix("/runs/") if arrival.run_prefix else None
        arrival.run = run_of(prefix, headers, snapshot.identify_by_trace)
        if not arrival.run and arrival.first == MCP:
            arrival.run = session_window(headers)
        arrival.step = step_of(headers)

    def _shadow(self, arrival: Arrival, other: Snapshot) -> Shadow:
        """The other policy's view, before this one's door begins."""
        twin = arrival.under(other)
        denial = None
        try:
            self._door(twin)
        except Refusal as refusal:
            denial = refusal.denial
        except Exception as error:  # noqa: BLE001  an opinion: whatever is wrong with it, the call goes on
            self._pipeline.internal_error(arrival.call_id, error)
            return Shadow(arrival.canary, "", None)
        return Shadow(arrival.canary, twin.tool, twin.plan, denial, arrival.request.content_length)

    def _door(self, arrival: Arrival) -> Plan:
        """Lets the request in at its door, by the run's policy and, for the shadow, by the other one. Raises Refusal."""
        if arrival.other is not None:
            arrival.shadow = self._shadow(arrival, arrival.other)
        plan = arrival.plan = decode(arrival)
        if arrival.foreign_bearer and not plan.forward_authorization:
            raise refuse_foreign_bearer()
        arrival.passed = True
        return plan

    def _probe(self, path: str) -> Response:
        """On the data plane the status alone, without details (SPEC 11)."""
        ok = path == "/healthz" or self._ready()
        body = orjson.dumps({"ok": ok})
        return Response(
            status=200 if ok else 503, body=body, headers={"Content-Type": "application/json", "Server": SERVER}
        )


def crowded() -> Denial:
    """Refuses a connection beyond GATEWAY_MAX_CONNECTIONS."""
    detail = "All connections are taken (GATEWAY_MAX_CONNECTIONS). Try again later."
    return Denial(Reason.OVERLOADED, detail, retry_after=RETRY_LATER, closes_connection=True)


def decode(arrival: Arrival) -> Plan:
    """Has the door that the first path segment names decode the request. Raises Refusal. (Run control, the MCP door and the governed door
    answer by themselves.)
    """
    if arrival.door is Door.EGRESS:
        return egress.decode(arrival)
    if arrival.first == TOOLS:
        return toolpath.decode(arrival)
    if arrival.path.startswith(NATIVE_PREFIX + "/"):
        arrival.run_prefix += NATIVE_PREFIX
        arrival.path = arrival.path.removeprefix(NATIVE_PREFIX)
        return native.decode(arrival)
    if arrival.first in (OURS, RUNS):
        detail = "Under /_gateway there are runs/ID, runs/ID/steps, runs/ID/finish and native/PATH; a run prefix stands once."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=404))
    return native.decode(arrival)


def destined(arrival: Arrival, body: bytes | BodyStream) -> ToolCall:
    """The call of a built-in tool, which says itself where it goes. Raises Refusal."""
    return egress.destined(arrival, body) if arrival.door is Door.EGRESS else fetch.destined(arrival, body)
