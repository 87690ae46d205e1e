"""/mcp/{server}: which server, which message, and whether it may pass. What becomes of it then is in calls and passage."""

from collections.abc import Awaitable, Callable

from aiohttp.web_response import StreamResponse

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import read_whole
from gateway.doors.headers import end_to_end, forwarding
from gateway.doors.identity import refuse_foreign_bearer
from gateway.doors.mcp import SEGMENT, messages
from gateway.doors.mcp.annotations import Annotations
from gateway.doors.mcp.calls import Calls
from gateway.doors.mcp.cancelled import Cancellations, SendApart
from gateway.doors.mcp.messages import CALL, INVALID_REQUEST, PING, Message, MessageError
from gateway.doors.mcp.passage import Failed, Passage
from gateway.doors.mcp.refusals import CODE, refused_message
from gateway.doors.mcp.sight import Sight
from gateway.doors.methods import check_method
from gateway.doors.refusal import Refusal
from gateway.guards.mcp_message import judge_message
from gateway.model import Door, Moment, RunKey
from gateway.pipeline.pipeline import Pipeline
from gateway.policy.snapshot import Snapshot, UpstreamPlan
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts

METHODS = frozenset({"GET", "POST", "DELETE"})
LONGEST_MESSAGE = 4 << 20
"""Bytes: what the reference servers take. A call is bounded by its tool's max_request_bytes as well."""
NOT_FORWARDED = frozenset({"origin", "accept-encoding"})
"""The Origin is judged here, and servers refuse foreign ones; a coded list could not be filtered."""


class McpDoor:
    """Constructed once, by app.py; the front hands it every request below /mcp/."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        counts: Counts,
        buffers: Buffers,
        send_apart: SendApart,
        snapshot_of: Callable[[RunKey], Snapshot],
        clock: Callable[[], Moment],
        read_timeout: float,
    ) -> None:
        self._pipeline = pipeline
        self._counts = counts
        self._buffers = buffers
        self._clock = clock
        self._read_timeout = read_timeout
        annotations = Annotations()
        self._cancellations = Cancellations(send_apart)
        sight = Sight(counts, annotations, snapshot_of, clock)
        self._calls = Calls(pipeline, annotations, sight, self._cancellations)
        self._passage = Passage(counts=counts, buffers=buffers, sight=sight, send_apart=send_apart)

    async def close(self) -> None:
        """At the process's end."""
        await self._cancellations.close()

    async def answer(self, arrival: Arrival) -> StreamResponse:
        """Whatever it is, this answers it."""
        arrival.door = Door.MCP
        try:
            server = _server(arrival)
            check_method(arrival, METHODS)
            if arrival.foreign_bearer:
                raise refuse_foreign_bearer()
            body = await self._body(arrival)
        except Refusal as refusal:
            return self._refuse(arrival, None, refusal.denial)
        try:
            message = messages.read(body, arrival.request.headers) if arrival.request.method == "POST" else None
        except MessageError as error:
            denial = Denial(Reason.INVALID_REQUEST, error.detail, status_override=error.status)
            self._buffers.give(len(body))
            return self._refuse(arrival, None, denial, code=error.code)
        handling = self._handle(arrival, server, message, body)
        del message, body  # a call's arguments are let go of once they are judged
        return await handling

    def _handle(
        self, arrival: Arrival, server: UpstreamPlan, message: Message | None, body: bytes
    ) -> Awaitable[StreamResponse]:
        headers = _headers(arrival)
        if message is not None and message.method == CALL:
            return self._calls.begin(arrival, server, message, body, headers)
        return self._message(arrival, server, message, body, headers)

    async def _message(
        self,
        arrival: Arrival,
        server: UpstreamPlan,
        message: Message | None,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
    ) -> StreamResponse:
        try:
            denial = self._objection(arrival, server, message)
            if denial is not None:
                return self._refuse(arrival, message, denial, by_policy=True)
            return await self._passage.pass_on(arrival, server, message, body, headers)
        except Failed as failed:
            return self._refuse(arrival, message, failed.denial, by_policy=True)
        finally:
            self._buffers.give(len(body))

    def _objection(self, arrival: Arrival, server: UpstreamPlan, message: Message | None) -> Denial | None:
        """Notifications, responses, ping and the end of a session always pass: they only clear away."""
        if message is not None and server.mcp is not None and server.mcp.denies(message.method):
            detail = f"The policy denies this method (mcp_servers.{server.name}.deny_methods). Go on without it."
            return Denial(Reason.INVALID_REQUEST, detail)
        asks = message.is_request and message.method != PING if message is not None else arrival.request.method == "GET"
        if not asks:
            return None
        denial = judge_message(RunKey(arrival.agent, arrival.run), self._counts, self._clock())
        if denial is None and self._pipeline.shared is not None:
            return self._pipeline.shared.unheard(arrival.snapshot.plan(arrival.agent, f"{server.name}.*"))
        return denial

    async def _body(self, arrival: Arrival) -> bytes:
        if arrival.request.method != "POST":
            return b""
        return await read_whole(arrival.request, LONGEST_MESSAGE, self._buffers, self._read_timeout)

    def _refuse(
        self,
        arrival: Arrival,
        message: Message | None,
        denial: Denial,
        *,
        code: int | None = None,
        by_policy: bool = False,
    ) -> StreamResponse:
        """Answered and logged like the denials of every other door, without the message's text."""
        call = arrival.call(b"", headers=(), hashed="", shown=b"")
        outcome = self._pipeline.refuse(call, None, arrival.snapshot.version, denial)
        identity = message.id if message is not None else None
        usual = CODE if by_policy or denial.reason is not Reason.INVALID_REQUEST else INVALID_REQUEST
        return refused_message(arrival, identity, denial, outcome, code=code or usual, by_policy=by_policy)


def _server(arrival: Arrival) -> UpstreamPlan:
    """Raises Refusal: a policy that names no such server says 404, as the server's own address would."""
    name = arrival.path.removeprefix(f"/{SEGMENT}").removeprefix("/").removesuffix("/")
    server = arrival.snapshot.upstreams.get(name)
    if server is None or server.mcp is None:
        detail = "There is no such MCP server here. One is reached at /mcp/NAME, where NAME is a key of the policy's mcp_servers."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=404))
    arrival.target = f"?{arrival.query}" if arrival.query else ""
    return server


def _headers(arrival: Arrival) -> tuple[tuple[str, str], ...]:
    """What of the caller's headers goes on; the server's own credentials are added where it is sent."""
    request, none = arrival.request, ()
    headers = request.headers
    kept = end_to_end(headers.items(), headers.getall("Connection", none))
    via, forwarded = headers.getall("Via", none), headers.getall("Forwarded", none)
    return (
        *((name, value) for name, value in kept if name.lower() not in NOT_FORWARDED),
        *forwarding(request.remote, headers.get("Host", ""), via, forwarded),
    )
