"""Values by name, each kept as bytes until it is asked for. Of ten thousand the garbage collector walks none, and a reload unpacks none."""

import pickle
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def pack(value: object) -> bytes:
    """A value of ours as bytes."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


class Packed(Generic[T]):
    """Immutable. Each `get` makes another copy: who asks for the same often remembers the answer."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, T]) -> None:
        same: dict[bytes, bytes] = {}
        packed = ((name, pack(value)) for name, value in values.items())
        self._values = {name: same.setdefault(content, content) for name, content in packed}

    def get(self, name: str, /) -> T | None:
        packed = self._values.get(name)
        if packed is None:
            return None
        value: T = pickle.loads(packed)  # noqa: S301  made by `pack`, here or in the process that compiles for this one
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
