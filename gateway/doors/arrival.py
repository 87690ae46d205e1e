"""One request on its way to becoming a ToolCall."""

from dataclasses import dataclass

from aiohttp.web import BaseRequest

from gateway.doors.arguments import ArgumentsError, args_hash, arguments_of
from gateway.doors.headers import end_to_end, forwarding
from gateway.doors.identity import DEFAULT_AGENT, trace_of
from gateway.model import BodyStream, Door, Moment, RunKey, Target, ToolCall
from gateway.policy.snapshot import Plan, Snapshot


@dataclass(slots=True)
class Arrival:
    """Filled in as the request is understood, so that a refusal at any point can be answered and logged with what is known."""

    request: BaseRequest
    snapshot: Snapshot
    call_id: str
    started: Moment
    path: str = "/"
    """Still encoded, without the run prefix."""
    query: str = ""
    run_prefix: str = ""
    """`/runs/{run_id}` as it came, "" without one."""
    door: Door = Door.TOOL_PATH
    agent: str = DEFAULT_AGENT
    foreign_bearer: bool = False
    own_bearer: bool = False
    """Authorization carries an agent's token: consumed here."""
    run: str = ""
    step: int | None = None
    methods: frozenset[str] = frozenset()
    """What is taken here, where that is not any method: for the Allow header of a 405."""
    tool: str = ""
    plan: Plan | None = None
    rest: str = ""
    target: str = ""

    def call(
        self,
        body: bytes | BodyStream = b"",
        *,
        method: str | None = None,
        headers: tuple[tuple[str, str], ...] | None = None,
        destination: Target | None = None,
        arguments: object = None,
    ) -> ToolCall:
        """The ToolCall as far as it is known. What a door does not say is taken from the request."""
        request, plan = self.request, self.plan
        malformed = None
        if arguments is None and plan is not None and plan.arguments is not None and isinstance(body, bytes):
            try:
                arguments = arguments_of(body, self.query)
            except ArgumentsError as error:
                malformed = str(error)
        method = method or request.method
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
            args_hash=args_hash(self.tool, method, self.rest, self.query, body) if isinstance(body, bytes) else "",
            step=self.step,
            trace_id=trace_of(request.headers),
            destination=destination,
        )

    def _headers(self) -> tuple[tuple[str, str], ...]:
        request, plan = self.request, self.plan
        if plan is None or (not plan.allowed and not plan.report):
            return ()
        headers, none = request.headers, ()
        authorization = plan.forward_authorization and not self.own_bearer
        kept = end_to_end(headers.items(), headers.getall("Connection", none), authorization=authorization)
        via, forwarded = headers.getall("Via", none), headers.getall("Forwarded", none)
        return (*kept, *forwarding(request.remote, headers.get("Host", ""), via, forwarded))
