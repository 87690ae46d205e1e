"""The store that keeps nothing: GATEWAY_STATE=memory:"""

import secrets

from gateway.model import KillSwitch
from gateway.state.history import History
from gateway.state.idempotency import AnswerChanges
from gateway.state.ledger import Changes
from gateway.state.stores import LOG_KEY_BYTES, Saved


class MemoryStore:
    """Counts and switches live in the process alone; there is nothing to copy them to."""

    reach = "this instance; lost at a restart"
    path = None

    def load(self) -> Saved:
        return Saved([], [], secrets.token_bytes(LOG_KEY_BYTES))

    def save(self, changes: Changes, covered: int) -> None:
        pass

    def save_answers(self, changes: AnswerChanges) -> None:
        pass

    def save_history(self, changes: History) -> None:
        pass

    def switching(self, switch: KillSwitch, *, on: bool) -> None:
        """Nobody else changes them."""

    def put_switch(self, switch: KillSwitch) -> None:
        pass

    def delete_switch(self, switch: KillSwitch) -> None:
        pass

    def put_note(self, name: str, value: str | None) -> None:
        pass

    def look(self) -> None:
        pass

    def close(self) -> None:
        pass
