"""Where a gateway is one of a fleet: which of them performs a call with an Idempotency-Key, as the pipeline asks for it."""

from collections.abc import Callable
from typing import Protocol

from gateway.state.ended import Elsewhere, Ended
from gateway.state.idempotency import AnswerKey


class Claim(Protocol):
    """The call is this gateway's to perform, for all of them."""

    watched: bool
    """Callers of other gateways wait for its end."""
    unwatched: Callable[[], None]
    """Is called when they do so no more."""

    def tell(self, ended: Ended, *, kept: bool) -> None:
        """How it ended: it is `kept` for those who come later, or goes on as a stream. Only the first word counts."""
        ...

    def release(self, ended: Ended) -> None:
        """It is over. Unless its answer is kept, it may be performed anew. Safe to call twice."""
        ...


class Claims(Protocol):
    """All that this gateway has, and how it asks for another (state/stores/valkey/answers.py)."""

    async def claim(
        self, key: AnswerKey, holder: str, args_hash: str, *, safe: bool, alone: bool
    ) -> Claim | Elsewhere | Ended | None:
        """Who performs the call? None: nobody can be asked, and it is not to go on `alone`. Answers within a quarter of a second.

        `safe`: it may be performed again where a gateway died with it.
        """
        ...
