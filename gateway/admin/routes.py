"""Which handler a path and a method lead to. Not aiohttp's own: its Application is a tenth of a resting gateway's memory."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.admin.problems import Refused

Handler = Callable[[BaseRequest, Mapping[str, str]], Awaitable[StreamResponse]]
"""Takes the request and the parts of its path by name."""
_PART = re.compile(r"\{(\w+)(?::([^}]*))?\}")
"""`{name}` is what stands between two slashes; `{name:.+}` may hold some."""


class _Resource(NamedTuple):
    pattern: re.Pattern[str]
    handlers: dict[str, Handler]
    """By method."""


class Routes:
    """Of paths that fit more than one, the first that was added counts."""

    def __init__(self) -> None:
        self._resources: dict[str, _Resource] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        self._resources.setdefault(path, _Resource(_pattern(path), {})).handlers[method] = handler

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Methods and paths, as they were added."""
        return ((method, path) for path, resource in self._resources.items() for method in resource.handlers)

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """What the handler answers. Raises Refused, as `find` does."""
        handler, parts = self.find(request.method, request.rel_url.path_safe)
        return await handler(request, parts)

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
        """The path is decoded but for %2F and %25. Raises Refused: nothing is there, or it does not take the method."""
        allowed = set[str]()
        for pattern, handlers in self._resources.values():
            found = pattern.fullmatch(path)
            if found is not None and method in handlers:
                return handlers[method], {name: _whole(part) for name, part in found.groupdict().items()}
            if found is not None:
                allowed.update(handlers)
        if not allowed:
            raise nothing_there()
        detail = "This path does not take that method; the Allow header lists those it takes."
        raise Refused(405, detail, {"Allow": ",".join(sorted(allowed))})


def nothing_there() -> Refused:
    """404, by whatever name it was asked for."""
    return Refused(404, "The admin plane of this version has nothing at this path.")


def _pattern(path: str) -> re.Pattern[str]:
    """What stands between the parts is meant as it is written: no dot fits another sign."""
    text, end = "", 0
    for part in _PART.finditer(path):
        text += re.escape(path[end : part.start()]) + f"(?P<{part[1]}>{part[2] or '[^/]+'})"
        end = part.end()
    return re.compile(text + re.escape(path[end:]))


def _whole(part: str) -> str:
    """With the slashes that are part of a name."""
    return part.replace("%2F", "/").replace("%25", "%")
