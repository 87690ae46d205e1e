"""Calls by tool, of one run or of one agent's day. Bounded: names beyond the bound are counted together."""

MOST_TOOLS = 1000
"""Tools counted each on its own. With an allowlist of `*` it is the agent who makes names up, as many as it likes."""
OTHERS = "*"
"""All further tools share this count, so that inventing names makes a limit tighter, never looser. No tool is called so."""


class Tally(dict[str, int]):
    """How often each tool was called; as saved where it is made of what was saved. (A dict itself: there are as many as runs.)"""

    __slots__ = ()

    def of(self, tool: str) -> int:
        """Calls that count for this tool."""
        return self.get(self._counted_as(tool), 0)

    def add(self, tool: str, calls: int = 1) -> str:
        """Counts so many calls more. Returns the name they are counted under."""
        if tool not in self:
            tool = self._counted_as(tool)
        self[tool] = self.get(tool, 0) + calls
        return tool

    def take_back(self, tool: str) -> str:
        """Counts one call less, where there is one. Returns the name it was counted under, which stays in the tally."""
        name = tool if tool in self else OTHERS
        if self.get(name, 0) > 0:
            self[name] -= 1
        return name

    def made(self) -> tuple[tuple[str, int], ...]:
        """The counts by tool, without the zeros."""
        return tuple((tool, calls) for tool, calls in self.items() if calls)

    def _counted_as(self, tool: str) -> str:
        return tool if tool in self or len(self) < MOST_TOOLS else OTHERS
