"""The store that keeps nothing: GATEWAY_STATE=memory:"""

import secrets
from collections.abc import Iterable

from gateway.model import KillSwitch, RunKey
from gateway.state.run import SavedRun
from gateway.state.stores import LOG_KEY_BYTES, Saved


class MemoryStore:
    """Counts and switches live in the process alone; there is nothing to copy them to."""

    reach = "this instance; lost at a restart"

    def load(self) -> Saved:
        return Saved([], [], secrets.token_bytes(LOG_KEY_BYTES))

    def save_runs(self, saved: Iterable[SavedRun], forgotten: Iterable[RunKey]) -> None:
        pass

    def put_switch(self, switch: KillSwitch) -> None:
        pass

    def delete_switch(self, switch: KillSwitch) -> None:
        pass

    def close(self) -> None:
        pass
