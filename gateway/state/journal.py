"""What a journal must do: have each change of the counts in the kernel before the call it belongs to goes on. stores/ has the real one."""

from collections.abc import Callable
from typing import Protocol

from gateway.denial import Reason
from gateway.model import Moment, RunKey


class Charge:
    """What one admitted call is counted as, in its run and for its agent."""

    __slots__ = ("args_hash", "at", "key", "spend", "step", "tool")

    def __init__(self, key: RunKey, tool: str, spend: int, step: int | None, at: Moment, args_hash: str = "") -> None:
        self.key = key
        self.tool = tool
        self.spend = spend
        """Micro-USD."""
        self.step = step
        """The step it announced."""
        self.at = at
        self.args_hash = args_hash
        """For the loop guard, which is of this process alone: journals leave it out. "" while the body is still passing, and where the
        tool has no such guard.
        """


class Journal(Protocol):
    """Sync, and quick enough for the call's path. True: it is in the kernel, and a kill -9 leaves it there. Raises nothing.

    `began` is the Unix time of the run's start: with its key it names the run, also where one anonymous window follows another.
    """

    def charged(self, charge: Charge, began: float) -> bool: ...

    def gathered(self, charge: Charge, began: float) -> None:
        """Charged, but not in the kernel before the next `flush`, or the next of the other changes: one write for many calls that go on
        together. Whoever gathers has nothing of them sent before it has flushed.
        """
        ...

    def flush(self) -> bool:
        """False: something gathered since the last flush could not be written down."""
        ...

    def refunded(self, charge: Charge, began: float) -> bool: ...

    def stepped(self, key: RunKey, at: Moment, began: float) -> bool:
        """One more step was announced by itself."""
        ...

    def ended(self, key: RunKey, by: Reason, stop_reason: str, at: Moment, began: float) -> bool: ...


class NoJournal:
    """For counts that live in the process alone, or with other gateways too: those know the charges, and are `told` of ends."""

    def __init__(self, told: Callable[[RunKey, Reason, str], None] | None = None) -> None:
        self._told = told

    def charged(self, charge: Charge, began: float) -> bool:  # noqa: ARG002  the form of a Journal
        return True

    def gathered(self, charge: Charge, began: float) -> None:
        """There is nothing to write."""

    def flush(self) -> bool:
        return True

    def refunded(self, charge: Charge, began: float) -> bool:  # noqa: ARG002  the form of a Journal
        return True

    def stepped(self, key: RunKey, at: Moment, began: float) -> bool:  # noqa: ARG002  the form of a Journal
        return True

    def ended(self, key: RunKey, by: Reason, stop_reason: str, at: Moment, began: float) -> bool:  # noqa: ARG002  the form of a Journal
        if self._told is not None:
            self._told(key, by, stop_reason)
        return True
