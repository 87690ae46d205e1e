"""Where counts and switches live between two processes. This file says what every store can do; it opens none."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.model import KillSwitch
from gateway.state.agents import SavedCount
from gateway.state.history import History
from gateway.state.idempotency import AnswerChanges, KeptAnswer
from gateway.state.ledger import Changes
from gateway.state.run import SavedRun

LOG_KEY_BYTES = 32
ELSEWHERE = "or set GATEWAY_STATE to another sqlite:PATH"
"""The end of many a remedy."""


class StoreError(Exception):
    """One line: where, what is wrong, the remedy."""


class Saved(NamedTuple):
    """All that an earlier process has saved, as it is read at the start."""

    runs: list[SavedRun]
    switches: list[KillSwitch]
    """Runtime ones."""
    log_key: bytes
    """Random, made once: the key that decides which runs are sampled, so that a restart does not change it."""
    counts: Iterable[SavedCount] = ()
    """Of agents."""
    notes: dict[str, str] = {}  # noqa: RUF012  a default of a NamedTuple, which nobody changes
    """By name: whatever else is to outlive a process, in the words of who put it there."""
    covered: int = 0
    """The number of the last journal file that the counts above include."""
    answers: Iterable[KeptAnswer] = ()
    history: History = History()


class Store(Protocol):
    """Blocking, and used by one thread at a time. Every method but `close` may raise StoreError."""

    reach: str
    """How far a kill switch reaches and how long it lasts, as every answer of the admin plane says it."""

    @property
    def path(self) -> Path | None:
        """The journal stands beside it. None: nothing outlives the process, so there is nothing to write down."""
        ...

    def load(self) -> Saved: ...

    def save(self, changes: Changes, covered: int) -> None:
        """With the number of the last journal file that they include: all or nothing, and the same twice as once."""
        ...

    def save_answers(self, changes: AnswerChanges) -> None:
        """All or nothing, and the same twice as once."""
        ...

    def save_history(self, changes: History) -> None:
        """All or nothing, and the same twice as once."""
        ...

    def switching(self, switch: KillSwitch, *, on: bool) -> None:
        """Said by the loop, where the switch holds (or is lifted) from now on, before the thread is asked to write it. Never blocks."""
        ...

    def put_switch(self, switch: KillSwitch) -> None:
        """On return it holds over kill -9 and loss of power, as far as the store can promise."""
        ...

    def delete_switch(self, switch: KillSwitch) -> None:
        """This one only: a newer one of the same scope stays."""
        ...

    def put_note(self, name: str, value: str | None) -> None:
        """In the place of what stood under that name; None: nothing does. As lasting as a switch."""
        ...

    def look(self) -> None:
        """Raises StoreError where the next process would not find what is written here."""
        ...

    def close(self) -> None: ...
