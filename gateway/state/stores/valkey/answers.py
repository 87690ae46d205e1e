"""Calls with an Idempotency-Key as the fleet knows them: which gateway performs one, and how that ended.

A claim lasts while its gateway renews it. What it ended with is told until the store has heard it, so that no outage leaves a claim behind
that nobody holds: only a gateway that dies does.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256

from gateway.state.ended import Elsewhere, Ended, Silence, read, without_body, written
from gateway.state.idempotency import AnswerKey, Answers
from gateway.state.stores.valkey.fleet import BORN, Fleet
from gateway.state.stores.valkey.link import Arguments, Link, Unreachable
from gateway.state.stores.valkey.wording import tag

LEASE = 3000
"""Milliseconds after its last renewal in which a claim holds."""
RENEWED_EVERY = 0.5
"""Seconds."""
LOOKED_FOR_EVERY = 0.05
"""Seconds between two looks at a performance elsewhere."""
GIVEN_UP_AFTER = 0.2
"""Seconds without a reply. No call waits beyond 0.25 for the store."""
WEIGHT = 1024
"""Bytes that an answer takes in the store beside its text, about."""
SMALL = 16 << 10
"""Bytes of an end that may stand before the charges of other calls in the connection. Of longer ones there is one at a time each way, so
that no reply is late because of them.
"""
TOLD_AT_ONCE = 1 << 20
"""Bytes of short ones, for the same reason."""
WHOLE = -1
"""In its place: the end, however long."""
MOST_UNHEARD = 16 << 20
"""Bytes of ends that the store has not heard of. Beyond them bodies are left out, and at last the oldest are told to nobody."""


class Claim:
    """This gateway's on one call, which is performed here. What is said of it may be said while the store is out of reach."""

    def __init__(self, keys: tuple[str, ...], holder: str, args_hash: str, say: "Callable[[Claim], None]") -> None:
        self.keys = keys
        self.holder = holder
        """The id of the call that is performed."""
        self.args_hash = args_hash
        self.watched = False
        """Callers of other gateways wait for its end, or did a moment ago."""
        self.unwatched: Callable[[], None] = _nothing
        """Is called when they do so no more."""
        self.how = ""
        """How it ended was `told`, is `kept`, or the call is `over`."""
        self.text = ""
        self._say = say

    @property
    def ended(self) -> bool:
        """Nothing of it is to be renewed."""
        return self.how in ("kept", "over")

    def tell(self, ended: Ended, *, kept: bool) -> None:
        """How it ended: for those who wait, and where it is `kept` for all that come later. Only the first word counts."""
        if not self.how:
            self.text = written(ended)
            self._become("kept" if kept else "told")

    def release(self, ended: Ended | None = None) -> None:
        """The call is over, and may be performed anew unless its answer is kept. Safe to call twice. None: it was never performed."""
        if not self.ended:
            self.text = self.text or ("" if ended is None else written(ended))
            self._become("over")

    def renewed(self, reply: str | None) -> None:
        """The store has answered, or not."""
        if reply is not None and not self.ended:
            watched, self.watched = self.watched, reply == "mine watched"
            if watched and not self.watched:
                self.unwatched()

    def _become(self, how: str) -> None:
        self.how = how
        if self.ended:
            self.unwatched = _nothing
        self._say(self)


class _Watch:
    """All that wait here for one performance elsewhere look for its end together."""

    def __init__(self, task: "asyncio.Task[Ended | Silence]") -> None:
        self.task = task
        self.callers = 0


