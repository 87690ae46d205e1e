"""One request on its way to becoming a ToolCall."""

from copy import copy

from aiohttp.web_request import BaseRequest

from gateway.doors.arguments import ArgumentsError, args_hash, arguments_of
from gateway.doors.headers import (
    IDEMPOTENCY_KEY,
    NOT_FORWARDED,
    WITH_AUTHORIZATION,
    end_to_end,
    forwarding,
    made_up_key,
)
from gateway.doors.identity import DEFAULT_AGENT, trace_of
from gateway.model import BodyStream, Door, Moment, RunKey, Target, ToolCall
from gateway.pipeline.rollout import Rollout
from gateway.pipeline.shadow import Shadow
from gateway.policy.snapshot import Plan, Snapshot


class Arrival:
    """Filled in as the request is understood, so that a refusal at any point can be answered and logged with what is known."""

    path: str = "/"
    """Still encoded, without the run prefix."""
    first: str = ""
    """Its first segment, which says what door it leads to."""
    query: str = ""
    run_prefix: str = ""
    """`/runs/{run_id}` as it came, "" without one."""
    door: Door = Door.TOOL_PATH
    agent: str = DEFAULT_AGENT
    foreign_bearer: bool = False
    own_token: bool = False
    """Authorization carries an agent's token: consumed here."""
    run: str = ""
    step: int | None = None
    idempotency_key: str | None = None
    methods: frozenset[str] = frozenset()
    """What is taken here, where that is not any method: for the Allow header of a 405."""
    tool: str = ""
    plan: Plan | None = None
    rest: str = ""
    destination: Target | None = None
    """Where a proxied request goes."""
    target: str = ""
    passed: bool = False
    """The door has let it in."""
    canary: bool = False
    """The run lives under the candidate: `snapshot` is the candidate's, `other` the live one."""
    other: Snapshot | None = None
    """While a candidate is on trial: the policy that the run does not live under."""
    shadow: Shadow | None = None
    """What the other policy's door makes of it."""

    def __init__(self, request: BaseRequest, snapshot: Snapshot, call_id: str, started: Moment) -> None:
        self.request = request
        self.snapshot = snapshot
        self.call_id = call_id
        self.started = started

    def of(self, request: BaseRequest, call: ToolCall) -> "Arrival":
        """A copy for another request with the very same head, whose `call` has begun in the fast lane."""
        twin = copy(self)
        twin.request, twin.call_id, twin.started = request, call.id, call.started
        twin.run, twin.step = call.run.id, call.step
        return twin

    def under(self, other: Snapshot) -> "Arrival":
        """The same request, as the other policy sees it."""
        twin = copy(self)
        twin.snapshot, twin.other = other, None
        return twin

    def choose(self, rollout: Rollout) -> None:
        """Which of two policies does the run live under, while a candidate is on trial?"""
        candidate, live = rollout.candidate, self.snapshot
        if candidate is not None:
            self.canary = rollout.is_chosen(RunKey(self.agent, self.run), live)
            self.snapshot, self.other = (candidate.snapshot, live) if self.canary else (live, candidate.snapshot)

    def call(
        self,
        body: bytes | BodyStream = b"",
        *,
        method: str | None = None,
        headers: tuple[tuple[str, str], ...] | None = None,
        destination: Target | None = None,
        arguments: object = None,
        hashed: str | None = None,
        shown: bytes | None = None,
    ) -> ToolCall:
        """The ToolCall as far as it is known. What a door does not say is taken from the request."""
        request, malformed = self.request, None
        if arguments is None and isinstance(body, bytes) and self._has_schema():
            try:
                arguments = arguments_of(body, self.query)
            except ArgumentsError as error:
                malformed = str(error)
        method = method or request.method
        if hashed is None:
            hashed = args_hash(self.tool, method, self.rest, self.query, body) if isinstance(body, bytes) else ""
        return ToolCall(
            id=self.call_id,
            door=self.door,
            agent=self.agent,
            run=RunKey(self.agent, self.run),
            tool=self.tool,
            method=method,
            rest=self.rest,
            query=self.query,
            target=self.target,
            headers=self._headers() if headers is None else headers,
            body=body,
            started=self.started,
            arguments=arguments,
            malformed=malformed,
            args_hash=hashed,
            step=self.step,
            trace_id=trace_of(request.headers),
            destination=destination or self.destination,
            idempotency_key=self.idempotency_key,
            shown=shown,
            traceparent=request.headers.get("traceparent"),
        )

    def _has_schema(self) -> bool:
        """Under either policy."""
        if self.plan is not None and self.plan.arguments is not None:
            return True
        return self.shadow is not None and self.shadow.plan is not None and self.shadow.plan.arguments is not None

    def _headers(self) -> tuple[tuple[str, str], ...]:
        request, plan = self.request, self.plan
        if plan is None or (not plan.allowed and not plan.report):
            return ()
        headers, none = request.headers, ()
        dropped = WITH_AUTHORIZATION if plan.forward_authorization and not self.own_token else NOT_FORWARDED
        kept = end_to_end(headers.items(), headers.getall("Connection", none), dropped)
        if plan.idempotency_key:
            kept.append((IDEMPOTENCY_KEY, self.idempotency_key or made_up_key(self.call_id, self.started)))
        via, forwarded = headers.getall("Via", none), headers.getall("Forwarded", none)
        return (*kept, *forwarding(request.remote, headers.get("Host", ""), via, forwarded))
