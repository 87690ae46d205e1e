"""The fleet's counts as this gateway asks for them: one round trip a charge, and after any loss its own part is told anew, once.

Under each connection (its epoch) the store hears of a run or an agent's use in absolute numbers first, then of single charges. So whatever
a connection took along, charges that were made and never answered or answers that were made and lost, is put right with the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.model import RunKey
from gateway.place import Place
from gateway.state.shared import DAY, RUN_KEPT, Answer, Ask, Own, RunSeen, RunShare
from gateway.state.stores.valkey import wording
from gateway.state.stores.valkey.link import REPLY_WITHIN, SECOND_LOOK, Arguments, Link, Unreachable
from gateway.state.stores.valkey.telling import Telling, must_tell

BORN = "tgw:born"
PROCESS = "tgw:process"
GRACE = 400
"""Milliseconds in which a store that has come back, perhaps empty, or a replica in its place is told what was used, before anything is
charged there.
"""
RETRY_AFTER = 0.1
"""Seconds between two tries to connect: within the grace every gateway has come back."""
SWEPT_EVERY = 1.0
"""Seconds between two looks for what may be forgotten."""
LOST = ("sync", "stale")
"""Replies of a store that does not know (any more) what it was told under this epoch: so it is told everything anew."""
HAS_LOST = "has lost its counts"
TOLD_AT_ONCE = 200
"""Runs, and seconds of agents' hours, that are told in one go, so that no reply is late because of all that is told before it."""


class Share:
    """One call's part of the fleet's counts, from the asking on. `answer` is None where none came."""

    __slots__ = ("_fleet", "answer", "ask", "at", "counted", "gone", "heard", "late")

    def __init__(self, fleet: "Fleet", ask: Ask) -> None:
        self._fleet = fleet
        self.ask = ask
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer: Answer | None = None
        self.at = 0
        """When it was charged, by the store's clock."""
        self.counted = False
        self.gone = False
        """Given back, be it before the answer."""
        self.late = False
        """The call has gone its way without the answer."""

    async def heard_within(self, seconds: float) -> None:
        """Waits until the answer is here, or will not come, or for so long."""
        if seconds < REPLY_WITHIN + SECOND_LOOK:
            await asyncio.wait((self.heard,), timeout=max(0.0, seconds))
            self.late = not self.heard.done()
        else:  # for the link waits no longer
            await self.heard

    def give_back(self) -> None:
        """Nothing of the call was sent. Safe to call twice, and before the answer."""
        if not self.gone:
            self.gone = True
            self._fleet.take_back(self)


