"""tools/call: the one message that is enforced. It goes through the pipeline like the calls of every other door."""

from collections.abc import Awaitable
from functools import partial
from typing import NamedTuple

import orjson
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from gateway.denial import Denial, Reason
from gateway.doors.answers import first_lines, last_lines, relayed
from gateway.doors.arguments import hash_of, written
from gateway.doors.arrival import Arrival
from gateway.doors.mcp.annotations import Annotations
from gateway.doors.mcp.cancelled import Cancellations
from gateway.doors.mcp.messages import Message, is_callable, stateless
from gateway.doors.mcp.refusals import Id, refused_call, result_of
from gateway.doors.mcp.sight import Sight
from gateway.doors.mcp.sse import event_of
from gateway.doors.mcp.streams import EventStream, says_failed
from gateway.doors.mcp.writing import Writer, headers_of
from gateway.doors.plain import PlainAnswer, is_plain
from gateway.model import Outcome, Reply
from gateway.pipeline.failures import LOOK_FIRST, Cut, sentence
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.pipeline.progress import RESULT_WINDOW
from gateway.pipeline.shadow import Shadow
from gateway.policy.plans.patterns import LONGEST_NAME
from gateway.policy.snapshot import Plan, UpstreamPlan

OK = 200
_SECRET = b"requestState"
"""What a server hands out in place of a session."""
_AT_WORK = frozenset(
    {
        Reason.OUTCOME_UNKNOWN, Reason.TOOL_TIMEOUT, Reason.RESPONSE_TOO_LARGE,
        Reason.KILL_SWITCH, Reason.AGENT_DISABLED, Reason.DRAINING, Reason.RUN_FINISHED,
    }
)  # fmt: skip
"""Ends of a call whose tool may still be at work."""


class Asked(NamedTuple):
    """What the answer to a call has to know of it."""

    server: UpstreamPlan
    id: Id


class Calls:
    """Constructed once, by the door."""

    def __init__(
        self, pipeline: Pipeline, annotations: Annotations, sight: Sight, cancellations: Cancellations
    ) -> None:
        self._pipeline = pipeline
        self._sight = sight
        self._annotations = annotations
        self._cancellations = cancellations

    def begin(
        self,
        arrival: Arrival,
        server: UpstreamPlan,
        message: Message,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
    ) -> Awaitable[StreamResponse]:
        """Hands the call to the pipeline. Nothing here holds on to the arguments, so that the pipeline can let go of them."""
        name = message.named or ""
        arrival.tool = f"{server.name}.{name[:LONGEST_NAME]}"  # a longer one is refused below, and not kept for the log
        arguments = written(message.arguments)
        call = arrival.call(
            body,
            headers=headers,
            arguments=message.arguments,
            hashed=hash_of(arrival.tool, "POST", "", arrival.query, arguments),
            shown=arguments[:RESULT_WINDOW],
        )._replace(once=not stateless(arrival.request.headers))
        plan = arrival.plan = self._plan(arrival.snapshot.plan(arrival.agent, arrival.tool), name)
        if arrival.other is not None:
            other = self._plan(arrival.other.plan(arrival.agent, arrival.tool), name)
            arrival.shadow = Shadow(arrival.canary, arrival.tool, other, None, len(body))
        version, asked = arrival.snapshot.version, Asked(server, message.id)
        denial = _too_large(plan, len(body)) or _unreadable_name(name)
        if denial is not None:
            outcome = self._pipeline.refuse(call, plan, version, denial, arrival.shadow)
            return _ready(refused_call(arrival, asked.id, denial, outcome))
        return self._pipeline.handle(call, plan, version, partial(self._answer, arrival, asked), arrival.shadow)

    def _plan(self, plan: Plan, name: str) -> Plan:
        return self._annotations.applied(plan, name)

    async def _answer(self, arrival: Arrival, asked: Asked, call: OpenCall) -> StreamResponse:
        outcome = call.outcome
        if outcome.denial is not None:
            if outcome.attempts:
                self._tell(arrival, asked, outcome.denial)
            return refused_call(arrival, asked.id, outcome.denial, outcome)
        reply = outcome.reply
        if reply is None:
            raise AssertionError("an outcome holds a reply or a denial")
        if reply.event_stream and reply.status == OK:
            return await self._pass_events(arrival, asked, call, reply)
        if reply.body is not None:
            reply.failed = _says_failed(reply.body)
            return _whole(arrival, outcome, reply, reply.body)
        return await self._pass(arrival, asked, call, reply)

    async def _pass(self, arrival: Arrival, asked: Asked, call: OpenCall, reply: Reply) -> StreamResponse:
        """JSON, longer than what is held."""
        writer = Writer(arrival.request, reply.status, headers_of(arrival, call.outcome, reply))
        await writer.begin()
        try:
            await call.pass_on(writer.write, partial(_end, writer))
        except Cut as cut:
            self._tell(arrival, asked, cut.denial)
            return await writer.break_off(events=False, last=None)
        return writer.response

    async def _pass_events(self, arrival: Arrival, asked: Asked, call: OpenCall, reply: Reply) -> StreamResponse:
        stream = EventStream(asked.id, partial(self._sight.may_see, arrival, asked.server))
        if reply.body is not None:
            body = stream.feed(reply.body) + stream.end()
            if not stream.answered and not stream.resumable:
                body += self._event(arrival, asked, _unanswered(arrival), call.outcome)
            reply.body, reply.failed = body, stream.failed
            return _whole(arrival, call.outcome, reply, body)
        writer = Writer(arrival.request, OK, headers_of(arrival, call.outcome, reply, rewritten=True))

        async def write(piece: bytes) -> None:
            passed = stream.feed(piece)
            reply.asks, reply.failed = stream.asks, stream.failed
            reply.private = reply.private or _SECRET in passed
            await writer.write(passed)
            reply.answered = stream.answered

        async def end() -> None:
            await writer.write(stream.end())
            if not stream.answered and not stream.resumable:
                await writer.write(self._event(arrival, asked, _unanswered(arrival), call.outcome))
            await writer.end()

        await writer.begin()
        try:
            await call.pass_on(write, end)
        except Cut as cut:
            if not cut.by_upstream:
                self._tell(arrival, asked, cut.denial)
            resumes = cut.by_upstream and stream.resumable
            last = None if resumes or stream.answered else self._event(arrival, asked, cut.denial, call.outcome)
            return await writer.break_off(events=True, last=last)
        return writer.response

    def _event(self, arrival: Arrival, asked: Asked, denial: Denial, outcome: Outcome) -> bytes:
        return event_of(result_of(arrival, asked.id, denial, outcome.policy))

    def _tell(self, arrival: Arrival, asked: Asked, denial: Denial) -> None:
        """On the stateless wire the closed stream says it all."""
        if denial.reason in _AT_WORK and not stateless(arrival.request.headers):
            self._cancellations.tell(asked.server, arrival.request.headers, asked.id, denial.reason.value)


