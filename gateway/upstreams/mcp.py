"""What an MCP server's reply must be like, beside good HTTP: it leads nowhere else, and a short JSON answer comes whole or not at all."""

from collections.abc import AsyncIterator

from gateway.model import Reply, UpstreamError
from gateway.pipeline.attempts import HELD_REPLY
from gateway.pipeline.holding import again

REDIRECTS = range(300, 400)
NOT_MODIFIED = 304


async def checked(reply: Reply, label: str, *, read_ahead: bool) -> Reply:
    """The reply, or UpstreamError. `read_ahead`: a JSON answer of unknown length is read to its end, or to its first 64 KiB, so that a
    cut one can still be repeated or explained. (One of a known length is held by the pipeline.)
    """
    if reply.status in REDIRECTS and reply.status != NOT_MODIFIED:
        reply.close()
        detail = f"{label} answered with a redirect, which is never followed; an operator has to correct its url"
        raise UpstreamError("bad_response", detail, sent=True)
    if read_ahead and reply.chunks is not None and reply.length is None and not reply.event_stream:
        await _read_ahead(reply, reply.chunks)
    return reply


async def _read_ahead(reply: Reply, chunks: AsyncIterator[bytes]) -> None:
    pieces, size = [], 0
    try:
        async for piece in chunks:
            pieces.append(piece)
            size += len(piece)
            if size > HELD_REPLY:
                reply.chunks = again(pieces, chunks)
                return
    except BaseException:
        reply.close()
        raise
    reply.body = b"".join(pieces)