class Fleet:
    """Constructed once, by app.py; `run` holds the connection, for as long as the process lives."""

    def __init__(self, place: Place, clock: Callable[[], float]) -> None:
        self.place = place
        self.problem: str | None = self._says("is not connected yet")
        """Why nothing can be charged just now."""
        self.blind = True
        """It has not been reached since the start: what was stopped or set for all gateways is not known here."""
        self.heeds: tuple[Callable[[Link], Awaitable[None]], ...] = ()
        """Read under each new connection before a call is charged there: what was stopped or set meanwhile. May raise Unreachable."""
        self._clock = clock
        self._own = Own()
        self._telling = Telling(self._own)
        self._link: Link | None = None
        self._ahead = 0
        """Milliseconds of the store's clock beyond ours."""
        self._lost = asyncio.Event()
        self.ready = asyncio.Event()
        """While charges are taken."""

    @property
    def up(self) -> bool:
        """Charges are taken."""
        return self.problem is None

    @property
    def link(self) -> Link | None:
        """Where it is up."""
        return self._link if self.up else None

    async def run(self) -> None:
        """Until cancelled: connects, tells what is to be told, and begins anew whenever the connection is lost."""
        try:
            while True:
                self._lost.clear()
                try:
                    await self._connect()
                    await self._until_lost()
                except Unreachable as error:
                    self._fail(str(error))
                await asyncio.sleep(RETRY_AFTER)
        finally:
            if self._link is not None:
                self._link.fail("is let go")
                await self._link.closed()

    async def flush(self) -> None:
        """Returns when all that the store was told so far has reached it, or it is out of reach."""
        if self.link is not None:
            with suppress(Unreachable):
                await self.link.fetch("BEGIN", (BORN,))

    def charge(self, ask: Ask) -> Share:
        """Asks at once; `heard` is done when the answer, or word that there will be none, is in the share."""
        share = Share(self, ask)
        link = self.link
        at = self._now()
        if link is None:
            self._unanswered(share, at)
            return share
        fresh_agent, fresh_run = self._telling.introduce(ask, link, at)
        self._own.asking(ask, at)
        arguments = (
            *self._telling.who,
            ask.id,
            int(ask.forced),
            int(fresh_agent),
            int(fresh_run),
            *wording.limits(ask),
        )
        run = (wording.run_key(ask.run),) if ask.run.id else ()
        keys = (*wording.agent_keys(ask.run.agent), wording.call_key(ask), *run)
        link.run("CHARGE", keys, arguments, lambda text: self._hear(share, text, at))
        return share

    def take_back(self, share: Share) -> None:
        """It is given back: now, or once it is known whether it was charged."""
        if share.counted:
            self._give_back(share)

    def pending(self, key: RunKey) -> tuple[int, int]:
        """Calls, and their micro-USD, that are asked for and not answered."""
        run = self._own.runs.get(key)
        return (0, 0) if run is None else (run.pending, run.pending_spend)

    def stepped_alone(self, key: RunKey, steps: int) -> None:
        """A step that the fleet could not be asked for was taken all the same."""
        run = self._own.run(key, self._now())
        run.steps = max(run.steps, steps)
        self._tell_more(key, run)

    def end(self, key: RunKey, by: str, stop_reason: str) -> None:
        """The run has ended here: tells the fleet, now or when it can be told."""
        run = self._own.run(key, self._now())
        if run.ended is None:
            run.ended = by, stop_reason
            self._tell_more(key, run)

    def heard_end(self, key: RunKey, by: str, stop_reason: str) -> None:
        """The fleet says so: it need not be told."""
        self._own.run(key, self._now()).ended = by, stop_reason

    async def look(self, key: RunKey, max_seconds: float, step_below: int | None = None) -> tuple[str, RunSeen] | None:
        """The run as it stands, with one step more where there are less than `step_below`. The word is `ok`, `steps`, `ended` or
        `unknown`. None: out of reach.
        """
        link = self.link
        if link is None:
            return None
        run = self._own.run(key, self._now()) if step_below is not None else self._own.runs.get(key)
        if run is not None and run.epoch != self._telling.epoch:
            self._telling.run(key, run, link, self._now())
        kept = RUN_KEPT + int(max_seconds * 1000)
        step = (0, 0) if step_below is None else (1, step_below)
        try:
            text = await link.fetch(
                "LOOK", (wording.run_key(key),), *self._telling.who, int(run is not None), *step, kept
            )
        except Unreachable:
            return None
        if text in LOST:
            link.fail(HAS_LOST)
            return None
        if text == "unknown":
            return text, RunSeen()
        answer = wording.answer(text)
        if run is not None:
            run.steps = max(run.steps, answer.run.steps)
        return answer.word, answer.run

    def _hear(self, share: Share, text: str | None, at: int) -> None:
        ask = share.ask
        self._own.answered(ask)
        if text in LOST:
            if self._link is not None:
                self._link.fail(HAS_LOST)
            text = None
        if text is None:
            self._own.leave_unsure(ask, at)
            self._unanswered(share, at)
            return
        answer = share.answer = wording.answer(text)
        self._ahead = answer.at - self._wall()
        if ask.run.id:
            run = self._own.run(ask.run, self._now())
            run.steps = max(run.steps, answer.run.steps)
            run.began = answer.at - int(answer.run.elapsed * 1000)
        if answer.charged:
            share.at, share.counted = answer.at, True
            self._own.add(ask, answer.at)
            if share.gone:
                self._give_back(share)
        elif share.late:
            self._unanswered(share, answer.at)
        _resolve(share.heard)

    def _unanswered(self, share: Share, at: int) -> None:
        """A call that goes on all the same is this gateway's to remember, from this instant: nothing may be told without it."""
        ask = share.ask
        if ask.goes_on_alone and not share.gone:
            share.at, share.counted = at, True
            self._own.add(ask, at)
            must_tell(self._own.agents.get(ask.run.agent) if ask.of_agent else None, self._own.runs.get(ask.run))
        _resolve(share.heard)

    def _give_back(self, share: Share) -> None:
        ask, link = share.ask, self.link
        share.counted = False
        self._own.take_back(ask, share.at)
        agent = self._own.agents.get(ask.run.agent) if ask.of_agent else None
        run = self._own.runs.get(ask.run)
        told = [part for part in (agent, run) if part is not None and part.epoch == self._telling.epoch]
        if link is None or not told:
            must_tell(agent, run)
            return
        counted = [int(limit is not None) for limit in (ask.spend_per_day, ask.tool_per_day, ask.run_tool)]
        epochs, hour, days = wording.agent_keys(ask.run.agent)
        run_key = (wording.run_key(ask.run),) if ask.run.id else ()
        keys = (epochs, hour, f"{days}{share.at // DAY}", wording.call_key(ask), *run_key)
        second = -1 if ask.per_hour is None else share.at // 1000
        arguments: Arguments = (*self._telling.who, ask.id, ask.spend, ask.tool, *counted, second)
        link.run("REFUND", keys, arguments, lambda _: None)

    async def _until_lost(self) -> None:
        while not self._lost.is_set():
            self._own.expire(self._now())
            with suppress(TimeoutError):  # Python 3.11's wait_for cannot be cancelled in the very moment of a loss
                async with asyncio.timeout(SWEPT_EVERY):
                    await self._lost.wait()

    async def _connect(self) -> None:
        link = Link(self.place, self._fail)
        try:
            await link.open()
            self._telling.epoch += 1
            self._link = link
            await self._tell_all(link)
            born, now = map(int, (await link.fetch("BEGIN", (BORN, PROCESS))).split())
            self._ahead = now - self._wall()
            if 0 <= now - born < GRACE:
                await asyncio.sleep((GRACE - (now - born)) / 1000)
            for heed in self.heeds:
                await heed(link)
        except (Unreachable, asyncio.CancelledError):
            link.fail("is let go")
            await link.closed()
            raise
        if link.problem is None:
            for _, tell in self._telling.untold():  # since the first time; what follows on the link comes after it
                tell(link, self._now())
            self.problem, self.blind = None, False
            self.ready.set()

    async def _tell_all(self, link: Link) -> None:
        told = 0
        for more, tell in self._telling.untold():
            tell(link, self._now())
            told += more
            if told >= TOLD_AT_ONCE:
                await link.fetch("BEGIN", (BORN,))
                told = 0

    def _tell_more(self, key: RunKey, run: RunShare) -> None:
        """Of its steps or end: its numbers are known there, or may be on their way."""
        if self.link is None:
            must_tell(run)
        else:
            self._telling.run(key, run, self.link, self._now(), numbers=run.epoch != self._telling.epoch)

    def _fail(self, problem: str) -> None:
        self.problem = self._says(problem)
        self.ready.clear()
        self._lost.set()

    def _says(self, problem: str) -> str:
        return f"GATEWAY_STATE: {self.place} {problem}: look at that server and the way to it"

    def _wall(self) -> int:
        return int(self._clock() * 1000)

    def _now(self) -> int:
        """The store's clock, about."""
        return self._wall() + self._ahead


def _resolve(heard: "asyncio.Future[None]") -> None:
    if not heard.done():
        heard.set_result(None)
