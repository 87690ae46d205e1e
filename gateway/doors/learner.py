"""Which requests are for the fast lane (lane.py), and what they ask: found out as the ordinary way does, by the same parser and doors."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_request import BaseRequest

from gateway.doors.arrival import Arrival
from gateway.doors.bodies import WHOLE_BODY
from gateway.doors.forms import Form, Shape, marks_for, put_together, taken_apart
from gateway.doors.front import Front
from gateway.doors.understood import QuickUpstream, Understood
from gateway.policy.snapshot import UpstreamPlan

END_OF_HEAD: Final = b"\r\n\r\n"
LINE_BYTES = 16 * 1024
"""The request line, nginx's large_client_header_buffers doubled. It differs from FIELD_BYTES: the parser's error tells only the limit."""
FIELD_BYTES = 32 * 1024
"""One header: bearer tokens are long."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_NOT_PLAIN = re.compile(
    rb"\r\n(?:(?:transfer-encoding|expect|upgrade|idempotency-key)[ \t]*:|content-length(?!:[ \t]*[0-9]{1,9}[ \t]*\r\n))",
    re.IGNORECASE,
)
"""Nor is a length that _LENGTH does not find: the parser may read one all the same."""


class Learner:
    """Asked about heads that are not known yet."""

    def __init__(self, front: Front, upstream_of: Callable[[UpstreamPlan], QuickUpstream]) -> None:
        self._front = front
        self._upstream_of = upstream_of
        self._loop = asyncio.get_running_loop()
        self._parser = self._new_parser()

    def size_of(self, data: bytes) -> int | None:
        """Of the whole request that begins so. None where that cannot be told, or it is not for the lane anyway."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        if end < len(END_OF_HEAD) or _NOT_PLAIN.search(data, 0, end):
            return None
        length = _LENGTH.search(data, 0, end - 2)
        return end + int(length[1]) if length else end

    def understand(self, peer: str | None, request: bytes) -> Understood | None:
        """A whole request, by aiohttp's parser and the doors' own rules. None: it is not for the lane."""
        try:
            messages, upgraded, rest = self._parser.feed_data(request)
            odd = len(messages) != 1 or upgraded or bool(rest) or not messages[0][1].is_eof()
            odd = odd or messages[0][0].should_close  # behind such a one this parser takes no other
        except HttpProcessingError:
            odd = True
        if odd:
            self._parser = self._new_parser()
            return None
        self._parser.message_consumed()
        message, payload = messages[0]
        if message.version != HttpVersion11 or message.chunked or message.method == "HEAD":
            return None
        length = payload.total_bytes
        try:
            arrival = self._front.understand(head_of(message, peer))
            return None if arrival is None else self._plain(arrival, length)
        except Exception:  # noqa: BLE001  a Refusal, or a fault of ours: the ordinary way comes to the same, and tells it
            return None

    def _plain(self, arrival: Arrival, length: int) -> Understood | None:
        """A call that the lane can begin: of a tool that the policy allows, at an upstream, with a short body and a short answer. Raises
        ValueError where its head cannot be written.
        """
        plan = arrival.plan
        if plan is None or plan.upstream is None or not plan.allowed or plan.stream or plan.idempotency_key:
            return None
        call, upstream = arrival.call(hashed=""), self._upstream_of(plan.upstream)
        opening = upstream.opening(call.method, call.target, call.headers, length)
        understood = Understood(arrival, call, plan, upstream, length, opening)
        return understood if length <= understood.longest else None

    def form(self, shape: Shape, head: bytes, understood: Understood) -> Form | None:
        """Of all heads of this shape, one of which was understood so. None: what they ask is not told so simply."""
        marks = marks_for(shape, understood.length + 1)
        if marks is None:
            return None
        marked_head = put_together(shape, marks)
        size = self.size_of(marked_head)
        if size is None:
            return None
        marked = self.understand(understood.peer, marked_head.ljust(size, b" "))
        if marked is None:
            return None
        try:
            form = Form(shape, marks, marked)
        except ValueError:
            return None
        told = form.understood(taken_apart(head)[1])
        return form if told is not None and told.is_like(understood) else None

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            BaseProtocol(self._loop),
            self._loop,
            2 * WHOLE_BODY,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            auto_decompress=False,
        )


class Peer:
    """In the place of a connection, for a request that is only looked at."""

    __slots__ = ("peername",)
    ssl_context = sockname = transport = None

    def __init__(self, address: str | None) -> None:
        self.peername = address


def head_of(message: RawRequestMessage, peer: str | None) -> BaseRequest:
    """A request to be understood, not answered."""
    nobody: Any = Peer(peer)
    nothing: Any = None
    return BaseRequest(message, EMPTY_PAYLOAD, nobody, nothing, nothing, nothing)
