"""How often each named run made the very same call: what the loop guard asks. Of this process alone; a restart forgets it."""

from gateway.model import RunKey

MOST_OF_A_RUN = 128
"""Different calls remembered of one run; beyond it those not made for longest are forgotten. No loop that long is one call repeated."""
MOST_REMEMBERED = 100_000
"""Different calls remembered over all runs (about 50 MB at worst); beyond it the runs that have not called for longest are forgotten.
Refused calls of runs that never started are remembered here, too, and run ids are the agents' to make up.
"""


class Repeats:
    """Calls are told apart by their args_hash: tool, method, rest, query and canonical arguments."""

    def __init__(self) -> None:
        self._runs: dict[RunKey, dict[str, int]] = {}
        self._remembered = 0

    def of(self, run: RunKey, args_hash: str) -> int:
        """How often this call counts as made."""
        calls = self._runs.get(run)
        return calls.get(args_hash, 0) if calls else 0

    def add(self, run: RunKey, args_hash: str) -> None:
        """Once more. The latest stand last, in a run and among runs."""
        calls = self._runs.pop(run, None)
        if calls is None:
            calls = {}
        self._runs[run] = calls
        times = calls.pop(args_hash, 0)
        calls[args_hash] = times + 1
        self._remembered += times == 0
        if len(calls) > MOST_OF_A_RUN:
            del calls[next(iter(calls))]
            self._remembered -= 1
        if self._remembered > MOST_REMEMBERED:
            self.forget(next(iter(self._runs)))

    def take_back(self, run: RunKey, args_hash: str) -> None:
        """Once less."""
        calls = self._runs.get(run)
        if calls and args_hash in calls:
            calls[args_hash] -= 1
            if not calls[args_hash]:
                del calls[args_hash]
                self._remembered -= 1
            if not calls:
                del self._runs[run]

    def forget(self, run: RunKey) -> None:
        """The run is over."""
        self._remembered -= len(self._runs.pop(run, ()))

    def __len__(self) -> int:
        """Different calls remembered."""
        return self._remembered
