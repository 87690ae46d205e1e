"""How a reply that is passed on while it arrives is written, and how it ends where it breaks off."""

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from multidict import CIMultiDict

from gateway.doors.answers import cut_connection, keeps_up, outcome_headers, relayed
from gateway.doors.arrival import Arrival
from gateway.model import Outcome, Reply

_REWRITTEN = frozenset({"content-length", "etag", "digest", "content-digest", "repr-digest", "content-md5"})


def headers_of(arrival: Arrival, outcome: Outcome, reply: Reply, *, rewritten: bool = False) -> CIMultiDict[str]:
    """The gateway's and the upstream's. No Location: it would lead the caller past the gateway."""
    dropped = {"location", *_REWRITTEN} if rewritten else {"location"}
    multi = CIMultiDict(outcome_headers(arrival.call_id, outcome))
    multi.extend([(name, value) for name, value in relayed(arrival, reply) if name.lower() not in dropped])
    return multi


class Writer:
    """A StreamResponse whose every piece is with the kernel before the next one is asked for."""

    def __init__(self, request: BaseRequest, status: int, headers: CIMultiDict[str]) -> None:
        self._request = request
        self.response = StreamResponse(status=status, headers=headers)

    async def begin(self) -> None:
        self._writer = await self.response.prepare(self._request)

    async def write(self, piece: bytes) -> None:
        if piece:
            await self.response.write(piece)
            if self._writer is not None:
                await self._writer.drain()  # aiohttp would let 64 KiB gather

    async def end(self) -> StreamResponse:
        await self.response.write_eof()
        return self.response

    async def break_off(self, *, events: bool, last: bytes | None) -> StreamResponse:
        """An event stream ends after a `last` event: it has no length that would be missing. Anything else is cut, so that it cannot look
        whole.
        """
        if events and keeps_up(self._request):
            await self.write(b"" if last is None else b"\n\n" + last)
            return await self.end()
        cut_connection(self._request, self.response)
        return self.response
