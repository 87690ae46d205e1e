"""From an Outcome to HTTP: replies passed on, denials as problem+json (RFC 9457), and the headers that stand on every answer."""

import asyncio
import socket
import struct
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit, urlunsplit

import orjson
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from multidict import CIMultiDict

from gateway.denial import ANSWERS, Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.plain import STATUS_LINES, PlainAnswer, Relayed, RelayedWhole, is_plain
from gateway.model import Door, Moment, Outcome, Remaining, Reply, ReplyHead
from gateway.pipeline.failures import Cut
from gateway.pipeline.pipeline import OpenCall
from gateway.policy.plans.routes import RESERVED
from gateway.policy.snapshot import UpstreamPlan

PROBLEM_TYPE = "urn:tool-gateway:reason:"
SERVER = "tool-gateway"
NATIVE_PREFIX = "/_gateway/native"
"""Reaches the native door for any path, those of other doors too."""
LAST_EVENT_SECONDS = 1.0
"""How long the last event of a stream may take to reach its reader."""


async def answer(arrival: Arrival, call: OpenCall) -> StreamResponse:
    """Writes (or hands to aiohttp) the one answer of this call."""
    outcome = call.outcome
    if outcome.denial is not None:
        return problem(arrival, outcome.denial, outcome_headers(arrival.call_id, outcome), outcome.policy)
    reply = outcome.reply
    if reply is None:
        raise AssertionError("an outcome holds a reply or a denial")
    if reply.body and is_plain(arrival.request, reply):
        return PlainAnswer(reply.status, plain_bytes(arrival, arrival.call_id, outcome, reply, reply.body, call.now))
    multi = CIMultiDict(outcome_headers(arrival.call_id, outcome))
    multi.extend(relayed(arrival, reply))
    if reply.body is not None:
        return RelayedWhole(status=reply.status, headers=multi, body=reply.body or None)
    return await _stream(arrival, call, reply, multi)


def problem(arrival: Arrival, denial: Denial, headers: dict[str, str], policy: str) -> Response:
    """The denial as a document a model can act on (SPEC 4)."""
    document = problem_of(denial, arrival.call_id, arrival.tool, arrival.run, policy)
    status = denial.status
    if denial.waiting_helps:
        headers["Retry-After"] = str(denial.whole_wait)
    if denial.stop_reason or not document["retryable"]:
        headers["x-should-retry"] = "false"
    headers |= {"Content-Type": "application/problem+json", "Server": SERVER}
    if status == 405:
        headers["Allow"] = ", ".join(sorted(arrival.methods))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 407:
        headers["Proxy-Authenticate"] = 'Basic realm="tool-gateway"'
    if denial.closes_connection:
        headers["Connection"] = "close"  # said to HTTP/1.0 too, which is what aiohttp takes unreadable requests for
    response = Response(status=status, headers=headers, body=orjson.dumps(document))
    if arrival.request.method == "CONNECT":  # of whose refusal most clients show no more than the first line
        response.set_status(status, f"{HTTPStatus(status).phrase} ({denial.reason})")
    if denial.closes_connection:
        response.force_close()
    return response


def problem_of(denial: Denial, call_id: str, tool: str, run: str, policy: str) -> dict[str, object]:
    """The members of the problem document, in the order SPEC 4 lists them."""
    retry_after = denial.retry_after
    return {
        "type": PROBLEM_TYPE + denial.reason,
        "title": ANSWERS[denial.reason].title,
        "status": denial.status,
        "detail": denial.detail,
        "reason": denial.reason,
        "stop_reason": denial.stop_reason,
        "retryable": denial.retryable,
        "retry_after_ms": None if retry_after is None else round(retry_after * 1000),
        "tool": tool or None,
        "run_id": run or None,
        "call_id": call_id,
        "policy": policy,
    }


def remaining_header(remaining: Remaining) -> bytes:
    """`tool_calls=3, steps=20, seconds=41`; an anonymous window has no seconds."""
    calls, steps, seconds = remaining
    if seconds is None:
        return b"tool_calls=%d, steps=%d" % (calls, steps)
    return b"tool_calls=%d, steps=%d, seconds=%d" % (calls, steps, seconds)


def outcome_headers(call_id: str, outcome: Outcome) -> dict[str, str]:
    """The gateway's own: what stands on every answer, denied or not (SPEC 4)."""
    headers = {
        "Tool-Gateway-Call-Id": call_id,
        "Tool-Gateway-Reason": outcome.reason.value,
        "Tool-Gateway-Attempts": str(outcome.attempts),
        "Tool-Gateway-Policy": outcome.policy,
    }
    if outcome.remaining is not None:
        headers["Tool-Gateway-Remaining"] = remaining_header(outcome.remaining).decode()
    if outcome.report:
        headers["Tool-Gateway-Mode"] = "report"
    return headers


def plain_bytes(arrival: Arrival, call_id: str, outcome: Outcome, reply: Reply, body: bytes, now: Moment) -> bytes:
    """The whole answer with a plain reply (plain.is_plain), as it goes on the wire."""
    head, second = reply.head, int(now.wall)
    rest = None if head is None or (head.second is not None and head.second != second) else head.written
    if rest is None:
        rest = last_lines(relayed(arrival, reply), len(body))
        if head is not None:
            keep(head, rest, second)
    return first_lines(call_id, outcome, reply.status) + rest + body


def first_lines(call_id: str, outcome: Outcome, status: int) -> bytes:
    """Status line and outcome_headers."""
    before, between, behind = _first_lines(status, outcome.reason, outcome.attempts, outcome.policy, outcome.report)
    remaining = outcome.remaining
    left = b"" if remaining is None else b"Tool-Gateway-Remaining: %b\r\n" % remaining_header(remaining)
    return b"%b%b%b%b%b" % (before, call_id.encode(), between, left, behind)


