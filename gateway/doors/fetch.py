"""The fetch door: POST /tools/http.get with {"url": …, "headers"?: …}, or GET /tools/http.get?url=…, under the egress rules."""

import re

from gateway.denial import Denial, Reason
from gateway.doors.arguments import ArgumentsError, arguments_of
from gateway.doors.arrival import Arrival
from gateway.doors.refusal import Refusal
from gateway.hop_by_hop import HOP_BY_HOP
from gateway.model import BodyStream, Door, ToolCall
from gateway.policy.targets import parse_target, written

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")
NOT_TAKEN = HOP_BY_HOP | {"host", "content-length", "expect", "accept-encoding"}
METHODS = {"http.get": "GET", "http.head": "HEAD"}
USAGE = 'Send a JSON object {"url": "https://…", "headers": {…}} by POST, or ?url=… by GET.'


def destined(arrival: Arrival, body: bytes | BodyStream) -> ToolCall:
    """The ToolCall of a fetch: its destination normalised, and only the headers that the caller named. Raises Refusal."""
    arrival.door = Door.FETCH
    if not isinstance(body, bytes):
        raise _malformed("The arguments of a fetch are larger than 64 KiB.")
    try:
        arguments = arguments_of(body, arrival.query)
    except ArgumentsError as error:
        raise _malformed(f"The arguments cannot be read: {error}. {USAGE}") from None
    if (
        not isinstance(arguments, dict)
        or not isinstance(arguments.get("url"), str)
        or set(arguments) - {"url", "headers"}
    ):
        raise _malformed(USAGE)
    try:
        destination = parse_target(arguments["url"])
    except ValueError as error:
        raise _malformed(f"The url cannot be fetched: {error}.") from None
    call = arrival.call(
        body,
        method=METHODS.get(arrival.tool, "GET"),
        headers=_headers(arguments.get("headers", {})),
        destination=destination,
        arguments=arguments,
    )
    rest, _, query = written(destination).partition("?")
    return call._replace(rest=rest, query=query)  # the log tells where it went as of a proxied request


def _headers(named: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(named, dict):
        raise _malformed(f"headers must be an object of strings. {USAGE}")
    for name, value in named.items():
        if not isinstance(value, str) or not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise _malformed("headers must hold valid HTTP header names and values.")
    return tuple((name, value) for name, value in named.items() if name.lower() not in NOT_TAKEN)


def _malformed(detail: str) -> Refusal:
    return Refusal(Denial(Reason.INVALID_REQUEST, detail))
