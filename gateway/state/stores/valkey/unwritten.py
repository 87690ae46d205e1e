"""What operators did to the fleet's switches here, until the store is known to have it. No IO: whoever asks the store says what came
of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.model import KillSwitch


class Unwritten:
    """Touched by the loop, and by the keeper's thread while it writes."""

    def __init__(self) -> None:
        self.unsaved: dict[str, KillSwitch] = {}
        """Switches by scope that hold here and may not be in the store yet."""
        self.unlifted: dict[str, KillSwitch] = {}
        """Those that were lifted here and may still stand there."""
        self.owed: set[KillSwitch] = set()
        """Those of both that the thread could not write. The others it is still to write, and nobody is to overtake it."""
        self.held: dict[str, KillSwitch] = {}
        """All by scope that hold here. Touched by the loop only."""
        self.switched = 0
        """How often one was put or lifted here: what was read of the store before may know nothing of it."""
        self._losses = 0
        """How often the store had lost something: what was being written then may be lost as well."""
        self._lock = threading.Lock()

    def switch(self, switch: KillSwitch, *, on: bool) -> None:
        """From now on it holds here, or is lifted; the thread is about to write that."""
        scope = str(switch.scope)
        with self._lock:
            self.switched += 1
            if on:
                self.unlifted.pop(scope, None)
                self.unsaved[scope] = self.held[scope] = switch
            else:
                self.unlifted[scope] = switch
                for kept in (self.unsaved, self.held):
                    if scope in kept and kept[scope].since <= switch.since:  # else an earlier one has lapsed, not this
                        del kept[scope]
            self.owed.discard(switch)
            self.owed.intersection_update((*self.unsaved.values(), *self.unlifted.values()))

    def owe_what_holds(self) -> None:
        """The store has lost something."""
        with self._lock:
            self._losses += 1
            for scope, switch in self.held.items():
                if scope not in self.unsaved:
                    self.unsaved[scope] = switch
                    self.owed.add(switch)

    def stored(self, switch: KillSwitch, *, on: bool) -> None:
        """The store knows of this one. What was done here to its scope since is still to be written."""
        with self._lock:
            self._stored(switch, self._marked(on=on))

    @contextmanager
    def writing(self, switch: KillSwitch, *, on: bool) -> Iterator[None]:
        """Around what the thread writes of it: it is stored, or owed where that fails or the store has lost something meanwhile."""
        marked, losses, done = self._marked(on=on), self._losses, False
        try:
            yield
            done = True
        finally:
            with self._lock:
                if done and self._losses == losses:
                    self._stored(switch, marked)
                elif marked.get(str(switch.scope)) is switch:
                    self.owed.add(switch)

    def _marked(self, *, on: bool) -> dict[str, KillSwitch]:
        return self.unsaved if on else self.unlifted

    def _stored(self, switch: KillSwitch, marked: dict[str, KillSwitch]) -> None:
        if marked.get(str(switch.scope)) is switch:
            del marked[str(switch.scope)]
            self.owed.discard(switch)