def _whole(arrival: Arrival, outcome: Outcome, reply: Reply, body: bytes) -> StreamResponse:
    request: BaseRequest = arrival.request
    reply.private = _SECRET in body
    if reply.failed and outcome.reason is Reason.OK:
        outcome.reason = Reason.TOOL_ERROR
    if is_plain(request, reply):
        kept = [(name, value) for name, value in relayed(arrival, reply) if name.lower() != "location"]
        first = first_lines(arrival.call_id, outcome, reply.status)
        return PlainAnswer(reply.status, first + last_lines(kept, len(body)) + body)
    return Response(status=reply.status, headers=headers_of(arrival, outcome, reply), body=body or None)


def _says_failed(body: bytes) -> bool:
    """Read only where it may be so: most results are no errors."""
    if b'"isError"' not in body and b'"error"' not in body:
        return False
    try:
        message = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(message, dict) and says_failed(message)


async def _end(writer: Writer) -> None:
    await writer.end()


async def _ready(response: StreamResponse) -> StreamResponse:
    return response


def _too_large(plan: Plan, size: int) -> Denial | None:
    if size <= plan.max_request_bytes:
        return None
    detail = (
        f"The call is larger than this tool's limit of {plan.max_request_bytes} bytes (max_request_bytes). Send less."
    )
    return Denial(Reason.REQUEST_TOO_LARGE, detail)


def _unreadable_name(name: str) -> Denial | None:
    if is_callable(name):
        return None
    detail = f"A tool's name is at most {LONGEST_NAME} printable characters. Call one that tools/list names."
    return Denial(Reason.INVALID_REQUEST, detail)


def _unanswered(arrival: Arrival) -> Denial:
    """The stream ended as if all were well, and the caller would wait for ever."""
    detail = sentence(f"the upstream ended its answer to {arrival.tool} before the result")
    return Denial(Reason.OUTCOME_UNKNOWN, f"{detail} {LOOK_FIRST}")
