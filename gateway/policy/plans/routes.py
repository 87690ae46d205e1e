"""The native door's table: which tool serves a path. Exact paths in one dict, `{rest*}` prefixes in another."""

from dataclasses import dataclass, field

from gateway.policy.document.problems import Findings
from gateway.policy.schema.fields import REST
from gateway.policy.snapshot import RouteMatch

RESERVED = frozenset(["tools", "mcp", "runs", "_gateway", "healthz", "readyz"])
"""First path segments that are other doors'."""


def methods_of(method: str) -> frozenset[str] | None:
    """What a route's method stands for: GET implies HEAD; None: any."""
    if method == "ANY":
        return None
    return frozenset(["GET", "HEAD"]) if method == "GET" else frozenset([method])


@dataclass(slots=True)
class _Shelf:
    """The tools of one path, by method."""

    by_method: dict[str, RouteMatch] = field(default_factory=dict)
    any: RouteMatch | None = None

    def owner(self, methods: frozenset[str] | None) -> str | None:
        """A tool that takes one of these methods here already."""
        if self.any is not None:
            return self.any.tool
        taken = self.by_method if methods is None else self.by_method.keys() & methods
        return next((self.by_method[method].tool for method in sorted(taken)), None)

    def add(self, tool: str, methods: frozenset[str] | None) -> None:
        match = RouteMatch(tool, methods)
        if methods is None:
            self.any = match
        else:
            self.by_method.update(dict.fromkeys(methods, match))

    def find(self, method: str) -> RouteMatch | None:
        return self.any or self.by_method.get(method)

    def refusal(self) -> RouteMatch:
        """For a method that no tool takes here: one of the tools, and all methods that would do."""
        first = self.by_method[min(self.by_method)]
        return RouteMatch(first.tool, frozenset(self.by_method))


class Routes:
    """A finished table. `find` costs a dict probe and one more a level of the deepest prefix, however many routes there are."""

    def __init__(self) -> None:
        self._exact: dict[str, _Shelf] = {}
        self._prefixes: dict[str, _Shelf] = {}
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
        shelf = table.setdefault(path.removesuffix(REST), _Shelf())
        owner = shelf.owner(methods)
        if owner is not None:
            findings.add(place, f"tools.definitions.{owner}.route takes the same requests")
            return
        shelf.add(tool, methods)
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
        shelves = [self._exact[path]] if path in self._exact else []
        if self._prefixes:
            ends: list[int] = []
            end = path.find("/")
            while end >= 0 and len(ends) < self._deepest:
                ends.append(end + 1)
                end = path.find("/", end + 1)
            shelves.extend(self._prefixes[path[:e]] for e in reversed(ends) if path[:e] in self._prefixes)
        return shelves
