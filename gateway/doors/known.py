"""Requests that are known by their heads: what was understood of each, remembered with its bytes, and of heads alike with their shape.

A head is remembered where aiohttp's parser took those very bytes and the doors let them in, or took others of which it is told (forms.py);
all are forgotten with their policy.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from gateway.doors.forms import Form, Shape, taken_apart
from gateway.doors.understood import Understood

MOST_HEADS: Final = 256
"""Remembered before the older half of them is forgotten; and as many shapes."""
MOST_SIGHTED: Final = 4096
"""Heads and shapes that came once: a number each."""
LONGEST_HEAD: Final = 4096
"""Bytes: longer ones are understood anew each time, or an agent could fill memory with them."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Two generations: what is not asked for is forgotten."""

    def __init__(self) -> None:
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def find(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= MOST_HEADS:
            self._old, self._young = self._young, {}
        self._young[key] = value


class KnownRequests:
    """A plain head is remembered when it comes for the second time: one that never comes again would only be in the way, and what hangs on
    it is work for the garbage collector. So is a shape.
    """

    def __init__(self) -> None:
        self._sighted: set[int] = set()
        self.forget()

    def forget(self) -> None:
        """Another policy is in force."""
        self._plain: Memory[bytes, Understood] = Memory()
        self._odd: Memory[bytes, bool] = Memory()
        self._forms: Memory[Shape, Form] = Memory()

    def find(self, head: bytes, body: int | None = None) -> Understood | None:
        """None: not known, or known not to be plain. `body`: so many bytes came with it; it counts as come where they are all."""
        return self._plain.find(head) or self._by_form(head, body)

    def is_odd(self, head: bytes) -> bool:
        """Known not to be plain."""
        return self._odd.find(head) is not None

    def sight(self, head: bytes, understood: Understood | None) -> Shape | None:
        """This is what was understood of it. Its shape, where heads of the same came before and no form is known: one would be of use."""
        if len(head) > LONGEST_HEAD:
            return None
        if understood is None:
            self._odd.put(head, True)
            return None
        if self._comes_again(head):
            self._plain.put(head, understood)
        shape, values = taken_apart(head)
        return shape if values and self._comes_again(shape) else None

    def remember(self, shape: Shape, form: Form) -> None:
        """From now on heads of this shape are known."""
        self._forms.put(shape, form)

    def _by_form(self, head: bytes, body: int | None) -> Understood | None:
        if len(head) > LONGEST_HEAD or self.is_odd(head):
            return None
        shape, values = taken_apart(head)
        form = self._forms.find(shape) if values else None
        found = None if form is None else form.understood(values)
        if found is not None and found.length == body and self._comes_again(head):
            self._plain.put(head, found)
        return found

    def _comes_again(self, what: Hashable) -> bool:
        """Every second time."""
        mark = hash(what)
        if mark in self._sighted:
            self._sighted.remove(mark)
            return True
        if len(self._sighted) >= MOST_SIGHTED:
            self._sighted.clear()
        self._sighted.add(mark)
        return False
