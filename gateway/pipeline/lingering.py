"""How calls that linger ended, for some seconds: whoever repeats one is told, instead of having it performed again."""

import asyncio

from gateway.state.ended import Ended
from gateway.state.idempotency import AnswerKey

REPLAYED = 6.0
"""Seconds: longer than clients wait before they repeat a request."""
MOST_REPLAYED = 16 << 20
"""Bytes of such ends; beyond them the oldest are forgotten before their time."""


class Lingering:
    """Oldest first."""

    def __init__(self) -> None:
        self._ended: dict[AnswerKey, Ended] = {}
        self._held = 0
        """Bytes."""

    def find(self, key: AnswerKey) -> Ended | None:
        return self._ended.get(key)

    def keep(self, key: AnswerKey, ended: Ended) -> None:
        """For a while. (One timer a call, which knows its end by name alone: one that goes before its time must be gone.)"""
        self._drop(key)
        self._ended[key] = ended
        self._held += ended.weight
        while self._held > MOST_REPLAYED:
            self._drop(next(iter(self._ended)))
        asyncio.get_running_loop().call_later(REPLAYED, self._drop, key, ended.call_id)

    def _drop(self, key: AnswerKey, call_id: str | None = None) -> None:
        """`call_id`: only that call's."""
        found = self._ended.get(key)
        if found is not None and call_id in (None, found.call_id):
            self._held -= self._ended.pop(key).weight