@lru_cache(maxsize=256)
def _first_lines(status: int, reason: Reason, attempts: int, policy: str, report: bool) -> tuple[bytes, bytes, bytes]:
    """The parts of first_lines around the call's id and the line of what remains."""
    before = f"{STATUS_LINES.get(status) or f'HTTP/1.1 {status} '}\r\nTool-Gateway-Call-Id: "
    between = (
        f"\r\nTool-Gateway-Reason: {reason}\r\nTool-Gateway-Attempts: {attempts}\r\nTool-Gateway-Policy: {policy}\r\n"
    )
    return before.encode(), between.encode(), b"Tool-Gateway-Mode: report\r\n" if report else b""


def last_lines(kept: list[tuple[str, str]], length: int) -> bytes:
    """The headers that `relayed` makes of a whole reply's, and the length of its body."""
    return "\r\n".join([*map(": ".join, kept), f"Content-Length: {length}\r\n\r\n"]).encode()


def keep(head: ReplyHead, written: bytes, second: int) -> None:
    """What was made of it is used for other calls, a Date of ours in it for this `second`; but a Location differs with the call."""
    names = {name.lower() for name, _ in head.headers}
    if "location" not in names:
        head.written, head.second = written, None if "date" in names else second


def relayed(arrival: Arrival, reply: Reply) -> list[tuple[str, str]]:
    """The reply's headers as the caller gets them, with a Server and a Date of ours where the upstream names none."""
    kept: list[tuple[str, str]] = []
    ours = {"server": ("Server", SERVER), "date": ("Date", rfc822_formatted_time())}
    for name, value in reply.headers:
        lower = name.lower()
        if lower.startswith("tool-gateway-"):
            continue  # only this gateway speaks for itself
        if lower == "content-length" and reply.body:
            continue  # whole: whoever writes it knows its length
        ours.pop(lower, None)
        kept.append((name, text(location(arrival, value) if lower == "location" else value)))
    return [*kept, *ours.values()]


def text(value: str) -> str:
    """A header value that can be written: aiohttp writes UTF-8 and would leave out bytes that are none. Those are Latin-1, the older
    rule (RFC 9110, 5.5).
    """
    if value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def location(arrival: Arrival, value: str) -> str:
    """A Location on the upstream's own origin, rewritten to the door the call came through; any other is relayed (SPEC 2)."""
    plan = arrival.plan
    if plan is None or plan.upstream is None:
        return value
    upstream = plan.upstream
    path = _path_on(upstream, upstream.base_path + arrival.target, value)
    if path is None:
        return value
    if arrival.door is Door.NATIVE:
        hidden = path[1:].partition("/")[0] in RESERVED and not arrival.run_prefix.endswith(NATIVE_PREFIX)
        return arrival.run_prefix + (NATIVE_PREFIX if hidden else "") + path
    below = upstream.base_path + plan.path
    if path.startswith(below) and path[len(below) :][:1] in ("", "/", "?", "#"):
        return f"{arrival.run_prefix}/tools/{arrival.tool}{path[len(below) :]}"
    return value


def _path_on(upstream: UpstreamPlan, asked: str, value: str) -> str | None:
    """Path, query and fragment of a Location, resolved against the path that was asked for; None where it leads elsewhere."""
    try:
        whole = urlsplit(urljoin(f"{upstream.origin}{asked}", value))
        port = whole.port or {"http": 80, "https": 443}.get(whole.scheme)
    except ValueError:
        return None
    if (whole.scheme, whole.hostname, port, whole.username) != (upstream.scheme, upstream.host, upstream.port, None):
        return None
    return urlunsplit(("", "", whole.path or "/", whole.query, whole.fragment))


async def _stream(arrival: Arrival, call: OpenCall, reply: Reply, headers: CIMultiDict[str]) -> StreamResponse:
    request = arrival.request
    response = Relayed(status=reply.status, headers=headers)
    writer = await response.prepare(request)

    async def write(piece: bytes) -> None:
        await response.write(piece)
        if writer is not None:
            await writer.drain()  # aiohttp would let 64 KiB gather

    try:
        await call.pass_on(write, response.write_eof)
    except Cut as cut:
        if reply.event_stream and keeps_up(request):
            document = orjson.dumps(
                problem_of(cut.denial, arrival.call_id, arrival.tool, arrival.run, call.outcome.policy)
            )
            await response.write(b"\n\nevent: error\ndata: " + document + b"\n\n")
            close_soon(request)
        else:
            cut_connection(request, response)
    return response


def keeps_up(request: BaseRequest) -> bool:
    """A last event can be written: its reader is neither behind nor gone, and would not have to be waited for."""
    return request.transport is not None and not request.transport.get_write_buffer_size()


def close_soon(request: BaseRequest) -> None:
    """Closes once the last bytes are out, without the last chunk; a reader that does not take them is cut."""
    transport = request.transport
    if transport is not None:
        transport.close()
        asyncio.get_running_loop().call_later(LAST_EVENT_SECONDS, transport.abort)


def cut_connection(request: BaseRequest, response: StreamResponse) -> None:
    """Closes without the last chunk or the missing bytes, so that the body cannot look whole.

    HTTP/1.0 has no chunks: there the end of the connection is the end of the body, and only a reset tells that it is not.
    """
    transport = request.transport
    if transport is None:
        return
    if response.content_length is None and "Transfer-Encoding" not in response.headers:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
