"""What agents did lately, as it passes between who keeps it in memory (observers/book.py) and the store that makes it last."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.denial import Reason
from gateway.model import Effect


class PastCall(NamedTuple):
    """One call, without anything of its arguments or result."""

    agent: str
    number: int
    """Of the agent's calls that were seen, from 0."""
    at: float
    """Unix seconds."""
    tool: str
    effect: Effect | None
    reason: Reason
    args_hash: str
    spend: int
    """Micro-USD."""


class PastSum(NamedTuple):
    """What one agent did in one slot of time, by how calls ended and by tool."""

    agent: str
    slot: int
    spend: int
    """Micro-USD."""
    ends: Mapping[Reason, int]
    tools: Mapping[str, int]


class History(NamedTuple):
    """All of it, or what has changed. `forgotten` comes first: such an agent may be back already."""

    calls: Sequence[PastCall] = ()
    sums: Sequence[PastSum] = ()
    forgotten: frozenset[str] = frozenset()
    oldest: int = 0
    """Sums of earlier slots are gone."""


class Historian(Protocol):
    """Whose history a store keeps."""

    def changes(self) -> History | None:
        """Since the last time; None: nothing."""
        ...

    def put_back(self, changes: History) -> None:
        """They could not be written, and are changes still."""
        ...
