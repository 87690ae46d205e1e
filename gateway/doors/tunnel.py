"""CONNECT's answer: the caller's connection becomes one end of a tunnel; the other end gets nothing before the first bytes are judged."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from gateway.both_ways import BothWays, End
from gateway.denial import Denial
from gateway.doors.answers import outcome_headers, problem
from gateway.doors.arrival import Arrival
from gateway.model import Target, UpstreamError
from gateway.pipeline.failures import Cut
from gateway.pipeline.pipeline import OpenCall
from gateway.policy.first_bytes import Protocol, judge

if TYPE_CHECKING:
    from gateway.doors.connection import Connection  # which knows the front, which knows this

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
"""A TLS record with a fatal alert (RFC 8446, 6.2): the caller's TLS library can then say more than that the connection was closed."""


async def answer(arrival: Arrival, call: OpenCall) -> StreamResponse:
    """Answers a CONNECT that was judged: a denial as anywhere, or the tunnel, until it ends."""
    outcome = call.outcome
    headers = outcome_headers(arrival.call_id, outcome)
    if outcome.denial is not None:
        return problem(arrival, outcome.denial, headers, outcome.policy)
    tunnel, target = None if outcome.reply is None else outcome.reply.tunnel, arrival.destination
    if not isinstance(tunnel, BothWays) or target is None:
        raise AssertionError("a CONNECT that is not denied has a tunnel to its target")
    caller = Caller(cast("Connection", arrival.request.protocol), target, established(headers))
    try:
        await call.carry(caller.check, partial(tunnel.join, caller))
    except Cut as cut:
        headers["Tool-Gateway-Reason"] = cut.denial.reason
        caller.refuse(arrival, cut.denial, headers, outcome.policy)
    finally:
        caller.release()
    return Ended()


def established(headers: dict[str, str]) -> bytes:
    """The head behind which the tunnel begins: neither a length nor chunks (RFC 9110, 9.3.6)."""
    lines = ("HTTP/1.1 200 Connection Established", *map(": ".join, headers.items()), "\r\n")
    return "\r\n".join(lines).encode()


ADVICE = {
    "sni_mismatch": "Ask for a tunnel to the very host that is meant",
    "host_mismatch": "Ask for a tunnel to the very host that is meant",
    "unknown_protocol": "Speak HTTPS or plain HTTP through it; repeating the call as it was will not help",
}
"""For each kind of Finding, what to do next."""


class Caller(End):
    """The caller's end of a tunnel. aiohttp's protocol learns that the connection is gone once the call has ended: it would cancel it."""

    __slots__ = ("_connection", "_error", "_established", "_more", "_protocol", "_released", "_target")

    def __init__(self, connection: "Connection", target: Target, established: bytes) -> None:
        super().__init__(asyncio.get_running_loop())
        self._connection = connection
        self._target = target
        self._established = established
        self._protocol: Protocol | None = None
        self._more = asyncio.Event()
        self._released = False
        self._error: Exception | None = None

    async def check(self) -> bool:
        """Answers, and waits until the first bytes can be judged. False where the caller closes before.

        Raises UpstreamError where they are not for the tunnel's target, or did not come in time.
        """
        seconds = self._connection.read_timeout
        self.transport, early = await self._connection.take_over(self)
        self.kept += early
        self.transport.write(self._established)
        try:
            async with asyncio.timeout(seconds):
                while (finding := judge(bytes(self.kept), self._target)) is None:
                    if self.ended or self.lost:
                        return False
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            rule = f"its first bytes did not come within {seconds:g} s (GATEWAY_READ_TIMEOUT)"
            raise self._ended("request_timeout", rule) from None
        self._protocol = finding.protocol
        if finding.kind is not None:
            raise self._ended(finding.kind, f"{finding.rule}. {ADVICE[finding.kind]}")
        return True

    def refuse(self, arrival: Arrival, denial: Denial, headers: dict[str, str], policy: str) -> None:
        """Says why, where the caller has spoken a language in which that can be said and nothing of the target's has come between."""
        transport = self._connection.transport
        if self.joined or transport is None:
            return  # it is cut with the tunnel
        if self._protocol is Protocol.TLS:
            transport.write(ACCESS_DENIED)
        elif self._protocol is Protocol.HTTP:
            transport.write(written(problem(arrival, denial, headers, policy)))
        transport.close()

    def release(self) -> None:
        """The call has ended."""
        self._released = True
        if self.lost:
            self._loop.call_soon(self._connection.connection_lost, self._error)

    def stirred(self) -> None:
        self._more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._error = exc
        if self._released:
            self._connection.connection_lost(exc)

    def _ended(self, kind: str, rule: str) -> UpstreamError:
        """Nothing of the caller's was sent. No sentence repeats what it said."""
        return UpstreamError(
            kind, f"the tunnel to {self._target.host} port {self._target.port} was ended: {rule}", sent=False
        )


def written(response: Response) -> bytes:
    """A denial's answer as it stands on the wire, for a connection that is aiohttp's no more."""
    body = response.body if isinstance(response.body, bytes) else b""
    fields = (f"{name}: {value}" for name, value in response.headers.items() if name != "Content-Length")
    status = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"
    return "\r\n".join((status, *fields, f"Content-Length: {len(body)}", "Connection: close", "\r\n")).encode() + body


class Ended(StreamResponse):
    """What aiohttp is handed when a tunnel is through: nothing is left to write, and the connection ends."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002  aiohttp's signature
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
