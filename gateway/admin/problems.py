"""Errors of the admin plane as `application/problem+json`: one sentence each, never a traceback, never a value of the request."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp.web_response import Response, StreamResponse

_SEAL = {
    "Server": "tool-gateway",  # aiohttp would name itself, Python, and both versions
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class Refused(Exception):
    """What a handler raises to answer with an error. `detail` is one sentence with the remedy."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members or {}
        """Further members of the document."""

    def response(self) -> Response:
        """The answer, as RFC 9457 has it."""
        title = HTTPStatus(self.status).phrase
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.members}
        return Response(
            text=json.dumps(body), status=self.status, content_type="application/problem+json", headers=self.headers
        )


def sealed(response: StreamResponse) -> StreamResponse:
    """With the headers that every answer of the admin plane carries, unless it is on its way already."""
    if not response.prepared:
        for name, value in _SEAL.items():
            response.headers.setdefault(name, value)
    return response
