"""The native door's table: which tool serves a path. Exact paths in one dict, `{rest*}` prefixes in another.

Both hold texts (`GET,HEAD=search.read POST=notes.write`) and nothing else, so that ten thousand routes pass between processes as they
are, and the garbage collector walks none of them. Those in use are remembered as read.
"""

from functools import lru_cache
from typing import NamedTuple

from gateway.policy.document.problems import Findings
from gateway.policy.schema.fields import REST
from gateway.policy.snapshot import RouteMatch

RESERVED = frozenset(["tools", "mcp", "runs", "_gateway", "healthz", "readyz"])
"""First path segments that are other doors'."""
_ANY = "*"


def methods_of(method: str) -> frozenset[str] | None:
    """What a route's method stands for: GET implies HEAD; None: any."""
    if method == "ANY":
        return None
    return frozenset(["GET", "HEAD"]) if method == "GET" else frozenset([method])


class _Shelf(NamedTuple):
    """The tools of one path, by method."""

    by_method: dict[str, RouteMatch]
    any: RouteMatch | None

    def owner(self, methods: frozenset[str] | None) -> str | None:
        """A tool that takes one of these methods here already."""
        if self.any is not None:
            return self.any.tool
        taken = self.by_method if methods is None else self.by_method.keys() & methods
        return next((self.by_method[method].tool for method in sorted(taken)), None)

    def find(self, method: str) -> RouteMatch | None:
        return self.any or self.by_method.get(method)

    def refusal(self) -> RouteMatch:
        """For a method that no tool takes here: one of the tools, and all methods that would do."""
        first = self.by_method[min(self.by_method)]
        return RouteMatch(first.tool, frozenset(self.by_method))


def _written(tool: str, methods: frozenset[str] | None) -> str:
    return f"{_ANY if methods is None else ','.join(sorted(methods))}={tool}"


@lru_cache(maxsize=1024)
def _read(text: str) -> _Shelf:
    """A shelf's text."""
    shelf, any_method = dict[str, RouteMatch](), None
    for entry in text.split():
        written, _, tool = entry.partition("=")
        if written == _ANY:
            any_method = RouteMatch(tool, None)
        else:
            methods = frozenset(written.split(","))
            shelf.update(dict.fromkeys(methods, RouteMatch(tool, methods)))
    return _Shelf(shelf, any_method)


class Routes:
    """A finished table. `find` costs a dict probe and one more a level of the deepest prefix, however many routes there are."""

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._deepest = 0

    def add(self, tool: str, route: str, findings: Findings, *, reserved: frozenset[str] = RESERVED) -> None:
        """Adds a tool's `METHOD /path`; tells the findings where the path is another door's or another tool's."""
        method, _, path = route.partition(" ")
        place = ("tools", "definitions", tool, "route")
        first = path.split("/")[1]
        if first in reserved:
            text = (
                f"/{first} is the gateway's own: the native door has this path only under /_gateway/native/, "
                f'for a route like "ANY /{REST}"'
            )
            findings.add(place, text)
            return
        methods = methods_of(method)
        table = self._prefixes if path.endswith(REST) else self._exact
        key = path.removesuffix(REST)
        there = table.get(key, "")
        owner = _read(there).owner(methods)
        if owner is not None:
            findings.add(place, f"tools.definitions.{owner}.route takes the same requests")
            return
        table[key] = f"{there} {_written(tool, methods)}".lstrip()
        if table is self._prefixes:
            self._deepest = max(self._deepest, path.count("/"))

    def find(self, method: str, path: str) -> RouteMatch | None:
        """The literal path before a prefix, a longer prefix before a shorter; a tool that takes the method before one that does not."""
        refusal: RouteMatch | None = None
        for shelf in self._shelves(path):
            match = shelf.find(method)
            if match is not None:
                return match
            refusal = refusal or shelf.refusal()
        return refusal

    def _shelves(self, path: str) -> list[_Shelf]:
        shelves = [_read(self._exact[path])] if path in self._exact else []
        if self._prefixes:
            ends: list[int] = []
            end = path.find("/")
            while end >= 0 and len(ends) < self._deepest:
                ends.append(end + 1)
                end = path.find("/", end + 1)
            shelves.extend(_read(self._prefixes[path[:e]]) for e in reversed(ends) if path[:e] in self._prefixes)
        return shelves
