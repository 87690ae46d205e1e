"""One event stream on its way to the caller: what passed in it, and lists of tools filtered. Pure."""

import orjson

from gateway.doors.mcp.listing import Judge, ListError, filtered, names_tools
from gateway.doors.mcp.refusals import Id, dumped
from gateway.doors.mcp.sse import (
    LONGEST_EVENT,
    EventTooLong,
    MustHold,
    Part,
    Splitter,
    data_of,
    is_numbered,
    kind_of,
    never,
    with_data,
)
from gateway.model import UpstreamError

OLD_TRANSPORT = b"endpoint"
"""HTTP+SSE of 2024-11-05 begins with such an event: it names the address to POST to, behind the gateway's back."""


class OldTransport(Exception):
    """The upstream speaks HTTP+SSE."""


def says_failed(message: dict[str, object]) -> bool:
    """Is this answer an error, or a result with isError?"""
    result = message.get("result")
    return "error" in message or (isinstance(result, dict) and result.get("isError") is True)


def list_too_long() -> UpstreamError:
    """A list has to be whole to be filtered."""
    detail = f"the upstream's answer to tools/list is larger than {LONGEST_EVENT} bytes"
    return UpstreamError("response_too_large", detail, sent=True)


class EventStream:
    """Hand it the pieces as they come, write what it hands back."""

    def __init__(self, awaited: Id, judge: Judge, must_hold: MustHold = never, *, may_be_old: bool = False) -> None:
        """`judge` filters every list that passes, whatever was asked for. `must_hold`: which long events have to be whole for that."""
        self.dropped = False
        """An event that may have been a list could not be read, or was too long for it."""
        self._numbered = False
        self.answered = False
        """The answer to the request `awaited` has passed."""
        self.failed = False
        """It was an error, or a result that says so."""
        self.asks = False
        """The last message was a request of the server's: now it waits for the caller."""
        self._awaited = orjson.loads(dumped(awaited))  # a wide integer becomes a double, as it does in the answer
        self._may_be_old = may_be_old
        self._judge = judge
        self._splitter = Splitter(must_hold)

    @property
    def resumable(self) -> bool:
        """Its reader can ask for the rest elsewhere: events had ids. What was dropped would be dropped there, too."""
        return self._numbered and not self.dropped

    @property
    def held(self) -> int:
        """Bytes."""
        return self._splitter.held

    def feed(self, piece: bytes) -> bytes:
        """Raises UpstreamError, OldTransport."""
        try:
            parts = self._splitter.feed(piece)
        except EventTooLong:
            self.dropped = True
            raise list_too_long() from None
        return b"".join([self._seen(part) for part in parts])

    def end(self) -> bytes:
        return b"".join([self._seen(part) for part in self._splitter.end()])

    def _seen(self, part: Part) -> bytes:
        if not part.whole:
            self.answered = self.answered or b'"result"' in part.text
            return part.text
        event = part.text
        self._numbered = self._numbered or (b"id" in event and is_numbered(event))
        if self._may_be_old and kind_of(event) == OLD_TRANSPORT:
            raise OldTransport
        data = data_of(event)
        if not data:
            return event
        found = None
        if names_tools(data):
            try:
                found = filtered(data, self._judge)
            except ListError:  # its reader may get further than we do
                self.dropped = True
                return b""
        self._look(data)
        return event if found is None or found == data else with_data(event, found)

    def _look(self, data: bytes) -> None:
        try:
            document = orjson.loads(data)
        except ValueError:
            return
        for message in document if isinstance(document, list) else (document,):
            if not isinstance(message, dict):
                continue
            self.asks = "method" in message and "id" in message
            if not self.asks and self._awaited is not None and message.get("id") == self._awaited:
                self.answered = self.answered or "result" in message or "error" in message
                self.failed = self.failed or says_failed(message)
