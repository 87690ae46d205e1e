"""Tool names and the patterns that match them (a full name, a trailing `.*`, or `*`), found by a few dict probes."""

import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

LONGEST_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def is_tool_name(text: str) -> bool:
    """Is this a tool's full name (SPEC 11)?"""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Is this a full name, a name with a trailing `.*`, or `*`?"""
    return text == "*" or is_tool_name(text.removesuffix(".*"))


class Patterns(Generic[T]):
    """Values by pattern; the most specific pattern that matches a name wins."""

    __slots__ = ("_any_wildcard", "_values")

    def __init__(self, values: Mapping[str, T]) -> None:
        self._values = dict(values)
        self._any_wildcard = any(pattern.endswith("*") for pattern in values)

    @classmethod
    def of(cls, patterns: Iterable[str], value: T) -> "Patterns[T]":
        return cls(dict.fromkeys(patterns, value))

    def find(self, name: str) -> tuple[str, T] | None:
        """The most specific pattern that matches, and its value: `a.b.c`, then `a.b.*`, `a.*`, `*`."""
        values = self._values
        if name in values and not name.endswith("*"):
            return name, values[name]
        if not self._any_wildcard:
            return None
        end = name.rfind(".")
        while end > 0:
            pattern = name[:end] + ".*"
            if pattern in values:
                return pattern, values[pattern]
            end = name.rfind(".", 0, end)
        return ("*", values["*"]) if "*" in values else None
