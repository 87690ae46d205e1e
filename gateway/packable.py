"""Frozen dataclasses that go from one process to another (policy/packed.py)."""

from dataclasses import fields
from typing import Any


class Packable:
    """Base of those that are compiled: mypyc's know no state to be pickled by, and a frozen one takes none. They are made anew."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type["Packable"], tuple[object, ...]]:
        itself: Any = self
        return type(self), tuple([getattr(self, field.name) for field in fields(itself)])
