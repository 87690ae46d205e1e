"""Where counts and switches live between two processes. This file says what every store can do; it opens none."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from gateway.model import KillSwitch, RunKey
from gateway.state.run import SavedRun

LOG_KEY_BYTES = 32


class StoreError(Exception):
    """One line: where, what is wrong, the remedy."""


class Saved(NamedTuple):
    """What an earlier process left."""

    runs: list[SavedRun]
    switches: list[KillSwitch]
    """Runtime ones."""
    log_key: bytes
    """Random, made once: the key that decides which runs are sampled, so that a restart does not change it."""


class Store(Protocol):
    """Blocking, and used by one thread at a time. Every method but `close` may raise StoreError."""

    reach: str
    """How far a kill switch reaches and how long it lasts, as every answer of the admin plane says it."""

    def load(self) -> Saved: ...

    def save_runs(self, saved: Iterable[SavedRun], forgotten: Iterable[RunKey]) -> None:
        """All or nothing, and the same twice as once."""
        ...

    def put_switch(self, switch: KillSwitch) -> None:
        """On return it holds over kill -9 and loss of power, as far as the store can promise."""
        ...

    def delete_switch(self, switch: KillSwitch) -> None:
        """This one only: a newer one of the same scope stays."""
        ...

    def close(self) -> None: ...