class SharedAnswers:
    """Constructed once, by gateway/fleet.py."""

    def __init__(self, fleet: Fleet, bounds: Answers) -> None:
        """`bounds`: what the policy says of answers, which each gateway keeps by itself as well."""
        self._fleet = fleet
        self._bounds = bounds
        self._at_work: dict[str, Claim] = {}
        """By holder."""
        self._unheard: dict[str, Claim] = {}
        """Ended, and the store has not said that it knows."""
        self._unheard_bytes = 0
        self._watches: dict[str, _Watch] = {}
        self._hears_long = asyncio.Lock()
        self._tells_long = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._fleet.link is not None:
                with suppress(Unreachable):
                    await self.renew(self._fleet.link)
            await asyncio.sleep(RENEWED_EVERY)

    async def renew(self, link: Link) -> None:
        """What is at work, or has to be told and is long; and tells again what was not heard, before others take it for claimed still.
        Raises Unreachable.
        """
        for claim in [*self._at_work.values(), *filter(_is_long, self._unheard.values())]:
            link.run("CLAIM", claim.keys[:2], self._claiming(claim, safe=False), claim.renewed)
        told = 0
        for claim in [*self._unheard.values()]:
            self._tell(claim, link)
            told += min(len(claim.text), SMALL)
            if told >= TOLD_AT_ONCE:
                await link.fetch("BEGIN", (BORN,))
                told = 0

    async def claim(
        self, key: AnswerKey, holder: str, args_hash: str, *, safe: bool, alone: bool
    ) -> Claim | Elsewhere | Ended | None:
        """Who performs the call? A Claim: this one does. None: the fleet is out of reach, and it is not to go on `alone`.

        `safe`: it may be performed again where a gateway died with it.
        """
        claim = self._at_work[holder] = Claim(_keys(key, holder), holder, args_hash, self._say)
        link, text = self._fleet.link, ""
        try:
            if link is not None:
                text = await link.fetch("CLAIM", claim.keys[:2], *self._claiming(claim, safe=safe))
        except Unreachable:
            pass
        except asyncio.CancelledError:
            claim.release()
            raise
        word, _, rest = text.partition(" ")
        if word in ("held", "end"):
            del self._at_work[holder]
            return self._elsewhere(key, *rest.split(" ")) if word == "held" else read(rest)
        if word == "mine" or alone:
            return claim
        claim.release()  # it may stand there, and the reply was lost
        return None

    def _claiming(self, claim: Claim, *, safe: bool) -> Arguments:
        return claim.holder, claim.args_hash, LEASE, self._ttl, int(safe), SMALL

    def _say(self, claim: Claim) -> None:
        if claim.ended and self._at_work.pop(claim.holder, None) is not None:
            if self._unheard_bytes + len(claim.text) > MOST_UNHEARD:
                claim.text = without_body(claim.text)
            self._unheard[claim.holder] = claim
            self._unheard_bytes += len(claim.text)
            while self._unheard_bytes > MOST_UNHEARD:
                self._forget(next(iter(self._unheard)))
        if self._fleet.link is not None:
            self._tell(claim, self._fleet.link)

    def _tell(self, claim: Claim, link: Link) -> None:
        def heard(reply: str | None) -> None:
            if long:
                self._tells_long = False
            if reply is not None and ended:
                self._forget(claim.holder)
                if long:
                    self._tell_the_next(link)

        ended, weight = claim.ended, len(claim.text) + WEIGHT
        long = ended and _is_long(claim)
        if long and self._tells_long:
            return
        self._tells_long = self._tells_long or long
        what = (claim.holder, claim.args_hash, claim.how, claim.text, self._ttl, weight, self._bounds.max_bytes)
        link.run("END", claim.keys, what, heard)

    def _tell_the_next(self, link: Link) -> None:
        """Of those that wait because one of them was on its way."""
        claim = next(filter(_is_long, self._unheard.values()), None)
        if claim is not None:
            self._tell(claim, link)

    def _forget(self, holder: str) -> None:
        claim = self._unheard.pop(holder, None)
        self._unheard_bytes -= 0 if claim is None else len(claim.text)

    def _elsewhere(self, key: AnswerKey, holder: str, args_hash: str) -> Elsewhere:
        return Elsewhere(args_hash, partial(self._end, _keys(key, holder)[:2], holder))

    async def _end(self, keys: tuple[str, ...], holder: str) -> Ended | Silence:
        watch = self._watches.get(holder)
        if watch is None:
            watch = self._watches[holder] = _Watch(asyncio.create_task(self._watch(keys, holder)))
        watch.callers += 1
        try:
            await asyncio.wait((watch.task,))
            return watch.task.result()
        finally:
            watch.callers -= 1
            if not watch.callers:
                watch.task.cancel()
                del self._watches[holder]

    async def _watch(self, keys: tuple[str, ...], holder: str) -> Ended | Silence:
        loop = asyncio.get_running_loop()
        heard, link = loop.time(), self._fleet.link
        while loop.time() - heard < GIVEN_UP_AFTER:
            try:
                text = "" if link is None else await self._look(link, keys, holder)
            except Unreachable:
                text = ""
            word, _, rest = text.partition(" ")
            if word == "end":
                return read(rest) or Silence.GONE
            if word in ("gone", "unmade"):
                return Silence(word)
            if word:
                heard = loop.time()
            await asyncio.sleep(LOOKED_FOR_EVERY)
            link = self._fleet.link
        return Silence.OUT_OF_REACH

    async def _look(self, link: Link, keys: tuple[str, ...], holder: str) -> str:
        """Raises Unreachable."""
        text = await link.fetch("WATCH", keys, holder, SMALL)
        if text != "long":
            return text
        async with self._hears_long:
            return await link.fetch("WATCH", keys, holder, WHOLE)

    @property
    def _ttl(self) -> int:
        """Milliseconds."""
        return max(1, int(self._bounds.ttl * 1000))


def _keys(key: AnswerKey, holder: str) -> tuple[str, ...]:
    """The claim, what its holder has told, the agent's answers and their bytes."""
    own = tag(key.agent)
    name = sha256(f"{key.tool} {key.key}".encode()).hexdigest()
    return f"{own}answer:{name}", f"{own}end:{holder}", f"{own}answers", f"{own}answers:bytes"


def _is_long(claim: Claim) -> bool:
    return len(claim.text) > SMALL


def _nothing() -> None:
    """Nobody wants to know."""
