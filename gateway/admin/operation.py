"""One operation of the admin API. Its handler says by parameters what it takes and by its result what it answers: openapi.py reads both."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from aiohttp.http import HttpVersion11
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse, json_response

from gateway.admin.forms import LARGEST_BODY, LARGEST_POLICY, of_body, of_query
from gateway.admin.problems import Refused

if TYPE_CHECKING:
    from gateway.admin.api import Api

JSON = "application/json"
NOT_HERE = {403: "The Host is not one of this plane's, or the Origin is another's"}
_BODY_SECONDS = 10.0
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])
Operated = Callable[[str, str | None, str, str | None, int], None]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A handler takes parts of the path as `str`, a form (forms.py), a policy's text as `bytes`, or the whole request."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    problems: Mapping[int, str]
    """Statuses that are its own, beside those that all of its kind have, with their meaning."""
    statuses: Mapping[int, str]
    """Of its answers: 200, unless it says more."""
    shape: Any
    """Of its answer and its 4xx: TypedDicts by status, where they differ from the handler's result and from Problem."""
    media: str
    open: bool
    """Without the token."""
    changes: bool
    """Something: who and why go to the log."""

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def summary(self) -> str:
        return cleandoc(self.handler.__doc__ or "").replace("\n", " ")

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Of its parameters; `return` is its answer."""
        return get_type_hints(self.handler)

    @property
    def form(self) -> type | None:
        """Of its body or, where it takes none, of its query."""
        return next((kind for kind in self.hints.values() if is_dataclass(kind) and isinstance(kind, type)), None)

    @property
    def takes_policy(self) -> bool:
        return bytes in (kind for name, kind in self.hints.items() if name != "return")

    async def __call__(self, api: "Api", request: BaseRequest, parts: Mapping[str, str]) -> StreamResponse:
        """Reads what the handler takes, and answers with what it returns."""
        taken = await self._taken(request, parts)
        try:
            answer = await self.handler(api, **taken)
        except Refused as refused:
            self._tell(api.operated, parts, taken, refused.status)
            raise
        self._tell(api.operated, parts, taken, 200)
        return answer if isinstance(answer, StreamResponse) else json_response(answer)

    async def _taken(self, request: BaseRequest, parts: Mapping[str, str]) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        for name, kind in self.hints.items():
            if name == "return":
                continue
            if kind is str:
                taken[name] = parts[name]
            elif kind is BaseRequest:
                taken[name] = request
            elif kind is bytes:
                taken[name] = await _body(request, LARGEST_POLICY)
            elif self.method == "POST":
                taken[name] = of_body(kind, await _body(request, LARGEST_BODY))
            else:
                taken[name] = of_query(kind, request.query)
        return taken

    def _tell(self, operated: Operated, parts: Mapping[str, str], taken: Mapping[str, Any], status: int) -> None:
        if self.changes:
            order = next(value for value in taken.values() if is_dataclass(value))
            on = getattr(order, "scope", None) or "/".join(parts.values()) or None
            operated(self.name, on, getattr(order, "who"), getattr(order, "reason"), status)  # noqa: B009  any form's


OPERATIONS: list[Operation] = []
"""In the order of api.py."""


def operation(
    method: str,
    path: str,
    *,
    problems: Mapping[int, str] | None = None,
    statuses: Mapping[int, str] | None = None,
    shape: Mapping[int, Any] | None = None,
    media: str = JSON,
    open: bool = False,  # noqa: A002  it is what OpenAPI's readers ask: may anybody?
    changes: bool = False,
) -> Callable[[Handler], Handler]:
    """Makes a method of Api an operation."""

    def register(handler: Handler) -> Handler:
        made = Operation(
            method=method,
            path=path,
            handler=handler,
            problems=problems or {},
            statuses=statuses or {200: "OK"},
            shape=shape or {},
            media=media,
            open=open,
            changes=changes,
        )
        OPERATIONS.append(made)
        return handler

    return register


async def _body(request: BaseRequest, largest: int) -> bytes:
    pieces, expects = bytearray(), request.headers.get("Expect", "").lower() == "100-continue"
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            if expects and request.version >= HttpVersion11:  # RFC 9110, 10.1.1: only now that the body is wanted
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # of the answer nothing is sent yet
            async for piece in request.content.iter_any():
                pieces += piece
                if len(pieces) > largest:
                    raise Refused(413, f"The body is larger than {largest} bytes.")
    except TimeoutError:
        raise Refused(408, "The body did not arrive in time.") from None
    return bytes(pieces)
