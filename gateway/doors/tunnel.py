"""CONNECT's answer: the caller's connection becomes one end of a tunnel."""

from aiohttp.web import StreamResponse

from gateway.doors.answers import answer as answer_request
from gateway.doors.arrival import Arrival
from gateway.pipeline.pipeline import OpenCall


async def answer(arrival: Arrival, call: OpenCall) -> StreamResponse:
    """Answers a CONNECT that was judged: a denial as anywhere, or the tunnel."""
    return await answer_request(arrival, call)
