"""Calls by tool, of one run or of one agent's day. Bounded: names beyond the bound are counted together."""

from collections.abc import Iterable

MOST_TOOLS = 1000
"""Tools counted each on its own. With an allowlist of `*` it is the agent who makes names up, as many as it likes."""
OTHERS = "*"
"""All further tools share this count, so that inventing names makes a limit tighter, never looser. No tool is called so."""


class Tally:
    """How often each tool was called."""

    __slots__ = ("_calls",)

    def __init__(self, calls: Iterable[tuple[str, int]] = ()) -> None:
        self._calls = dict(calls)

    def set(self, tool: str, calls: int) -> None:
        """As it was saved."""
        self._calls[tool] = calls

    def of(self, tool: str) -> int:
        """Calls that count for this tool."""
        return self._calls.get(self._counted_as(tool), 0)

    def add(self, tool: str) -> str:
        """One more. The name it is counted under."""
        calls = self._calls
        if tool not in calls:
            tool = self._counted_as(tool)
            calls.setdefault(tool, 0)
        calls[tool] += 1
        return tool

    def take_back(self, tool: str) -> str:
        """One less, where there is one. The name it was counted under, which stays taken."""
        name = tool if tool in self._calls else OTHERS
        if self._calls.get(name, 0) > 0:
            self._calls[name] -= 1
        return name

    def items(self) -> tuple[tuple[str, int], ...]:
        """By tool, those without a call left out."""
        return tuple((tool, calls) for tool, calls in self._calls.items() if calls)

    def _counted_as(self, tool: str) -> str:
        return tool if tool in self._calls or len(self._calls) < MOST_TOOLS else OTHERS
